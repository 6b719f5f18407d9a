"""Streamed corpora: the rows' texts are the documents' bytes, whatever the processes and workers."""

import random
import sys
from itertools import islice

import pytest

from seqboat_lab.config.data import WebTextConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.files import sources
from seqboat_lab.data.prepare import prepare, status
from seqboat_lab.data.tasks.web_text import WebSegments, WebTextDataModule
from seqboat_lab.training import experiment


class Stand:
    """In memory what `datasets.IterableDataset` offers: shards, iteration, shuffling."""

    def __init__(self, shards):
        self.shards, self.num_shards = shards, len(shards)

    def shard(self, num_shards, index):
        count = self.num_shards // num_shards
        more = self.num_shards % num_shards
        first = index * count + min(index, more)
        return Stand(self.shards[first : first + count + (index < more)])

    def shuffle(self, seed, buffer_size):
        return Stand(random.Random(seed).sample(self.shards, len(self.shards)))

    def iter(self, batch_size):
        texts = [text for shard in self.shards for text in shard]
        for i in range(0, len(texts), batch_size):
            batch = texts[i : i + batch_size]
            yield {"url": [""] * len(batch), "text": batch}


TRAIN = Stand([[f"<{shard}.{i}é>" * 3 for i in range(20)] for shard in range(5)])
HELD = Stand([[f"[{i * i}]" for i in range(200)]])


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def open_web_dataset(name, subset, split):
        assert (name, subset) == ("allenai/c4", "en")
        return {"train": TRAIN, "validation": HELD}[split]

    monkeypatch.setattr(sources, "open_web_dataset", open_web_dataset)


def config(tmp_path, **fields):
    settings = {"batch_size": 4, "tokens_per_sample": 7, "val_bytes": 100, "test_bytes": 50, "separator": "|"}
    return WebTextConfig(root=str(tmp_path), **{**settings, **fields})


def rows_of(batches):
    """What each row of the update reads, and is asked for, over all batches."""
    inputs = [b"".join(bytes(b.inputs[i].tolist()) for b in batches) for i in range(len(batches[0].inputs))]
    labels = [b"".join(bytes(b.labels[i].tolist()) for b in batches) for i in range(len(batches[0].inputs))]
    return inputs, labels


@pytest.mark.parametrize("batch_size", [1, 4, 5, 8])
def test_each_row_reads_documents_of_its_own_and_together_they_read_all(tmp_path, batch_size):
    segments = WebSegments(config(tmp_path, batch_size=batch_size), batch_size, seed=1)
    batches = list(islice(segments, 900))
    inputs, labels = rows_of(batches)
    seen = []
    for read, asked in zip(inputs, labels, strict=True):
        assert asked[:-1] == read[1:]
        documents = read.split(b"|")
        once = documents[: documents.index(documents[0], 1)]  # until the first one comes again
        assert documents[len(once) : 2 * len(once)] == once
        seen += [document.decode() for document in once]
    assert sorted(seen) == sorted(text for shard in TRAIN.shards for text in shard)
    assert [b.fresh for b in batches[:3]] == [True, False, False]


@pytest.mark.parametrize("shuffle_buffer", [0, 10])
def test_batches_are_the_same_for_any_number_of_ranks_workers_and_parts(tmp_path, shuffle_buffer):
    settings = config(tmp_path, shuffle_buffer=shuffle_buffer)

    def batches(size, count, start=0, **place):
        return [b.inputs.tolist() for b in islice(WebSegments(settings, size, 1, start_batch=start, **place), count)]

    whole = batches(4, 30)
    ranks = [batches(2, 30, rank=r, world=2) for r in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole
    parts = batches(1, 120)  # accumulated over four batches
    assert [sum(parts[i : i + 4], []) for i in range(0, 120, 4)] == whole  # noqa: RUF017
    assert batches(4, 13, start=17) == whole[17:]
    assert batches(1, 7, start=50) == parts[50:57]

    for workers in (1, 2):
        module = WebTextDataModule(
            config(tmp_path, shuffle_buffer=shuffle_buffer, num_workers=workers), seed=1, batch_size=4
        )
        assert [b.inputs.tolist() for b in islice(module.train_dataloader(), 30)] == whole


def test_held_out_bytes_are_the_first_of_their_split(tmp_path):
    (row,) = (row for row in status(tmp_path) if row.task == "web_text")
    assert (row.state, row.detail) == ("missing", "run `seqboat data prepare web_text`")
    assert prepare("web_text", config(tmp_path)) == {"val": 100, "test": 50}
    module = WebTextDataModule(config(tmp_path), seed=1, batch_size=4)
    module.setup()
    text = "|".join(HELD.shards[0]).encode()
    assert bytes(module.split_bytes("val")) == text[:100]
    assert bytes(module.scored_bytes("test")) == text[99:150]
    with pytest.raises(DataError, match="the training split is streamed"):
        module.split_bytes("train")


@pytest.mark.parametrize("carry_state", [False, True])
def test_a_language_model_trains_on_it(tiny_web, tmp_path, carry_state):
    summary = experiment.fit(tiny_web(f"data.carry_state={carry_state}"), tmp_path / "run")
    assert summary["steps"] == 10
    assert 0 < summary["metrics"]["val/bpc"] < 12


@pytest.fixture
def tiny_web(tmp_path):
    from seqboat_lab.config import load_experiment

    def make(*overrides):
        return load_experiment(
            "text_tiny",
            [
                "task=web_text", f"data.root={tmp_path}", "data.val_bytes=200", "data.test_bytes=200",
                "data.tokens_per_sample=16", "data.batch_size=4", "model.d_model=8", "model.d_hidden=8",
                "model.d_attention=4", "model.layers=1", "trainer.max_steps=10", "trainer.val_every=10",
                "optim.warmup_steps=1", "trainer.threads=1", *overrides,
            ],
        )  # fmt: skip

    return make


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text_column": "body"}, r"no text in the column 'body'; its columns are url, text: set data.text_column"),
        ({"val_bytes": 5000}, r"split 'validation' ends [\d,]+ bytes too early for .* = 5,050; lower them"),
    ],
)
def test_what_cannot_be_prepared_is_told_in_one_line(tmp_path, fields, message):
    with pytest.raises(DataError, match=message) as caught:
        prepare("web_text", config(tmp_path, **fields))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.partial"))


def test_more_rows_than_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "open_web_dataset", lambda *args: Stand([["one document, long enough"]]))
    with pytest.raises(DataError, match=r"no documents to read; lower data.batch_size"):
        next(iter(WebSegments(config(tmp_path), 4, seed=1)))


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"not installed; run `pip install 'seqboat-lab\[web\]'`"):
        sources.open_web_dataset("allenai/c4", "en", "train")


def test_a_data_set_that_cannot_be_opened_is_one_line(monkeypatch):
    monkeypatch.undo()

    class Broken:
        @staticmethod
        def load_dataset(*args, **kwargs):
            raise ConnectionError("no\nnetwork")

    monkeypatch.setitem(sys.modules, "datasets", Broken)
    with pytest.raises(
        DataError, match=r"data.dataset=x, data.subset=None, split 'train': cannot be opened \(no network\)"
    ):
        sources.open_web_dataset("x", None, "train")
