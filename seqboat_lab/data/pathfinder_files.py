"""Pathfinder's official directory format: `imgs/<k>/sample_<i>.png` and `metadata/<k>.npy`, written and read."""

import io
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from seqboat_lab.config.data import PathfinderConfig
from seqboat_lab.data.errors import DataError
from seqboat_lab.data.files import landing, locked
from seqboat_lab.data.parallel import ordered_map
from seqboat_lab.data.pathfinder_generator import SETTINGS, VERSION, draw_scene, render
from seqboat_lab.data.progress import progress

FOLDER = 1000
"""Images in one folder, as in the official files."""
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
    return Path(config.root) / "pathfinder" / name / contour_folder(config.size)


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
    lines = []
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
    files = [file for file in (directory / "metadata").glob("*.npy") if re.fullmatch(r"\d+", file.stem)]
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
                raise DataError(f"{where}: label {columns[3]!r}; expected 0 or 1")
            image = directory / columns[0] / columns[1]
            if not image.is_relative_to(directory) or ".." in image.parts:
                raise DataError(f"{where}: {columns[0]}/{columns[1]} leads out of the directory")
            rows.append(Row(image, int(float(columns[3]))))
    return rows


def _lines(file: Path) -> list[list[str]]:
    data = file.read_bytes()
    if not data.startswith(b"\x93NUMPY"):
        return [line.split() for line in data.decode("utf-8", "replace").splitlines()]
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{file}: cannot be read as an array of strings ({problem}); get it again") from None
    if array.ndim != 2 or array.dtype.kind not in "US":
        raise DataError(f"{file}: expected a 2-D array of strings, found {array.dtype} {array.shape}")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return array.tolist()


def read_image(path: Path, size: int) -> np.ndarray:
    """Grayscale pixels, (size * size,) uint8. Raises `DataError` naming a file that is no such image."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: listed in the metadata but not there") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (size, size):
                raise DataError(f"{path}: {image.size[0]} x {image.size[1]} pixels; expected {size} x {size}")
            return np.asarray(image.convert("L")).ravel()
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path}: broken image ({'of no known format' if data else 'it is empty'})") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: broken image ({' '.join(str(error).split())})") from None
