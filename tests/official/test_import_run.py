"""A checkpoint of the authors' code becomes a run directory that our modules load and evaluate."""

import lightning as L
import pytest
import torch

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.data.tasks.listops import VOCABULARY
from seqboat_lab.official.checkpoint import read_official_checkpoint
from seqboat_lab.official.import_run import import_official
from seqboat_lab.training.experiment import make_module
from seqboat_lab.training.lightning_data import LightningData
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.run_directory import read_checkpoint
from tests.official.files import (
    LISTOPS_ARGS,
    LM_ARGS,
    classifier_weights,
    language_model_weights,
    write_checkpoint,
)
from tests.official.test_checkpoint import encode

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
    (values,) = trainer.validate(module, LightningData(datamodule), ckpt_path=path, verbose=False, weights_only=True)
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


def imported_model(run_dir):
    """The model of an imported run, in evaluation mode."""
    config = load_experiment(run_dir / "config.yaml", ["trainer.devices=1"])
    module = make_module(config, make_datamodule(config))
    module.load_state_dict(read_checkpoint(run_dir / "checkpoints" / "best.ckpt")["state_dict"])
    return module.model.eval()


@torch.no_grad()
def test_logits_around_a_newline_are_those_of_the_source_weights(tmp_path, capsys):
    """The authors' preparation of enwik8 writes bytes as numbers and a newline as a line break, which is </s>."""
    torch.manual_seed(0)
    known = [byte for byte in range(256) if byte != 10]
    (tmp_path / "dict.txt").write_text("".join(f"{byte} 1\n" for byte in reversed(known)))
    weights = language_model_weights(4 + len(known), LM_ARGS)
    checkpoint = write_checkpoint(tmp_path / "lm.pt", LM_ARGS, weights)
    assert main(["import-official", str(checkpoint), "--task", "enwik8", "--run-dir", str(tmp_path / "run")]) == 0
    assert "unlike the authors' code: the working memory counts activated tokens" in capsys.readouterr().out
    text = b"== Head ==\n\nTwo lines\nand more\n"
    row_of = {byte: 4 + place for place, byte in enumerate(reversed(known))} | {10: 2}
    rows = [row_of[byte] for byte in text]
    embedding = weights["decoder.embed_tokens.weight"]
    hidden = encode(embedding[rows][None] * 8**0.5, LM_ARGS, weights, "decoder.layers")
    expected = torch.nn.functional.layer_norm(hidden, (8,)) @ embedding.T  # in their order of rows
    ours = imported_model(tmp_path / "run")(torch.tensor([list(text)])).logits
    assert 10 in text
    torch.testing.assert_close(ours, expected[..., [row_of[byte] for byte in range(256)]], rtol=1e-4, atol=1e-5)


def test_in_a_dictionary_of_characters_a_space_is_an_underscore(tmp_path):
    (tmp_path / "dict.txt").write_text("".join(f"{letter} 1\n" for letter in "_abcdefghijklmnopqrstuvwxyz"))
    weights = language_model_weights(4 + 27, LM_ARGS)
    import_official(write_checkpoint(tmp_path / "lm.pt", LM_ARGS, weights), "text8", tmp_path / "run")
    ours = imported_model(tmp_path / "run").embedding.weight
    assert torch.equal(ours[ord(" ")], weights["decoder.embed_tokens.weight"][4])
    assert torch.equal(ours[ord("z")], weights["decoder.embed_tokens.weight"][30])


def test_a_token_that_the_dictionary_calls_otherwise_is_named_and_can_be_said(checkpoint, tmp_path, capsys):
    theirs = ["X" if symbol == "]" else symbol for symbol in THEIR_ORDER]
    (tmp_path / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in theirs))
    command = ["import-official", str(checkpoint), "--task", "listops", "--run-dir", str(tmp_path / "run")]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "dict.txt: has no ']', which the task reads; its names that the task has not are 'X' 'madeupword0000': "
        "say which one it is, as in --symbol ']=X'"
    )
    assert not (tmp_path / "run").exists()
    assert main([*command, "--symbol", "]=Y"]) == 2
    assert "--symbol: the dictionary has no token 'Y'; it has '<s>'" in capsys.readouterr().err
    assert main([*command, "--symbol", "}=X"]) == 2
    assert "--symbol: the task has no token '}'; it has '<pad>' '0'" in capsys.readouterr().err
    assert main([*command, "--symbol", "]"]) == 2
    assert "expected OURS=THEIRS" in capsys.readouterr().err
    assert main([*command, "--symbol", "]=X"]) == 0
    rows = read_official_checkpoint(checkpoint).state_dict["embedding.weight"]
    ours = imported_model(tmp_path / "run").embedding.weight
    assert torch.equal(ours[VOCABULARY.index("]")], rows[4 + theirs.index("X")])


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
