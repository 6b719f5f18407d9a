"""One small file of each format, flipped and cut at random: right data or one line, whatever is in it.

Never another kind of error, a hang, or an allocation that the file's own size does not explain.
"""

import io
import json
import pickle
import tarfile
import time
import tracemalloc
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seqboat_lab.config.data import CorpusConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.unpack import unpack
from seqboat_lab.data.files.unpack_file import unpack_file
from seqboat_lab.data.generators.pathfinder_files import read_image, read_metadata
from seqboat_lab.data.loading.store import Store, is_complete, write_store
from seqboat_lab.data.tasks.image import read_batch
from seqboat_lab.data.tasks.language import CorpusDataModule
from seqboat_lab.data.tasks.listops import read_tsv
from seqboat_lab.data.tasks.retrieval import read_pairs
from seqboat_lab.data.tasks.speech_commands import WORDS, SpeechCommandsConfig, SpeechCommandsDataModule, read_wav
from seqboat_lab.data.tasks.text import read_review

RNG = np.random.default_rng(0)
TASK = Official("x", ("task",), "task", ("a.txt",), r"\.txt$", largest=10_000, unpacked=1_000_000)
ONE = Official("x", (), "x", ("text",), single_file=True, size=5000)
TEXT = RNG.integers(97, 123, 5000, np.uint8).tobytes()


def saved(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def wav_file(buffer) -> None:
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(RNG.integers(-999, 999, 60).astype("<i2").tobytes())


def tar_file(buffer, mode) -> None:
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("task/a.txt", b"A" * 700), ("task/" + "long" * 40 + ".txt", b"B"), ("task/é.txt", b"C")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def zip_file(buffer) -> None:
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("text", TEXT)


METADATA = [["imgs/0", f"sample_{i}.png", str(i), str(i % 2), "1.8", "14", "4", "2", "0.5", "1", "1"] for i in range(4)]
BATCH = {b"labels": [3, 1, 2], b"data": RNG.integers(0, 256, (3, 3072), np.uint8), b"filenames": [b"x.png"] * 3}
PIXELS = RNG.integers(0, 256, (32, 32), np.uint8)


def picture(mode) -> bytes:
    image = Image.fromarray(PIXELS.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    return saved(lambda buffer: image.save(buffer, "PNG"))


def unpacked(take, official):
    def read(path):
        target = path.parent / "out"
        take(path, official, target)
        found = {file.name: file.read_bytes() for file in sorted(target.rglob("*")) if file.is_file()}
        return {name: data for name, data in found.items() if not name.startswith(".")}

    return read


def metadata(path):
    (path.parent / "metadata").mkdir(exist_ok=True)
    (path.parent / "metadata/0.npy").write_bytes(path.read_bytes())
    return [row.label for row in read_metadata(path.parent)]


def clips(path):
    """A list of clips beside a tree that has those of its undamaged form."""
    root = path.parent / "speech_commands_v0.02"
    if not root.exists():
        for word in WORDS:
            (root / word).mkdir(parents=True)
            (root / word / "a.wav").touch()
        (root / "testing_list.txt").write_text("yes/a.wav\n")
    (root / "validation_list.txt").write_bytes(path.read_bytes())
    module = SpeechCommandsDataModule(SpeechCommandsConfig(root=str(path.parent)), seed=0, batch_size=1)
    return [label for _, label in module.listed("val")]


def corpus(path):
    module = CorpusDataModule(CorpusConfig(root=str(path.parent / "root"), path=str(path)), seed=0, batch_size=1)
    module.prepare_data()
    module.setup()
    return module.split_bytes("val").tobytes()


FORMATS = {
    "listops": (b"Source\tTarget\n" + b"( [MAX 1 ( [SM 2 9 ] ) ] )\t2\n" * 4, lambda path: list(read_tsv(path))),
    "pairs": (b"0.0\t1\t2\tone text\tother text\n" * 4, lambda path: list(read_pairs(path))),
    "review": (b"a review", read_review),
    "cifar, protocol 2": (pickle.dumps(BATCH, 2), read_batch),
    "cifar, protocol 4": (pickle.dumps(BATCH, 4), read_batch),
    "png": (picture("L"), lambda path: read_image(path, 32)),
    "png, 16 bits": (picture("I;16"), lambda path: read_image(path, 32)),
    "png, palette": (picture("P"), lambda path: read_image(path, 32)),
    "metadata, text": ("".join(" ".join(row) + "\n" for row in METADATA).encode(), metadata),
    "metadata, array": (saved(lambda buffer: np.save(buffer, np.array(METADATA))), metadata),
    "metadata, bytes": (saved(lambda buffer: np.save(buffer, np.array(METADATA, "S"))), metadata),
    "wav": (saved(wav_file), read_wav),
    "list of clips": ("".join(f"{word}/a.wav\n" for word in WORDS).encode(), clips),
    "corpus": (TEXT, corpus),
    "tar": (saved(lambda buffer: tar_file(buffer, "w")), unpacked(unpack, TASK)),
    "tar.gz": (saved(lambda buffer: tar_file(buffer, "w:gz")), unpacked(unpack, TASK)),
    "tar.bz2": (saved(lambda buffer: tar_file(buffer, "w:bz2")), unpacked(unpack, TASK)),
    "tar.xz": (saved(lambda buffer: tar_file(buffer, "w:xz")), unpacked(unpack, TASK)),
    "zip": (saved(zip_file), unpacked(unpack_file, ONE)),
}
CHECKED = ("tar.gz", "tar.bz2", "tar.xz", "zip")
"""Formats with checksums: what is accepted is what was written."""

edits = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
        st.tuples(st.just("set"), st.floats(0, 1), st.sampled_from([0, 1, 10, 127, 128, 255])),
        st.tuples(st.just("fill"), st.floats(0, 1), st.sampled_from([0, 57, 127, 255])),
        st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
        st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 40)),
        st.tuples(st.just("repeat"), st.floats(0, 1), st.integers(1, 40)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, edits) -> bytes:
    """Half of the damage goes to the first 200 bytes, where headers are."""
    data = bytearray(data)
    for kind, where, value in edits:
        place = int(where * 2 * min(200, len(data))) if where < 0.5 else int((2 * where - 1) * len(data))
        place = min(place, max(len(data) - 1, 0))
        if kind in ("flip", "set") and data:
            data[place] = data[place] ^ value if kind == "flip" else value
        elif kind == "fill":
            data[place : place + 8] = bytes([value]) * len(data[place : place + 8])
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + value]
        elif kind == "repeat":
            data[place:place] = data[place : place + value] * 4
    return bytes(data)


def outcome(read, path: Path):
    """What is read, or None where one line says why not; within seconds and little memory."""
    tracemalloc.start()
    start = time.monotonic()
    found = told = None
    try:
        found = read(path)
    except DataError as error:
        told = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 300e6
    assert time.monotonic() - start < 5
    assert told is None or (told and "\n" not in told)
    return found


def fuzzed(examples):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks, derandomize=True)


@pytest.mark.parametrize("name", FORMATS)
@given(edits=edits)
@fuzzed(60)
def test_a_damaged_file_is_right_data_or_one_line(tmp_path_factory, name, edits):
    data, read = FORMATS[name]
    path = tmp_path_factory.mktemp("f") / "file"
    path.write_bytes(damaged(data, edits))
    found = outcome(read, path)
    if found is not None and name in CHECKED:
        whole = path.with_name("whole") / "file"
        whole.parent.mkdir()
        whole.write_bytes(data)
        assert found == read(whole)
    if name.startswith("cifar") and found is not None:
        pixels, labels = found
        assert pixels.shape == (len(labels), 1024)
        assert set(labels.tolist()) <= set(range(10))
    if name.startswith("png") and found is not None:
        assert found.shape == (1024,)
        assert found.dtype == np.uint8


@pytest.mark.parametrize("name", FORMATS)
def test_the_undamaged_file_is_read(tmp_path, name):
    data, read = FORMATS[name]
    (tmp_path / "file").write_bytes(data)
    assert len(read(tmp_path / "file")) > 0


@pytest.mark.parametrize("name", ["meta.json", "offsets.npy", "labels.npy", "values.npy"])
@given(edits=edits)
@fuzzed(60)
def test_a_damaged_store_is_never_read(tmp_path_factory, name, edits):
    place = tmp_path_factory.mktemp("s") / "store"
    samples = [((np.arange(n, dtype=np.uint8),), n % 3) for n in (3, 1, 7)]
    write_store(place, samples, np.uint8, {"files": [["a", 1, 2]]}, info={"mean": 0.5})
    data = (place / name).read_bytes()
    changed = damaged(data, edits)
    (place / name).write_bytes(changed)
    found = outcome(lambda path: (is_complete(path, {"files": [["a", 1, 2]]}), Store(path)), place)
    same = changed == data or (name == "meta.json" and _loaded(changed) == json.loads(data))
    assert (found is not None) == same


def _loaded(data: bytes):
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
