"""A checkpoint of the authors' code becomes a run directory that our modules load and evaluate."""

import lightning as L
import pytest
import torch

from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.data.listops import VOCABULARY
from seqboat_lab.nn.official_checkpoint import read_official_checkpoint
from seqboat_lab.training.experiment import make_datamodule, make_module
from seqboat_lab.training.import_official import import_official
from seqboat_lab.training.run_directory import read_checkpoint
from tests.nn.official_files import (
    LISTOPS_ARGS,
    LM_ARGS,
    classifier_weights,
    language_model_weights,
    write_checkpoint,
)

THEIR_ORDER = (*reversed(VOCABULARY[1:]), "madeupword0000")


@pytest.fixture
def checkpoint(tmp_path):
    """Of 4 special symbols, 15 tokens, one filler and <CLS>; the dictionary lies beside it."""
    torch.manual_seed(0)
    (tmp_path / "dict.txt").write_text("".join(f"{symbol} {100 - i}\n" for i, symbol in enumerate(THEIR_ORDER)))
    return write_checkpoint(tmp_path / "checkpoint_best.pt", LISTOPS_ARGS, classifier_weights(21, 10, LISTOPS_ARGS))


def test_the_run_directory_holds_the_recipe_with_the_checkpoints_model(checkpoint, tmp_path):
    config = import_official(checkpoint, "listops", tmp_path / "run")
    recipe = load_experiment("lra/listops")
    assert load_experiment(tmp_path / "run" / "config.yaml") == config
    assert (config.optim, config.data, config.task) == (recipe.optim, recipe.data, "listops")
    assert (config.model.d_model, config.model.memory_size, config.model.norm) == (8, 4, "layernorm")


def test_embedding_rows_follow_our_ids(checkpoint, tmp_path):
    import_official(checkpoint, "listops", tmp_path / "run")
    rows = read_official_checkpoint(checkpoint).state_dict["embedding.weight"]
    ours = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["state_dict"]["model.embedding.weight"]
    assert ours.shape == (len(VOCABULARY), 8)
    for number, symbol in enumerate(VOCABULARY[1:], start=1):
        assert torch.equal(ours[number], rows[4 + THEIR_ORDER.index(symbol)])


def test_the_checkpoint_can_be_validated(checkpoint, tmp_path):
    run_dir = tmp_path / "run"
    import_official(checkpoint, "listops", run_dir)
    small = [
        f"data.root={tmp_path}", "data.source=generated", "data.min_length=10", "data.max_length=30",
        "data.train_size=4", "data.val_size=32", "data.test_size=4", "trainer.accelerator=cpu",
    ]  # fmt: skip
    config = load_experiment(run_dir / "config.yaml", small)
    datamodule = make_datamodule(config)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, barebones=False
    )
    module = make_module(config, datamodule)
    path = run_dir / "checkpoints" / "best.ckpt"
    (values,) = trainer.validate(module, datamodule, ckpt_path=path, verbose=False, weights_only=True)
    assert 0 <= values["val/accuracy"] <= 1
    assert torch.equal(module.model.hidden.bias, read_checkpoint(path)["state_dict"]["model.hidden.bias"])


def test_rows_already_in_our_order_need_no_dictionary(tmp_path):
    weights = classifier_weights(len(VOCABULARY), 10, LISTOPS_ARGS)
    import_official(write_checkpoint(tmp_path / "c.pt", LISTOPS_ARGS, weights), "listops", tmp_path / "run")
    ours = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["state_dict"]["model.embedding.weight"]
    assert torch.equal(ours, weights["encoder.encoder.embed_tokens.embed.weight"])


def test_a_language_models_rows_follow_the_bytes(tmp_path):
    order = [*range(255, 9, -1)]  # bytes 0 to 9 never occurred; those of the dictionary are numbers
    (tmp_path / "dict.txt").write_text("".join(f"{byte} 1\n" for byte in order))
    weights = language_model_weights(4 + len(order), LM_ARGS)
    config = import_official(write_checkpoint(tmp_path / "lm.pt", LM_ARGS, weights), "enwik8", tmp_path / "run")
    assert (config.task, config.data) == ("enwik8", load_experiment("enwik8").data)
    rows = weights["decoder.embed_tokens.weight"]
    ours = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["state_dict"]["model.embedding.weight"]
    assert torch.equal(ours[10:], rows[4:].flip(0))
    assert torch.equal(ours[:10], rows[3].expand(10, -1))  # <unk>


def refused(path, task, run_dir, message):
    with pytest.raises(ConfigError, match=message):
        import_official(path, task, run_dir)
    assert not run_dir.exists()


def test_what_does_not_belong_to_the_task_is_refused_and_leaves_nothing(checkpoint, tmp_path):
    run_dir = tmp_path / "run"
    refused(tmp_path / "none.pt", "listops", run_dir, "none.pt: no such file")
    refused(checkpoint, "listopss", run_dir, "unknown experiment 'listopss'")
    refused(checkpoint, "text", run_dir, "tells 10 classes apart, but the task has 2")
    refused(checkpoint, "retrieval", run_dir, "holds a classifier, but retrieval needs a pair")
    refused(checkpoint, "image", run_dir, "reads tokens, but the task gives real numbers")
    (tmp_path / "dict.txt").unlink()
    refused(checkpoint, "listops", run_dir, "has 21 embedding rows, but the task has 16 ids; give .* dict.txt")
    (tmp_path / "dict.txt").write_text("der 7\ndie 6\ndas 5\n")
    refused(checkpoint, "listops", run_dir, "names none of the task's tokens; it starts .*'der'")


@pytest.mark.parametrize("as_numbers", [False, True])
def test_byte_rows_are_found_as_characters_or_as_numbers(as_numbers, tmp_path):
    known = [*range(32, 60), 101]
    names = [str(byte) if as_numbers else chr(byte) for byte in known]
    (tmp_path / "dict.txt").write_text("".join(f"{name} 9\n" for name in names))
    weights = classifier_weights(4 + len(known), 2, LISTOPS_ARGS)
    import_official(write_checkpoint(tmp_path / "c.pt", LISTOPS_ARGS, weights), "text", tmp_path / "run")
    theirs = weights["encoder.encoder.embed_tokens.embed.weight"]
    ours = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["state_dict"]["model.embedding.weight"]
    assert ours.shape == (257, 8)
    assert torch.equal(ours[1 + 101], theirs[4 + known.index(101)])
    assert torch.equal(ours[1 + 32], theirs[4])
    assert torch.equal(ours[1 + 200], theirs[3])  # a byte the authors never saw
    assert torch.equal(ours[0], theirs[1])
