"""Recall: a dictionary answers every question, nothing else does, and sequences are functions of their numbers."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.data import RecallConfig
from seqboat_lab.data.generators.recall import BLANK, CHUNK, CLASSES, MARK, draw_chunk, token_classes, vocabulary
from seqboat_lab.data.loading.batch import IGNORED
from seqboat_lab.data.tasks.recall import RecallDataModule

VARIANTS = {
    "mqar": RecallConfig(variant="mqar", length=60, pairs=6, gap_power=0.01),
    "noisy_mqar": RecallConfig(variant="noisy_mqar", length=60, pairs=6, noise=0.6, context=0.5),
    "noisy_mqar_each_once": RecallConfig(variant="noisy_mqar", length=41, pairs=5, context=0.7),
    "selective_copying": RecallConfig(variant="selective_copying", length=50, pairs=7),
    "induction": RecallConfig(variant="induction", length=50, pairs=3),
}
each = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def rows(config: RecallConfig, count: int = 40) -> list[tuple[list[str], list[str]]]:
    """Sequences as a person reads them."""
    names = vocabulary(config)
    drawn = draw_chunk(config, "train", 2)
    assert drawn.inputs.shape == drawn.answers.shape == (CHUNK, config.length)
    pairs = zip(drawn.inputs[:count], drawn.answers[:count], strict=True)
    return [([names[i] for i in x], [names[i] for i in y]) for x, y in pairs]


def look_up(words: list[str], variant: str) -> list[str]:
    """Answers by a dictionary that reads from left to right: what followed a key when it first stood there."""
    known, answers, copied = {}, [], iter([w for w in words if w[0] == "v"])
    for here, following in zip(words, [*words[1:], None], strict=True):
        if variant == "selective_copying":
            answers.append(next(copied) if here == "?" else "·")
        else:
            answers.append(known.get(here, "·"))
            if here[0] == "k":
                known.setdefault(here, following)
    return answers


@each
def test_a_dictionary_answers_every_question_and_nothing_else_is_asked(config):
    for words, answers in rows(config):
        assert look_up(words, config.variant) == answers
        assert sum(answer != "·" for answer in answers) == config.questions


@each
def test_no_answer_can_be_read_after_its_question(config):
    """Answers stay right whatever stands behind the question: the tokens there never name the key's value."""
    for words, answers in rows(config):
        for place, answer in enumerate(answers):
            if answer == "·":
                continue
            behind = words[place + 1 :]
            if config.variant == "induction":
                assert all(word[0] == "k" for word in behind)  # further questions, each for another key
                assert words[place] not in behind
            else:
                assert not any(word[0] == "v" for word in behind)


@each
def test_answers_lie_where_the_fields_say(config):
    questions, pairs = [], []
    for words, answers in rows(config, CHUNK):
        asked = [i for i, answer in enumerate(answers) if answer != "·"]
        first = [i for i, word in enumerate(words) if word[0] in "kv" and i < config.context_length]
        assert min(asked) >= config.context_length
        questions += asked
        pairs += first
    if config.variant == "mqar":
        assert set(pairs) == set(range(2 * config.pairs))
        behind = np.array(questions) - config.context_length
        assert np.median(behind) < 0.3 * (config.length - config.context_length)  # soon, but with a long tail
        assert behind.max() > 0.9 * (config.length - config.context_length)
    elif config.variant == "noisy_mqar":
        spread = config.length - config.context_length
        assert set(pairs) == set(range(config.context_length))  # anywhere in the context
        assert set(questions) == set(range(config.context_length, config.length))
        assert abs(np.mean(questions) - config.context_length - (spread - 1) / 2) < 0.5
    else:
        assert set(questions) == set(range(config.length - config.pairs, config.length))


def test_the_share_of_noise_is_as_asked_and_its_vocabulary_its_own():
    config = VARIANTS["noisy_mqar"]
    for words, _ in rows(config):
        assert sum(word[0] == "n" for word in words) == 0.6 * 60
        assert sum(word[0] == "v" for word in words) == config.pairs
        keys = [word for word in words if word[0] == "k"]
        asked = sorted(keys.count(key) - 1 for key in set(keys))
        assert len(asked) == 6
        assert asked[-1] - asked[0] <= 1  # all asked for equally often


def test_values_and_noise_are_uniform_and_keys_too():
    config = RecallConfig(length=64, pairs=8, noise=0.5, keys=16, values=16, noise_tokens=16)
    drawn = [draw_chunk(config, "train", number).inputs for number in range(8)]
    counts = np.bincount(np.concatenate(drawn).ravel(), minlength=50)[2:].reshape(3, 16)
    for kind in counts:
        assert np.abs(kind / kind.mean() - 1).max() < 0.12


@each
def test_classes_name_what_a_token_is_for(config):
    kind_of = {"k": "key", "v": "value", "n": "noise", "·": "blank", "?": "question"}
    drawn = draw_chunk(config, "test", 0)
    classes = token_classes(config, drawn.inputs)
    names = vocabulary(config)
    for ids, answers, row in zip(drawn.inputs[:30], drawn.answers[:30], classes[:30], strict=True):
        for i, answer, kind in zip(ids, answers, row, strict=True):
            expected = "question" if answer != BLANK else kind_of[names[i][0]]
            assert CLASSES[kind] == expected


@each
def test_a_sequence_is_a_function_of_split_seed_and_number(config, tmp_path):
    def loaded(name: str, **fields) -> RecallDataModule:
        settings = {"root": str(tmp_path / name), "train_size": 600, "val_size": 30, "test_size": 30} | fields
        data = RecallDataModule(replace(config, **settings), seed=1, batch_size=4)
        data.prepare_data()
        data.setup()
        return data

    once, longer, other = loaded("a"), loaded("b", train_size=300), loaded("c", generator_seed=1)
    numbers = [0, 255, 256, 299]
    ours, same, different = (data.dataset("train")[numbers] for data in (once, longer, other))
    assert torch.equal(ours.inputs, same.inputs)
    assert torch.equal(ours.labels, same.labels)
    assert not torch.equal(ours.inputs, different.inputs)
    held_out = once.dataset("val")[[0, 1, 2, 3]]
    assert not torch.equal(held_out.inputs, once.dataset("train")[[0, 1, 2, 3]].inputs)

    chunk = draw_chunk(replace(config), "train", 1)
    assert ours.inputs[2].tolist() == chunk.inputs[0].tolist()
    scored = ours.labels[2] != IGNORED
    assert torch.equal(scored, torch.from_numpy(chunk.answers[0] != BLANK))
    assert torch.equal(ours.labels[2][scored], torch.from_numpy(chunk.answers[0])[scored])


def test_batches_are_those_of_any_number_of_workers_and_go_on_where_they_were(tmp_path):
    config = replace(VARIANTS["noisy_mqar"], root=str(tmp_path), train_size=64, val_size=8, test_size=8)

    def batches(workers: int, start: int, count: int) -> list[torch.Tensor]:
        data = RecallDataModule(replace(config, num_workers=workers), seed=3, batch_size=8)
        data.prepare_data()
        data.setup()
        data.start_batch = start
        return [batch.inputs for batch in islice(data.train_dataloader(), count)]

    whole = batches(0, 0, 12)
    assert all(torch.equal(a, b) for a, b in zip(whole, batches(2, 0, 12), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[9:], batches(0, 9, 3), strict=True))


def test_any_length_has_its_own_data_and_is_read_by_the_same_vocabulary(tmp_path):
    for length in (24, 500):
        config = replace(VARIANTS["noisy_mqar"], root=str(tmp_path), length=length, noise=None, train_size=4)
        data = RecallDataModule(config, seed=1, batch_size=2)
        data.prepare_data()
        data.setup()
        batch = next(iter(data.train_dataloader()))
        assert batch.inputs.shape == (2, length)
        assert data.spec.vocab_size == 2 + 3 * 32
        words = data.decode(batch.inputs[0].tolist())
        assert [data.token_classes[i] for i in data.token_class(batch.inputs)[0] if i == 3] == ["noise"] * sum(
            word[0] == "n" for word in words
        )
    assert data.decode([BLANK, MARK, 2, 34, 66]) == ["·", "?", "k0", "v0", "n0"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"noise": 0.9}, r"data.noise: 0.9 .* at most 0.859, which leaves room for one question"),
        ({"noise": 1.5}, r"data.noise: 1.5 .* from 0 to 1"),
        ({"variant": "induction"}, r"data.noise: 0.75 .* null, since induction asks for each once"),
        ({"keys": 3}, r"data.keys: 3 .* at least pairs = 4"),
        ({"context": 0.1}, r"data.pairs: 4 .* at most 3, which fit into a context of 6 tokens"),
        ({"context": 0.95}, r"data.length: 64 .* at least 69, for 8 questions behind a context of 61 tokens"),
        ({"variant": "mqr"}, r"data.variant: unknown value 'mqr' \(did you mean 'mqar'\?\)"),
        ({"gap_power": 0}, r"data.gap_power: 0.0 .* above 0"),
    ],
)
def test_impossible_sequences_are_refused_when_the_configuration_is_made(fields, error):
    with pytest.raises(ConfigError, match=error):
        load_experiment("recall/noisy_mqar_tiny", [f"data.{key}={value}" for key, value in fields.items()])
