"""CIFAR-10: official pickles through a restricted unpickler, grayscale, splits, errors."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from seqboat_lab.config.data import ImageConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.tasks.image import ImageDataModule, luma, read_batch

NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def batch_of(seed: int, n: int = 20) -> dict:
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"a batch",
        b"labels": rng.integers(0, 10, n).tolist(),
        b"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
        b"filenames": [b"x.png"] * n,
    }


def pickled(batch: dict, form: str) -> bytes:
    """As the official files are (protocol 2, NumPy 1's module names), or as a NumPy of today writes it."""
    if form == "official":
        return pickle.dumps(batch, protocol=2).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return pickle.dumps(batch, protocol=4)


def write_cifar(root, form="official", n=20):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = [batch_of(seed, n) for seed in range(6)]
    for name, batch in zip(NAMES, batches, strict=True):
        (folder / name).write_bytes(pickled(batch, form))
    return batches


def gray(row: np.ndarray) -> np.ndarray:
    """Pillow's own conversion as the oracle."""
    return np.asarray(Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).convert("L")).ravel()


def opened(root, **fields) -> ImageDataModule:
    module = ImageDataModule(ImageConfig(root=str(root), **fields), seed=0, batch_size=4)
    module.prepare_data()
    module.setup()
    return module


@pytest.mark.parametrize("form", ["official", "new"])
def test_every_image_arrives_pixel_for_pixel(tmp_path, form):
    batches = write_cifar(tmp_path, form)
    module = opened(tmp_path)
    data = np.concatenate([b[b"data"] for b in batches[:5]])
    labels = np.concatenate([b[b"labels"] for b in batches[:5]])
    expected = sorted((bytes(gray(row)), int(label)) for row, label in zip(data, labels, strict=True))
    found = []
    for split in ("train", "val"):
        rows, _ = module.stores[split].gather(np.arange(len(module.stores[split])), 1024)
        found += [(bytes(row), int(label)) for row, label in zip(rows, module.stores[split].labels, strict=True)]
    assert sorted(found) == expected
    assert [len(module.stores[s]) for s in ("train", "val", "test")] == [90, 10, 20]
    rows, _ = module.stores["test"].gather(np.arange(20), 1024)
    np.testing.assert_array_equal(rows, [gray(row) for row in batches[5][b"data"]])


def test_the_split_is_torchs_random_split_with_seed_42(tmp_path):
    batches = write_cifar(tmp_path)
    labels = [label for batch in batches[:5] for label in batch[b"labels"]]
    parts = torch.utils.data.random_split(labels, [90, 10], generator=torch.Generator().manual_seed(42))
    module = opened(tmp_path)
    assert module.stores["train"].labels.tolist() == list(parts[0])
    assert module.stores["val"].labels.tolist() == list(parts[1])


def test_luma_is_itu_r_601_as_pillow_computes_it():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 3072), dtype=np.uint8)
    np.testing.assert_array_equal(luma(rgb.reshape(-1, 3, 1024)), [gray(row) for row in rgb])


def test_pixels_are_normalised_or_bytes(tmp_path):
    batches = write_cifar(tmp_path)
    expected = gray(batches[5][b"data"][3])
    real = opened(tmp_path)
    batch = real.dataset("test")[[3]]
    assert batch.inputs.dtype == torch.float32
    np.testing.assert_allclose(batch.inputs[0].numpy(), (expected / 255 - 0.48) / 0.24, rtol=1e-5, atol=1e-6)
    assert batch.padding_mask is None
    assert (real.spec.vocab_size, real.spec.max_length) == (None, 1024)
    ids = opened(tmp_path, pixels="bytes")
    assert ids.dataset("test")[[3]].inputs[0].tolist() == (expected.astype(int) + 1).tolist()
    assert ids.spec.vocab_size == 257


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps(batch_of(0) | {b"x": Evil()}))
    with pytest.raises(DataError, match=r"it asks for (posix|nt)\.system, which no image file needs"):
        read_batch(file)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"labels": [0] * 19 + [10]}, "image 19: label 10; expected 0 to 9"),
        ({b"labels": [0] * 19 + [-1]}, "image 19: label -1"),
        ({b"labels": [0] * 19}, "expected 20 labels, one an image, found 19"),
        (
            {b"data": np.zeros((20, 3000), np.uint8)},
            r"expected images as uint8 \(n, 3072\) .* found uint8 \(20, 3000\)",
        ),
        ({b"data": np.zeros((20, 3072), np.float32)}, "found float32"),
        ({b"data": [1, 2]}, "found list"),
    ],
)
def test_wrong_contents_are_named(tmp_path, change, message):
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps(batch_of(0) | change))
    with pytest.raises(DataError, match=message) as raised:
        read_batch(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("damage", [lambda d: d[:-500], lambda d: b"", lambda d: b"text" * 30, lambda d: d[100:]])
def test_a_damaged_pickle_is_one_line(tmp_path, damage):
    file = tmp_path / "data_batch_1"
    file.write_bytes(damage(pickle.dumps(batch_of(0))))
    with pytest.raises(DataError, match="not a CIFAR-10 batch") as raised:
        read_batch(file)
    assert "\n" not in str(raised.value)


def test_a_pickle_without_images_is_named(tmp_path):
    (tmp_path / "b").write_bytes(pickle.dumps({b"labels": []}))
    with pytest.raises(DataError, match="expected a dictionary with 'data' and 'labels'"):
        read_batch(tmp_path / "b")


def test_a_missing_file_names_path_command_and_stand_in(tmp_path):
    with pytest.raises(DataError) as raised:
        opened(tmp_path)
    for part in ("cifar-10-batches-py/data_batch_1", "seqboat data prepare image", "data.source=synthetic"):
        assert part in str(raised.value)
