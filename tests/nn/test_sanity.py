"""Encoders that activate nothing."""

import pytest
import torch

from seqboat_lab.config import ConfigError, ModelConfig, load_experiment
from seqboat_lab.nn import Classifier


def make(kind: str, vocab_size: int | None, **options) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(kind=kind, d_model=8, d_hidden=8, d_attention=4, classifier_hidden=8)
    return Classifier(config, 3, vocab_size, **options).double().eval()


def test_a_bag_sees_neither_order_nor_padding_nor_the_rest_of_the_batch():
    model = make("bag", 20)
    ids = torch.randint(1, 20, (3, 10))
    padding = torch.zeros(3, 14, dtype=torch.bool)
    padding[:, 10:] = True
    out = model(ids).logits
    shuffled = torch.cat([ids[:, torch.randperm(10)], torch.zeros(3, 4, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model(shuffled, padding).logits, out)
    torch.testing.assert_close(model(ids[1:2]).logits, out[1:2])
    assert not torch.allclose(out[0], out[1])


def test_a_bag_compares_the_two_documents_of_a_pair():
    model = make("bag", 20, pair=True)
    a, b = torch.randint(1, 20, (2, 4, 10))
    out = model(torch.cat([a, b]))
    assert out.logits.shape == (4, 3)
    assert not torch.allclose(out.logits, model(torch.cat([b, a])).logits)


@pytest.mark.parametrize("vocab_size", [None, 256])
def test_convolutions_see_images_by_their_neighbourhoods(vocab_size):
    """Changing a far-off pixel leaves the features of the opposite corner as they were; a near one does not."""
    model = make("cnn", vocab_size)
    pixels = torch.rand(2, 256, dtype=torch.double) if vocab_size is None else torch.randint(1, 256, (2, 256))
    out = model(pixels)
    assert out.logits.shape == (2, 3)
    assert out.activations == []
    features, changes = model.encoder(model.embedding(pixels))[0], {}
    assert features.shape == (2, 4, 8)  # 16 x 16 pixels, halved three times
    for name, pixel in {"near": 0, "far": 255}.items():
        other = pixels.clone()
        other[:, pixel] = 1 if vocab_size is None else 255 - other[:, pixel]
        changes[name] = (model.encoder(model.embedding(other))[0] - features)[:, 0].abs().max()
    assert changes["near"] > 0
    assert changes["far"] == 0


def test_pixels_that_make_no_square_are_refused():
    with pytest.raises(ValueError, match="square images"):
        make("cnn", None)(torch.rand(1, 250, dtype=torch.double))


@pytest.mark.parametrize(
    ("experiment", "kind", "right"),
    [
        ("lra/listops_short", "cnn", "image, pathfinder"),
        ("lra/pathfinder_short", "bag", "listops, text, retrieval"),
        ("text_tiny", "bag", "listops, text, retrieval"),
        ("speech_commands_tiny", "cnn", "image, pathfinder"),
    ],
)
def test_a_kind_for_another_task_is_refused_at_config_time(experiment, kind, right):
    with pytest.raises(ConfigError, match=f"model.kind: '{kind}' is not possible here.* is for {right}$"):
        load_experiment(experiment, [f"model.kind={kind}"])
