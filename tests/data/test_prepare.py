"""`data prepare` and `data status`: from archives in the official layout to stores, for every task."""

import io
import multiprocessing
import tarfile
import wave
from dataclasses import replace

import numpy as np
import pytest

from seqboat_lab.config.data import DATA_CONFIGS
from seqboat_lab.data import DataError
from seqboat_lab.data.files import sources
from seqboat_lab.data.prepare import prepare, status
from seqboat_lab.data.tasks.speech_commands import WORDS
from tests.data.tasks.test_image import NAMES, batch_of, pickled
from tests.data.tasks.test_listops import OFFICIAL
from tests.data.tasks.test_pathfinder import PLACE, columns, picture
from tests.data.tasks.test_retrieval import LINES


def wav_bytes() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(200))
    return buffer.getvalue()


def png_bytes(number: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "PNG")
    return buffer.getvalue()


def lra_files() -> dict[str, bytes]:
    deep = "lra_release/lra_release"
    files = {f"{deep}/listops-1000/basic_{split}.tsv": OFFICIAL.encode() for split in ("train", "val", "test")}
    pairs = b"".join(b"\t".join((label, b"a", b"b", *texts)) + b"\n" for label, *texts in LINES)
    files |= {f"{deep}/tsv_data/new_aan_pairs.{name}.tsv": pairs for name in ("train", "eval", "test")}
    files |= {f"{PLACE}/imgs/0/sample_{i}.png": png_bytes(i) for i in range(10)}
    files[f"{PLACE}/metadata/0.npy"] = "".join(" ".join(columns(0, i, i % 2)) + "\n" for i in range(10)).encode()
    partial = {"lra_release/listops-1000/basic_train.tsv": b"a partial second copy"}
    return partial | files | {f"{deep}/listops-1000/other.txt": b"not wanted by other tasks"}


def imdb_files() -> dict[str, bytes]:
    names = [f"{split}/{label}/{i}_7.txt" for split in ("train", "test") for label in ("pos", "neg") for i in range(10)]
    return {f"aclImdb/{name}": name.encode() for name in names} | {"aclImdb/train/unsup/0_0.txt": b"x"}


def speech_files() -> dict[str, bytes]:
    files = {f"./{word}/{i}.wav": wav_bytes() for word in (*WORDS, "bed") for i in range(4)}
    files["./validation_list.txt"] = "".join(f"{word}/0.wav\n" for word in WORDS).encode()
    files["./testing_list.txt"] = "".join(f"{word}/1.wav\n" for word in WORDS).encode()
    return files


ARCHIVES = {
    "listops": (lra_files, {"train": 2, "val": 2, "test": 2}),
    "retrieval": (lra_files, {"train": 4, "val": 4, "test": 4}),
    "pathfinder": (lra_files, {"train": 8, "val": 1, "test": 1}),
    "text": (imdb_files, {"train": 18, "val": 2, "test": 20}),
    "image": (
        lambda: {f"cifar-10-batches-py/{name}": pickled(batch_of(0), "official") for name in NAMES},
        {"train": 90, "val": 10, "test": 20},
    ),
    "speech_commands": (speech_files, {"train": 20, "val": 10, "test": 10}),
}


def make_archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def config_for(task, root, **fields):
    return DATA_CONFIGS[task](root=str(root), **fields)


@pytest.mark.parametrize("task", ARCHIVES)
def test_a_users_archive_becomes_ready_data(tmp_path, task):
    make_files, counts = ARCHIVES[task]
    archive, root = make_archive(tmp_path / "archive", make_files()), tmp_path / "root"
    assert prepare(task, config_for(task, root), archive, processes=1) == counts
    unwanted = ("other.txt", "unsup", "bed")
    if task != "listops":
        assert not [path for path in root.rglob("*") if path.name in unwanted]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")}
    archive.unlink()
    assert prepare(task, config_for(task, root), archive, processes=1) == counts  # idempotent: asks for nothing
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")}


@pytest.mark.parametrize("task", ["text", "retrieval", "image", "speech_commands"])
def test_a_synthetic_stand_in_is_made_on_the_spot_and_named_as_such(tmp_path, task):
    config = config_for(task, tmp_path, source="synthetic", synthetic_samples=40, **SMALL[task])
    assert prepare(task, config) == {"train": 40, "val": 10, "test": 10}
    assert [row.variant.startswith("synthetic") for row in status(tmp_path) if row.state == "ready"] == [True]


SMALL = {
    "text": {"max_length": 50},
    "retrieval": {"max_length": 50},
    "image": {"size": 8},
    "speech_commands": {"max_length": 60},
}


@pytest.mark.parametrize("task", ["listops", "pathfinder"])
def test_generated_data_needs_no_archive(tmp_path, task):
    fields = {
        "listops": {"min_length": 4, "max_length": 20, "train_size": 8, "val_size": 2, "test_size": 2},
        "pathfinder": {"size": 16, "images": 10},
    }[task]
    config = config_for(task, tmp_path, source="generated", **fields)
    assert sum(prepare(task, config, processes=2).values()) in (10, 12)
    with pytest.raises(DataError, match="--from is for official files"):
        prepare(task, config, tmp_path / "archive")


def test_without_an_archive_it_is_downloaded(tmp_path, monkeypatch):
    def no_network(source, directory):
        assert directory == tmp_path / "downloads"
        return make_archive(tmp_path / source.filename, lra_files())

    monkeypatch.setattr("seqboat_lab.data.prepare.download", no_network)
    assert prepare("listops", config_for("listops", tmp_path), processes=1)["train"] == 2
    assert (tmp_path / "lra_release.gz").exists()


def test_no_network_is_one_line_with_the_alternatives(tmp_path, monkeypatch):
    source = sources.SOURCES["lra_release"]
    monkeypatch.setitem(sources.SOURCES, "lra_release", replace(source, urls=("http://127.0.0.1:1/lra_release.gz",)))
    with pytest.raises(DataError) as raised:
        prepare("listops", config_for("listops", tmp_path))
    for part in ("127.0.0.1:1/lra_release.gz", "downloads/lra_release.gz", "--from", "data.source=generated"):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_wrong_archive_is_named_and_leaves_nothing(tmp_path):
    archive = make_archive(tmp_path / "archive", imdb_files())
    with pytest.raises(DataError, match="is it the right archive"):
        prepare("image", config_for("image", tmp_path / "root"), archive)
    assert not [path for path in (tmp_path / "root").rglob("*") if path.suffix != ".lock"]


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "root").write_text("a file")
    config = config_for("image", tmp_path / "root", source="synthetic", synthetic_samples=8, size=8)
    with pytest.raises(DataError, match=r"choose another data\.root") as raised:
        prepare("image", config)
    assert "\n" not in str(raised.value)


def prepare_at(task, root, archive, barrier):
    barrier.wait()
    prepare(task, config_for(task, root), archive, processes=1)


@pytest.mark.parametrize("task", ["text", "pathfinder"])
def test_two_at_once_do_not_corrupt_each_other(tmp_path, task):
    make_files, counts = ARCHIVES[task]
    archive, root = make_archive(tmp_path / "archive", make_files()), tmp_path / "root"
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    both = [context.Process(target=prepare_at, args=(task, root, archive, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert prepare(task, config_for(task, root)) == counts
    assert not list(root.rglob("*.partial"))


def test_status_tells_what_is_there_and_what_is_missing(tmp_path):
    rows = {(row.task, row.variant): row for row in status(tmp_path)}
    assert {row.state for row in rows.values()} == {"missing"}
    assert len(rows) == len(DATA_CONFIGS) + 3  # Pathfinder has four sizes
    assert rows["listops", "official"].detail == "run `seqboat data prepare listops`"
    assert (
        rows["pathfinder", "official128_split-seed42"].detail == "run `seqboat data prepare pathfinder data.size=128`"
    )
    assert all(row.place.is_relative_to(tmp_path) for row in rows.values())

    make_files, _ = ARCHIVES["listops"]
    prepare("listops", config_for("listops", tmp_path), make_archive(tmp_path / "archive", make_files()))
    generated = config_for("pathfinder", tmp_path, source="generated", size=16, images=10)
    prepare("pathfinder", generated, processes=1)
    rows = {(row.task, row.variant): row for row in status(tmp_path)}
    ready = {key[0]: row.detail for key, row in rows.items() if row.state == "ready"}
    assert ready == {"listops": "2 / 2 / 2", "pathfinder": "8 / 1 / 1"}

    labels = tmp_path / "prepared/listops/official/val/labels.npy"
    labels.write_bytes(b"\0" * labels.stat().st_size)
    assert {row.state for row in status(tmp_path) if row.task == "listops"} == {"files only"}

    for path in (tmp_path / "prepared/listops/official").rglob("meta.json"):
        path.unlink()
    assert {row.state for row in status(tmp_path) if row.task == "listops"} == {"files only"}


def test_synthetic_samples_are_a_function_of_seed_split_and_index(tmp_path):
    from seqboat_lab.data.generators import synthetic

    for make, size in ((synthetic.text, 60), (synthetic.retrieval, 60), (synthetic.image, 8), (synthetic.speech, 60)):
        few, more = list(make(0, "train", 5, size)), list(make(0, "train", 9, size))
        for (one, label), (other, same) in zip(few, more, strict=False):
            assert label == same
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        for other in (list(make(1, "train", 5, size)), list(make(0, "val", 20, size))):
            assert any(not np.array_equal(a[0][0], b[0][0]) for a, b in zip(few, other, strict=True))
