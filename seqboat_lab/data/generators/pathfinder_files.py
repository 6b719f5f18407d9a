"""Pathfinder's official directory format: `imgs/<k>/sample_<i>.png` and `metadata/<k>.npy`, written and read."""

import io
import re
import struct
import warnings
import zlib
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from seqboat_lab.config.data import PathfinderConfig
from seqboat_lab.data.files.errors import DataError, shown
from seqboat_lab.data.files.files import data_files, landing, locked, read_bounded, user_path
from seqboat_lab.data.files.progress import progress
from seqboat_lab.data.formats.npy import read_header
from seqboat_lab.data.generators.parallel import ordered_map
from seqboat_lab.data.generators.pathfinder import SETTINGS, VERSION, draw_scene, render

FOLDER = 1000
"""Images in one folder, as in the official files."""
LARGEST_METADATA = 1 << 26
"""Bytes; a thousand lines have 70 thousand, or 2 million as an array."""
CHUNK = 20
"""Images that one process draws at a time."""


class Row(NamedTuple):
    """One image as the metadata name it."""

    image: Path
    label: int


def contour_folder(size: int) -> str:
    """The official name of the hardest level: long curves."""
    return f"pathfinder{size}/curv_contour_length_{SETTINGS[size].contour_length}"


def generated_directory(config: PathfinderConfig) -> Path:
    """Where the images of these settings lie: the name says everything that decides their content."""
    name = f"size{config.size}_images{config.images}_seed{config.generator_seed}_v{VERSION}"
    return user_path(config.root) / "pathfinder" / name / contour_folder(config.size)


def generate(config: PathfinderConfig, processes: int | None = None) -> Path:
    """Draw the images that are not there yet; returns their directory.

    Each folder of 1000 lands whole, its metadata last: an interrupted run continues at the folder it was in.
    """
    directory = generated_directory(config)
    folders = range(-(-config.images // FOLDER))
    with locked(directory):
        todo = [k for k in folders if not (directory / "metadata" / f"{k}.npy").is_file()]
        with progress(f"drawing Pathfinder at {config.size} pixels", config.images) as tick:
            tick((len(folders) - len(todo)) * FOLDER)
            for k in todo:
                indices = range(k * FOLDER, min((k + 1) * FOLDER, config.images))
                _write_folder(directory, k, indices, config, processes, tick)
    return directory


def _write_folder(directory, k, indices, config, processes, tick) -> None:
    chunks = [indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK)]
    lines: list[str] = []
    with landing(directory / "imgs" / str(k)) as folder:
        folder.mkdir()
        for drawn in ordered_map(partial(_draw_chunk, config.generator_seed, config.size), chunks, processes):
            for png, line in drawn:
                number = len(lines)
                (folder / f"sample_{number}.png").write_bytes(png)
                lines.append(f"imgs/{k} sample_{number}.png {number} {line}\n")
            tick(len(drawn))
    with landing(directory / "metadata" / f"{k}.npy") as file:
        file.write_text("".join(lines))


def _draw_chunk(seed: int, size: int, indices: range) -> list[tuple[bytes, str]]:
    """PNG and the metadata columns from the label on: label, continuity, lengths, thickness, margin, contrasts (1)."""
    s, drawn = SETTINGS[size], []
    for index in indices:
        scene, png = draw_scene(seed, size, index), io.BytesIO()
        Image.fromarray(render(scene, size)).save(png, "PNG")
        columns = (
            scene.label, s.continuity, s.contour_length, s.distractor_length, s.paddle_length, s.thickness,
            scene.margin, 1,
        )  # fmt: skip
        drawn.append((png.getvalue(), " ".join(map(str, columns))))
    return drawn


def read_metadata(directory: Path) -> list[Row]:
    """All images of a directory in the order of their numbers.

    The files called .npy are text when they come from LRA or from here, and NumPy string arrays when they come
    from the original generator. Raises `DataError` with file and line.
    """
    files = [file for file in data_files(directory / "metadata", ".npy") if re.fullmatch("[0-9]{1,9}", file.stem)]
    if not files:
        raise DataError(f"{directory / 'metadata'}: expected metadata files (0.npy, 1.npy, ...), found none")
    rows = []
    for file in sorted(files, key=lambda file: int(file.stem)):
        lines = _lines(file)
        if not lines:
            raise DataError(f"{file}: it is empty; expected one line an image; get it again")
        for number, columns in enumerate(lines, start=1):
            where = f"{file}, line {number}"
            if len(columns) < 4:
                raise DataError(f"{where}: expected folder, file name, index, label, ...; found {len(columns)} columns")
            if columns[3] not in ("0", "1", "0.0", "1.0"):
                raise DataError(f"{where}: label {shown(columns[3])}; expected 0 or 1")
            image = directory / columns[0] / columns[1]
            if not image.is_relative_to(directory) or ".." in image.parts:
                raise DataError(f"{where}: {shown(f'{columns[0]}/{columns[1]}')} leads out of the directory")
            rows.append(Row(image, int(float(columns[3]))))
    return rows


def _lines(file: Path) -> list[list[str]]:
    data = read_bounded(file, LARGEST_METADATA, "the metadata of images")
    if not data.startswith(b"\x93NUMPY"):
        return [line.split() for line in data.decode("utf-8", "replace").splitlines()]
    header = read_header(io.BytesIO(data), len(data))
    if header is None:
        raise DataError(f"{file}: cannot be read as an array of strings (its header is damaged); get it again")
    if len(header.shape) != 2 or header.dtype.kind not in "US":
        raise DataError(f"{file}: expected a 2-D array of strings, found {header.dtype} {header.shape}")
    if header.dtype.itemsize == 0 or 0 in header.shape:
        return []
    if header.dtype.kind == "U":  # NumPy would make strings of numbers that are no characters
        codes = np.frombuffer(data, np.dtype("u4").newbyteorder(header.dtype.byteorder), offset=header.offset)
        if codes.max() > 0x10FFFF:
            raise DataError(f"{file}: cannot be read as an array of strings (it is damaged); get it again")
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    try:
        array = np.frombuffer(data, header.dtype, offset=header.offset).reshape(header.shape, order=order)
        if header.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        return array.tolist()
    except ValueError:  # code points that there are not
        raise DataError(f"{file}: cannot be read as an array of strings (it is damaged); get it again") from None


def read_image(path: Path, size: int) -> np.ndarray:
    """Grayscale pixels, (size * size,) uint8; deeper ones are scaled to 8 bits.

    Raises `DataError` naming a file that is no such image.
    """
    try:
        data = read_bounded(path, 8 * size * size + (1 << 16), "an image of such a size")
    except (DataError, ValueError) as error:  # ValueError: a name that no file can have
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{path}: listed in the metadata but not there") from None
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({error})") from None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (size, size):
                raise DataError(f"{path}: {image.size[0]} x {image.size[1]} pixels; expected {size} x {size}")
            return _gray(path, image).ravel()
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path}: broken image ({'no PNG' if data else 'it is empty'})") from None
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, MemoryError,
            AttributeError, struct.error, zlib.error, Image.DecompressionBombError) as error:  # fmt: skip
        problem = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: broken image ({problem})") from None


def _gray(path: Path, image: Image.Image) -> np.ndarray:
    """(size, size) uint8 of a picture in any mode that PNG has: 1, 2, 4, 8 or 16 bits, gray, palette or colours."""
    if image.mode.startswith("I"):  # 16 bits of gray, which Pillow would cut off at 255
        deep = np.asarray(image).astype(np.int64)
        return ((deep * 255 + 32767) // 65535).astype(np.uint8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        if lowest < 255:  # type: ignore[operator]  # a number: it is one channel
            raise DataError(f"{path}: has transparent pixels, whose brightness is not defined; flatten it")
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))
