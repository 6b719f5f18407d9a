"""Texts of bytes: their splits, what is predicted, and one clear line for what cannot be used."""

import builtins
import zipfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from seqboat_lab.config import ConfigError
from seqboat_lab.config.data import CorpusConfig, Enwik8Config, Text8Config
from seqboat_lab.data import TASKS, DataError
from seqboat_lab.data.loading.batch import IGNORED
from seqboat_lab.data.prepare import prepare, status

TEXT = bytes(np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8))


def corpus(tmp_path: Path, text: bytes | None = TEXT, *, batch_size: int = 4, **fields):
    """A module over a file of these bytes, ready."""
    if text is not None:
        (tmp_path / "text.bin").write_bytes(text)
        fields["path"] = str(tmp_path / "text.bin")
    settings = {"tokens_per_sample": 16, "batch_size": batch_size, "val_fraction": 0.1, "test_fraction": 0.2}
    config = CorpusConfig(root=str(tmp_path / "data"), **{**settings, **fields})
    module = TASKS["corpus"](config, seed=1, batch_size=batch_size)
    module.prepare_data()
    module.setup()
    return module


def test_splits_are_consecutive_parts_of_the_file(tmp_path):
    module = corpus(tmp_path)
    assert module.sizes() == {"train": 700, "val": 100, "test": 200}
    assert [bytes(module.split_bytes(s)) for s in ("train", "val", "test")] == [TEXT[:700], TEXT[700:800], TEXT[800:]]
    assert [bytes(module.scored_bytes(s)) for s in ("train", "val", "test")] == [TEXT[:700], TEXT[699:800], TEXT[799:]]
    for split in ("train", "val"):
        assert isinstance(module.split_bytes(split), np.memmap)
        assert not module.split_bytes(split).flags.writeable
    assert module.path == tmp_path / "text.bin"  # the file itself, not a copy
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("split", "start", "stop"), [("val", 700, 800), ("test", 800, 1000)])
def test_evaluation_predicts_every_byte_of_the_split_once_from_the_bytes_before(tmp_path, split, start, stop, workers):
    module = corpus(tmp_path, context=5, num_workers=workers)
    found = []
    for batch in module.evaluation_dataloader(split):
        for inputs, labels in zip(batch.inputs.tolist(), batch.labels.tolist(), strict=True):
            scored = [i for i, label in enumerate(labels) if label != IGNORED]
            before = bytes(inputs[: scored[0] + 1])
            place = TEXT.index(before + bytes([labels[scored[0]]])) + len(
                before
            )  # 1,000 random bytes hold no six twice
            assert len(before) > 5 or place == start
            assert bytes(inputs[: scored[-1] + 1]) == TEXT[place - len(before) : place + len(scored) - 1]
            assert bytes(labels[i] for i in scored) == TEXT[place : place + len(scored)]
            found += range(place, place + len(scored))
    assert sorted(found) == list(range(start, stop))


@pytest.mark.parametrize("carry_state", [False, True])
def test_training_batches_are_the_same_for_any_number_of_workers_and_from_any_start(tmp_path, carry_state):
    def batches(start, count, **fields):
        module = corpus(tmp_path, carry_state=carry_state, **fields)
        module.start_batch = start
        return [(b.inputs.tolist(), b.fresh) for b in islice(module.train_dataloader(), count)]

    whole = batches(0, 30)
    assert batches(0, 30, num_workers=2) == whole
    assert batches(17, 13) == whole[17:]
    for inputs, _ in whole:
        assert all(bytes(row) in TEXT[:700] for row in inputs)


def test_a_folder_is_joined_in_the_order_of_names(tmp_path):
    folder = tmp_path / "texts"
    for name, text in {"b.txt": b"B" * 50, "a/z.txt": b"Z" * 50, "a/skip.md": b"!", ".git/x.txt": b"!"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    fields = {"path": str(folder), "pattern": "*.txt", "batch_size": 1}
    module = corpus(tmp_path, None, **fields)
    assert module.path.read_bytes() == b"Z" * 50 + b"B" * 50
    written = module.path.stat().st_mtime_ns
    assert corpus(tmp_path, None, **fields).path.stat().st_mtime_ns == written  # nothing to do the second time
    (folder / "c.txt").write_bytes(b"C" * 10)
    assert corpus(tmp_path, None, **fields).path.read_bytes().endswith(b"B" + b"C" * 10)
    (folder / "c.txt").write_bytes(b"D" * 10)
    assert corpus(tmp_path, None, **fields).path.read_bytes().endswith(b"B" + b"D" * 10)


def test_a_folder_that_holds_the_data_directory_does_not_read_what_we_wrote(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 100)
    for _ in range(2):
        assert len(corpus(tmp_path, None, path=str(tmp_path), batch_size=1).path.read_bytes()) == 100


@pytest.mark.slow
def test_the_default_corpus_is_pythons_own_sources(tmp_path):
    config = CorpusConfig(root=str(tmp_path))
    sizes = prepare("corpus", config)
    module = TASKS["corpus"](config, seed=0, batch_size=1)
    module.setup()
    assert b"class OrderedDict(dict):" in module.path.read_bytes()
    assert sizes["train"] > 4_000_000
    assert {name.suffix for name in module.files()} == {".py"}
    assert not any({"test", "tests", "site-packages"} & set(name.parts) for name in module.files())
    (row,) = (row for row in status(tmp_path) if row.task == "corpus")
    assert row.state == "ready"
    assert row.detail == " / ".join(f"{n:,}" for n in sizes.values())


BAD = [
    (b"", {}, r"text.bin: 0 bytes are too short a corpus: the train split would have 0, expected at least 2; give more"),
    (b"x", {}, r"text.bin: 1 bytes are too short a corpus"),
    (b"x" * 9, {}, r"text.bin: 9 bytes are too short a corpus: the val split would have 0, expected at least 1"),
    (None, {"path": "/nowhere/x"}, r"/nowhere/x: no such file or folder; set data.path to a text or a folder"),
    (None, {"path": "{tmp}", "pattern": "*.md"}, r"no file here matches '\*.md'; set data.pattern or another"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fields", "message"), BAD)
def test_an_unusable_corpus_is_told_in_one_line(tmp_path, text, fields, message):
    fields = {name: value.replace("{tmp}", str(tmp_path)) for name, value in fields.items()}
    with pytest.raises(DataError, match=message) as caught:
        corpus(tmp_path, text, **fields)
    assert "\n" not in str(caught.value)


def test_a_split_shorter_than_a_batch_of_segments(tmp_path):
    module = corpus(tmp_path, b"x" * 100, tokens_per_sample=512)
    with pytest.raises(
        DataError, match=r"70 bytes, which make 0 segments of 512, fewer than one batch of 4; lower data"
    ):
        module.train_dataloader()
    assert len(module.val_dataloader()) == 1  # a short block is no trouble


@pytest.mark.parametrize("as_folder", [False, True])
def test_an_unreadable_file_is_named(tmp_path, monkeypatch, as_folder):
    (tmp_path / "text.bin").write_bytes(TEXT)

    def refuse(path, *args, **kwargs):
        if str(path).endswith("text.bin"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    real = builtins.open
    monkeypatch.setattr(builtins, "open", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"text.bin: cannot be read \(Permission denied\); check its permissions"):
        corpus(tmp_path, None, path=str(tmp_path if as_folder else tmp_path / "text.bin"))
    assert not list((tmp_path / "data").rglob("*.partial")) if as_folder else True


def test_impossible_settings_are_refused():
    for fields, message in [
        ({"tokens_per_sample": 8, "context": 8}, "context: 8 .*less than tokens_per_sample = 8"),
        ({"tokens_per_sample": 0}, "tokens_per_sample: 0 .*at least 1"),
        ({"val_fraction": 0.0}, "val_fraction: 0.0 .*above 0"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "val_fraction: 0.5 .*less than 1 - test_fraction = 0.5"),
    ]:
        with pytest.raises(ConfigError, match=message):
            CorpusConfig(**fields)


def hundred_million(path: Path) -> Path:
    """A file of 100 MB that takes no space, with the splits' first bytes marked."""
    with open(path, "wb") as file:
        for place, mark in ((0, b"a"), (89_999_999, b"b"), (90_000_000, b"c"), (95_000_000, b"d"), (99_999_999, b"e")):
            file.seek(place)
            file.write(mark)
    return path


@pytest.mark.parametrize(("task", "config", "zipped"), [("enwik8", Enwik8Config, True), ("text8", Text8Config, False)])
def test_enwik8_and_text8_from_what_a_user_has(tmp_path, task, config, zipped):
    given = hundred_million(tmp_path / task)
    if zipped:
        archive = tmp_path / f"{task}.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.write(given, task)
    (row,) = (row for row in status(tmp_path / "data") if row.task == task)
    assert (row.state, row.detail) == ("missing", f"run `seqboat data prepare {task}`")
    counts = prepare(task, config(root=str(tmp_path / "data")), archive if zipped else given)
    assert counts == {"train": 90_000_000, "val": 5_000_000, "test": 5_000_000}
    module = TASKS[task](config(root=str(tmp_path / "data")), seed=1, batch_size=2)
    module.setup()
    val, test = module.scored_bytes("val"), module.scored_bytes("test")
    assert (bytes(val[:2]), len(val)) == (b"bc", 5_000_001)
    assert (bytes(test[1:2]), bytes(test[-1:])) == (b"d", b"e")
    (row,) = (row for row in status(tmp_path / "data") if row.task == task)
    assert (row.state, row.detail) == ("ready", "90,000,000 / 5,000,000 / 5,000,000")


def test_enwik8_that_is_missing_wrong_or_damaged(tmp_path):
    config = Enwik8Config(root=str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"data/enwik8/enwik8: no such file; run `seqboat data prepare enwik8`"):
        TASKS["enwik8"](config, seed=1, batch_size=1).prepare_data()
    damaged, other = tmp_path / "enwik8.zip", tmp_path / "other.zip"
    damaged.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"enwik8.zip: damaged or truncated zip"):
        prepare("enwik8", config, damaged)
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("text8", b"x")
    with pytest.raises(DataError, match=r"other.zip: holds no file 'enwik8'; is it the right archive"):
        prepare("enwik8", config, other)
    short = tmp_path / "enwik8"
    short.write_bytes(b"x" * 10)
    with pytest.raises(DataError, match=r"/enwik8: holds 10 bytes of enwik8, expected 100,000,000; is it the right"):
        prepare("enwik8", config, short)
    landed = tmp_path / "data" / "enwik8" / "enwik8"
    assert not landed.exists()  # so that the next --from is taken
    landed.parent.mkdir(parents=True, exist_ok=True)
    landed.write_bytes(b"x" * 10)
    with pytest.raises(DataError, match=r"enwik8/enwik8: has 10 bytes, expected 100,000,000; delete it and run"):
        prepare("enwik8", config, short)
    with pytest.raises(DataError, match=r"--from is for official files, which corpus does not read"):
        prepare("corpus", CorpusConfig(root=str(tmp_path)), short)
