"""IMDb's directories byte for byte, its splits, and its errors."""

import numpy as np
import pytest

from seqboat_lab.config.data import TextConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.tasks.text import TextDataModule


def review(split: str, name: str, number: int) -> bytes:
    return f"{split} {name} {number} ".encode() + bytes([0, 255, 10, 13, 34, number]) + "é<br />".encode()


def write_imdb(root, count=20):
    for split in ("train", "test"):
        for name in ("pos", "neg"):
            folder = root / "aclImdb" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}_{number % 10}.txt").write_bytes(review(split, name, number))
    (root / "aclImdb" / "train" / "unsup").mkdir()
    (root / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("not labelled")


def opened(root, **fields) -> TextDataModule:
    module = TextDataModule(TextConfig(root=str(root), **fields), seed=0, batch_size=4)
    module.prepare_data()
    module.setup()
    return module


def texts(module, split) -> dict[bytes, int]:
    """Every review of a split as the bytes its ids stand for, and its label."""
    found = {}
    for i in range(len(module.stores[split])):
        batch = module.dataset(split)[[i]]
        found[bytes((batch.inputs[0] - 1).tolist())] = batch.labels.item()
    return found


def test_every_review_arrives_byte_for_byte_with_its_label(tmp_path):
    write_imdb(tmp_path)
    module = opened(tmp_path)
    expected = {
        split: {review(split, n, i): int(n == "pos") for n in ("pos", "neg") for i in range(20)}
        for split in ("train", "test")
    }
    assert texts(module, "test") == expected["test"]
    train, val = texts(module, "train"), texts(module, "val")
    assert train | val == expected["train"]
    assert not train.keys() & val.keys()
    assert (len(train), len(val)) == (36, 4)
    assert sorted(val.values()) == [0, 0, 1, 1]


def test_the_carved_split_follows_its_seed_alone(tmp_path):
    write_imdb(tmp_path)
    assert texts(opened(tmp_path), "val") == texts(opened(tmp_path, batch_size=8), "val")
    assert texts(opened(tmp_path), "val") != texts(opened(tmp_path, split_seed=1), "val")


def test_validation_on_test_copies_lra_and_warns(tmp_path):
    write_imdb(tmp_path)
    with pytest.warns(UserWarning, match="the test split is also the validation split"):
        module = opened(tmp_path, validation="test")
    assert texts(module, "val") == texts(module, "test")
    assert len(texts(module, "train")) == 40


def test_ids_are_bytes_plus_one_and_long_reviews_are_cut(tmp_path):
    write_imdb(tmp_path)
    module = opened(tmp_path, max_length=9)
    batch = module.dataset("test")[[0, 1]]
    assert batch.inputs.shape == (2, 9)
    assert batch.inputs[0].tolist() == [byte + 1 for byte in b"test neg "]
    assert batch.padding_mask is None
    assert module.spec.vocab_size == 257
    assert "".join(module.decode(batch.inputs[0].tolist())) == "test neg "
    assert module.decode([1, 256, 128, 127]) == ["·", "·", "·", "~"]


def test_padding_is_id_0_and_the_byte_0_is_id_1(tmp_path):
    write_imdb(tmp_path)
    (tmp_path / "aclImdb/test/neg/0_0.txt").write_bytes(b"\0ab")
    module = opened(tmp_path)
    samples = [i for i in range(40) if module.stores["test"].lengths()[i] == 3] + [1]
    batch = module.dataset("test")[samples]
    assert batch.inputs[0, :5].tolist() == [1, 98, 99, 0, 0]
    np.testing.assert_array_equal(batch.padding_mask.numpy(), batch.inputs.numpy() == 0)


def test_a_missing_directory_names_path_command_and_stand_in(tmp_path):
    with pytest.raises(DataError) as raised:
        opened(tmp_path)
    for part in ("aclImdb/train/neg", "seqboat data prepare text", "data.source=synthetic"):
        assert part in str(raised.value)


def test_an_empty_folder_and_an_empty_review_are_named(tmp_path):
    write_imdb(tmp_path)
    (tmp_path / "aclImdb/test/pos/7_7.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"test/pos/7_7\.txt: the review is empty"):
        opened(tmp_path)
    for file in (tmp_path / "aclImdb/test/pos").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"test/pos: expected reviews"):
        opened(tmp_path)
