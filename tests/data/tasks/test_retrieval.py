"""AAN pairs: an official TSV byte for byte, and its errors."""

import pytest

from seqboat_lab.config.data import RetrievalConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.tasks.retrieval import RetrievalDataModule, read_pairs

LINES = [
    (b"1.0", b'He said "no\r quotes" and \x85\xff\x00 more', b"short"),
    (b"0", b'"', b"'unbalanced \xc3"),
    (b"0.0", b"one", b"two words, with comma"),
    (b"1", b"b'literal'", b"\\t not a tab"),
]


def write_aan(root, lines=LINES, place="lra_release/lra_release/tsv_data"):
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    data = b"".join(b"\t".join((label, b"P08-1", b"P09-2", one, two)) + b"\n" for label, one, two in lines)
    for name in ("train", "eval", "test"):
        (folder / f"new_aan_pairs.{name}.tsv").write_bytes(data)
    return folder


def opened(root, **fields) -> RetrievalDataModule:
    module = RetrievalDataModule(RetrievalConfig(root=str(root), **fields), seed=0, batch_size=2)
    module.prepare_data()
    module.setup()
    return module


@pytest.mark.parametrize("place", ["lra_release/lra_release/tsv_data", "lra_release/tsv_data"])
def test_every_pair_arrives_byte_for_byte(tmp_path, place):
    write_aan(tmp_path, place=place)
    module = opened(tmp_path)
    for split in ("train", "val", "test"):
        assert len(module.stores[split]) == 4
        for i, (label, one, two) in enumerate(LINES):
            batch = module.dataset(split)[[i]]
            documents = [bytes(row[row > 0].sub(1).tolist()) for row in batch.inputs]
            assert documents == [one, two]
            assert batch.labels.tolist() == [int(float(label))]


def test_a_batch_holds_all_first_documents_before_all_second_ones(tmp_path):
    write_aan(tmp_path)
    batch = opened(tmp_path).dataset("train")[[2, 1]]
    assert batch.inputs.shape == (4, len(LINES[2][2]))
    firsts = [bytes(row[row > 0].sub(1).tolist()) for row in batch.inputs]
    assert firsts == [LINES[2][1], LINES[1][1], LINES[2][2], LINES[1][2]]
    assert (batch.padding_mask == (batch.inputs == 0)).all()
    assert batch.labels.tolist() == [0, 0]


def test_each_document_is_cut(tmp_path):
    write_aan(tmp_path)
    module = opened(tmp_path, max_length=4)
    assert module.dataset("train")[[0]].inputs.shape == (2, 4)
    assert module.spec.head == "pair"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1\ta\tb\ttext", "expected 5 tab-separated columns .* found 4"),
        (b"1\ta\tb\ttext\tmore\ttabs", "found 6"),
        (b"", "found 1"),
        (b"2\ta\tb\tone\ttwo", "label '2'; expected 0 or 1"),
        (b"label\tid1\tid2\ttext1\ttext2", "label 'label'"),
        (b"\xff\ta\tb\tone\ttwo", "label '\N{REPLACEMENT CHARACTER}'"),
        (b"1\ta\tb\t\ttwo", "text1 is empty"),
        (b"1\ta\tb\tone\t", "text2 is empty"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, message):
    file = write_aan(tmp_path) / "new_aan_pairs.eval.tsv"
    file.write_bytes(file.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=message) as raised:
        opened(tmp_path)
    assert f"{file}, line 5: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "e.tsv").write_bytes(b"")
    with pytest.raises(DataError, match=r"e\.tsv: the file is empty"):
        list(read_pairs(tmp_path / "e.tsv"))


def test_a_missing_file_names_path_command_and_stand_in(tmp_path):
    with pytest.raises(DataError) as raised:
        opened(tmp_path)
    for part in ("new_aan_pairs.train.tsv", "seqboat data prepare retrieval", "--from", "data.source=synthetic"):
        assert part in str(raised.value)
