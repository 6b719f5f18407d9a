"""The official ListOps files, the DataModule, and its errors."""

import multiprocessing
from itertools import islice

import numpy as np
import pytest
import torch

from seqboat_lab.config import ListOpsConfig, load_experiment
from seqboat_lab.data import TASKS, DataError
from seqboat_lab.data.tasks.listops import VOCABULARY, ListOpsDataModule, read_tsv

OFFICIAL = (
    "Source\tTarget\n"
    "( ( ( ( [MAX 2 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) ] )\t9\n"
    "( ( ( [SM 8 ) 5 ) ] )\t3\n"
)  # fmt: skip


def write_official(root, text=OFFICIAL, place="lra_release/listops-1000"):
    directory = root / place
    directory.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (directory / f"basic_{split}.tsv").write_text(text)
    return directory


def official(root, **changes) -> ListOpsDataModule:
    return ListOpsDataModule(ListOpsConfig(root=str(root), **changes), seed=0, batch_size=2)


def generated(root, workers=0, seed=0, batch_size=16) -> ListOpsDataModule:
    config = ListOpsConfig(
        root=str(root), source="generated", num_workers=workers, min_length=5, max_length=40, train_size=400,
        val_size=70, test_size=50,
    )  # fmt: skip
    return ListOpsDataModule(config, seed=seed, batch_size=batch_size)


@pytest.fixture(scope="module")
def generated_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated")
    generated(root).prepare_data()
    return root


@pytest.mark.parametrize("place", ["lra_release/listops-1000", "lra_release/lra_release/listops-1000"])
def test_an_official_file_is_read_byte_for_byte(tmp_path, place):
    write_official(tmp_path, place=place)
    module = official(tmp_path)
    module.prepare_data()
    module.setup()
    batch = module.dataset("train")[[0, 1]]
    # pad 0, digits 1 to 10, [MIN 11, [MAX 12, [MED 13, [SM 14, ] 15
    assert batch.inputs.tolist() == [[12, 3, 10, 11, 5, 8, 15, 15], [14, 9, 6, 15, 0, 0, 0, 0]]
    assert batch.padding_mask.tolist() == [[False] * 8, [False] * 4 + [True] * 4]
    assert batch.labels.tolist() == [9, 3]
    assert (batch.inputs.dtype, batch.labels.dtype) == (torch.int64, torch.int64)
    assert module.dataset("train")[[1]].padding_mask is None
    assert " ".join(module.decode(batch.inputs[0].tolist())) == "[MAX 2 9 [MIN 4 7 ] ]"


def test_windows_line_ends_are_read_alike(tmp_path):
    path = tmp_path / "f.tsv"
    path.write_bytes(OFFICIAL.replace("\n", "\r\n").encode())
    assert [(ids.tolist(), label) for ids, label in read_tsv(path)][1] == ([14, 9, 6, 15], 3)


def test_long_sequences_are_cut(tmp_path):
    write_official(tmp_path)
    module = official(tmp_path, min_length=1, max_length=5)
    module.prepare_data()
    module.setup()
    assert module.dataset("test")[[0, 1]].inputs.tolist() == [[12, 3, 10, 11, 5], [14, 9, 6, 15, 0]]


def test_the_spec_says_what_the_model_needs(tmp_path):
    spec = official(tmp_path).spec
    assert (spec.vocab_size, spec.num_classes, spec.head, spec.max_length) == (16, 10, "classifier", 2000)
    assert len(VOCABULARY) == 16


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("( [MAX 1 )", "expected 2 columns"),
        ("", "expected 2 columns"),
        ("( [MAX 1 )\t1\t1", "found 3"),
        ("( ( [MAX 1 ) 12 ) ] )\t1", "unknown token '12'"),
        ("( ( [SUM 1 ) 2 ) ] )\t1", r"unknown token '\[SUM'"),
        ("[MAX 1 2 ]\t10", "label '10'; expected a digit 0 to 9"),
        ("[MAX 1 2 ]\t-1", "label '-1'"),
        ("[MAX 1 2 ]\tx", "label 'x'"),
        ("[MAX 1 2 ]\t]", "label ']'"),
        ("( )\t1", "expression is empty"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number_and_leaves_no_store(tmp_path, line, message):
    directory = write_official(tmp_path)
    file = directory / "basic_val.tsv"
    file.write_text(f"{OFFICIAL}{line}\n")
    with pytest.raises(DataError, match=message) as raised:
        official(tmp_path).prepare_data()
    assert f"{file}, line 4: " in str(raised.value)
    assert "\n" not in str(raised.value)
    left = [path.name for path in (tmp_path / "prepared/listops/official").iterdir()]
    assert sorted(left) == [".train.lock", ".val.lock", "train"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header and at least one line, found 0 lines"),
        ("Source\tTarget\n", "found 1 lines"),
        ("[MAX 1 2 ]\t2\n", "line 1: expected the header 'Source<TAB>Target'"),
    ],
)
def test_an_empty_file_and_a_missing_header_are_named(tmp_path, text, message):
    path = tmp_path / "basic_train.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        list(read_tsv(path))
    assert str(path) in str(raised.value)


def test_a_missing_file_names_its_path_the_command_and_the_generator(tmp_path):
    with pytest.raises(DataError) as raised:
        official(tmp_path).prepare_data()
    for part in (
        "lra_release/listops-1000/basic_train.tsv",
        "seqboat data prepare listops",
        "source=generated",
    ):
        assert part in str(raised.value)


def test_a_changed_file_is_prepared_again(tmp_path):
    directory = write_official(tmp_path)
    official(tmp_path).prepare_data()
    (directory / "basic_train.tsv").write_text("Source\tTarget\n( ( ( [SM 1 ) 1 ) ] )\t2\n")
    module = official(tmp_path)
    module.prepare_data()
    module.setup()
    assert module.dataset("train")[[0]].labels.tolist() == [2]
    assert len(module.stores["val"]) == 2


def test_generated_files_are_what_the_official_reader_reads(generated_root):
    module = generated(generated_root)
    module.setup()
    lines = (module.directory() / "basic_val.tsv").read_text().splitlines()[1:]
    assert len(lines) == len(module.stores["val"]) == 70
    for number, line in enumerate(lines):
        source, target = line.split("\t")
        batch = module.dataset("val")[[number]]
        assert module.decode(batch.inputs[0].tolist()) == source.replace("(", "").replace(")", "").split()
        assert batch.labels.item() == int(target)
        assert 5 < batch.inputs.shape[1] < 40


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_for_any_number_of_workers(generated_root, workers):
    """40 batches of 25 an epoch: the stream crosses into the second epoch."""
    streams = []
    for count in (0, workers):
        module = generated(generated_root, workers=count)
        module.setup()
        streams.append(list(islice(module.train_dataloader(), 40)))
    for one, other in zip(*streams, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)


def test_training_resumes_exactly_at_start_batch(generated_root):
    module = generated(generated_root)
    module.setup()
    whole = list(islice(module.train_dataloader(), 33))
    module.start_batch = 27
    for expected, got in zip(whole[27:], islice(module.train_dataloader(), 6), strict=True):
        assert torch.equal(expected.inputs, got.inputs)


def test_validation_and_test_give_every_sample_once(generated_root):
    module = generated(generated_root)
    module.setup()
    for split, loader in (("val", module.val_dataloader()), ("test", module.test_dataloader())):
        labels = torch.cat([batch.labels for batch in loader])
        assert len(labels) == len(module.stores[split])
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(module.stores[split].labels))


def prepare_at(root, barrier):
    barrier.wait()
    generated(root).prepare_data()


def test_two_processes_preparing_at_once_do_not_disturb_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    both = [context.Process(target=prepare_at, args=(tmp_path, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    module = generated(tmp_path)
    module.setup()
    assert [len(module.stores[split]) for split in ("train", "val", "test")] == [400, 70, 50]
    assert not list(tmp_path.rglob("*.partial"))


def test_the_short_config_names_a_task_that_exists():
    config = load_experiment("lra/listops_short")
    assert TASKS[config.task](config.data, seed=config.seed, batch_size=8).spec.num_classes == 10
