"""The task around the generator: what is scored, rows that go on, real files where they are, one line for mistakes."""

import wave
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.data import MultimodalConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.loading.batch import IGNORED, SPLITS
from seqboat_lab.data.tasks import language, multimodal
from seqboat_lab.data.tasks.multimodal import MultimodalDataModule, mu_law


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(multimodal, "CLIPS", 2)
    monkeypatch.setattr(multimodal, "IMAGES", 4)


@pytest.fixture
def config(tmp_path) -> MultimodalConfig:
    return MultimodalConfig(
        root=str(tmp_path), source="generated", tokens_per_sample=50, batch_size=4, train_tokens=6_001,
        val_tokens=3_003, test_tokens=2_000,
    )  # fmt: skip


def ready(config: MultimodalConfig, batch_size: int = 4) -> MultimodalDataModule:
    data = MultimodalDataModule(config, seed=3, batch_size=batch_size)
    data.prepare_data()
    data.setup()
    return data


def test_the_token_behind_each_asked_key_is_scored_and_nothing_else(config):
    data = ready(config)
    tokens, distances = data.dataset("val").tokens.tolist(), data.dataset("val").distances.tolist()
    for batch in islice(data.training_loader(0, 1), 5):
        for inputs, labels in zip(batch.inputs.tolist(), batch.labels.tolist(), strict=True):
            for place in range(1, 49):
                asked = inputs[place - 1] == 260
                assert labels[place] == (inputs[place + 1] if asked else IGNORED)
    asked = [place for place, distance in enumerate(distances) if distance]
    assert asked == [place for place in range(1, len(tokens) - 1) if tokens[place - 1] == 260]
    for place in asked:
        told = place - distances[place]
        assert tokens[told - 2 : told + 1] == [259, tokens[place], tokens[place + 1]]
    assert data.sizes() == {"train": 6_001, "val": 3_003, "test": 2_000}


def test_an_evaluation_reads_each_row_on_and_everything_once_over_all_processes(config):
    data = ready(config)
    tokens = data.dataset("val").tokens[: 4 * 750]
    for ranks, size in ((1, 4), (2, 2), (2, 1), (1, 1)):
        rows = []
        for rank in range(ranks):
            share = ready(config, size)
            loader, rows_of_rank = share.evaluation_loader("val", rank, ranks), []
            assert len(loader) == len(list(loader))
            for batch in loader:
                if batch.fresh:
                    rows_of_rank.append([])
                rows_of_rank[-1].append(batch.inputs)
            rows.append([torch.cat(pieces, dim=1) for pieces in rows_of_rank])
        joined = torch.cat([rows[rank][part] for part in range(len(rows[0])) for rank in range(ranks)])
        assert joined.flatten().tolist() == tokens.tolist()


def test_training_rows_go_on_and_batches_are_the_same_from_any_start(config):
    first = list(islice(ready(config).training_loader(0, 1), 40))
    again = ready(config)
    again.start_batch = 7
    assert all(
        torch.equal(a.inputs, b.inputs) for a, b in zip(first[7:], islice(again.training_loader(0, 1), 33), strict=True)
    )
    assert [i for i, batch in enumerate(first) if batch.fresh] == [
        0,
        29,
    ]  # 1,500 predictions a row, one segment given up
    row = torch.cat([batch.inputs[1] for batch in first[:29]]).tolist()
    text = ready(config).dataset("train").tokens.tolist()
    start = next(i for i in range(1500, 1550) if text[i : i + 60] == row[:60])
    assert row == text[start : start + 29 * 50]


def test_splits_and_reading_settings(config):
    data = ready(config)
    drawn = {split: data.dataset(split).tokens[:1500] for split in SPLITS}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert (drawn[a] != drawn[b]).mean() > 0.5
        for name in ("text", "audio", "image"):
            one, other = data.content(name, a), data.content(name, b)
            pieces = {one[i : i + 64].tobytes() for i in range(len(one) - 64)}
            assert not any(other[i : i + 64].tobytes() in pieces for i in range(0, len(other) - 64, 64)), name
    assert replace(config, batch_size=2, tokens_per_sample=9).root == config.root
    assert ready(replace(config, batch_size=2, tokens_per_sample=9)).variant == data.variant
    assert ready(replace(config, generator_seed=1)).variant != data.variant


def test_real_text_and_audio_are_read_where_they_are_and_it_is_said_what_is_not(config, tmp_path, monkeypatch):
    library = tmp_path / "library"
    library.mkdir()
    (library / "one.py").write_text("import this\n" * 400)
    monkeypatch.setattr(language, "standard_library", lambda: library)
    audio = tmp_path / "speech_commands_v0.02"
    words = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
    for i, word in enumerate(words):
        (audio / word).mkdir(parents=True)
        for j in range(3):
            with wave.open(str(audio / word / f"{j}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(np.full(16_000, 100 * (3 * i + j), np.int16).tobytes())
    for j, name in enumerate(("validation", "testing")):
        (audio / f"{name}_list.txt").write_text("".join(f"{word}/{j}.wav\n" for word in words))
    data = MultimodalDataModule(replace(config, source="auto"), seed=0, batch_size=4)
    with pytest.warns(
        UserWarning, match="multimodal: image is generated, since data.root=.* has none of its own"
    ) as told:
        data.prepare_data()
    assert len(told) == 1
    data.setup()
    assert data.origins["audio"] == "speech-commands"
    assert data.origins["text"].startswith("standard-library-")
    assert data.origins["image"] == "generated"
    assert all(part in str(data.store_path("val")) for part in data.origins.values())
    assert data.stores["val"].info["origins"] == data.origins
    expected = {"train": (2, 5), "val": (0, 3), "test": (1, 4)}  # the first two clips of each split
    for split, clips in expected.items():
        assert np.unique(data.content("audio", split)).tolist() == sorted(mu_law(np.array([100 * c for c in clips])))
    assert b"import" in data.content("text", "train").tobytes()


def test_mu_law_is_that_of_the_formula():
    wave = np.array([-32768, -1000, 0, 1, 1000, 32767], np.int16)
    x = wave / 32768
    expected = np.round((np.sign(x) * np.log(1 + 255 * abs(x)) / np.log(256) + 1) / 2 * 255)
    assert np.abs(mu_law(wave).astype(int) - expected).max() <= 1
    assert mu_law(wave)[[0, -1]].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"longest_piece": 7}, r"data.longest_piece: 7 .* at least shortest_piece = 8"),
        ({"keys": 129}, r"data.keys: 129 .* at most 128"),
        ({"values": 1}, r"data.values: 1 .* at least 2"),
        ({"facts": 0}, r"data.facts: 0 .* at least 1"),
        ({"max_distance": 1}, r"data.max_distance: 1 .* at least 2"),
        ({"source": "real"}, r"data.source: unknown value 'real'"),
        ({"piece": 3}, r"data.piece: unknown field .* longest_piece"),
    ],
)
def test_impossible_streams_are_refused_when_the_configuration_is_made(fields, error):
    with pytest.raises(ConfigError, match=error):
        load_experiment("multimodal_tiny", [f"data.{key}={value}" for key, value in fields.items()])


def test_layers_without_a_fixed_state_cannot_carry_one():
    with pytest.raises(ConfigError, match=r"^data.carry_state: True .* false, since transformer has a cache"):
        load_experiment("multimodal_tiny", ["model.kind=transformer"])
    load_experiment("multimodal_tiny", ["model.kind=transformer", "data.carry_state=false"])


def test_too_short_a_stream_is_one_clear_line(config):
    with pytest.raises(DataError, match=r"^data.val_tokens=20: so short a stream asks nothing; raise it"):
        ready(replace(config, val_tokens=20, shortest_piece=30, longest_piece=30))
    with pytest.raises(DataError, match=r"has 300 tokens, too few for 512 streams; lower data.batch_size"):
        ready(replace(config, val_tokens=300, batch_size=512)).evaluation_loader("val", 0, 1)
