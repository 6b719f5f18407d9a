"""Attention spans and the fill of the working memory, against the authors' average written as a dense table."""

import numpy as np
import pytest
import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.nn.models import Activation
from seqboat_lab.nn.packing import attention_span
from seqboat_lab.training.metrics import ActivationMetrics


def dense_span(active: np.ndarray, w: int, bidirectional: bool) -> tuple[list[float], list[int]]:
    """Of each active token, row by row: mean distance to the other keys within w ranks (0 without any), their number."""
    spans, counts = [], []
    for row in active:
        place = np.flatnonzero(row)
        rank = np.arange(len(place))
        distance = np.abs(place[:, None] - place)  # (query, key)
        near = np.abs(rank[:, None] - rank) <= w
        others = near & ((rank != rank[:, None]) if bidirectional else (rank < rank[:, None]))
        counts += others.sum(1).tolist()
        spans += [distance[q][keys].mean() if keys.any() else 0.0 for q, keys in enumerate(others)]
    return spans, counts


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("w", [1, 3, 50])
def test_span_and_fill_equal_the_dense_table(w, bidirectional):
    rng = np.random.default_rng(w)
    active = rng.random((5, 40)) < np.array([[0.0], [0.02], [0.2], [0.6], [1.0]])
    active[1] = False
    active[1, 17] = True  # a row with a single active token: no other key
    span, fill = attention_span(torch.from_numpy(active), w, bidirectional)
    expected, others = dense_span(active, w, bidirectional)
    np.testing.assert_allclose(span, expected, rtol=1e-6)
    np.testing.assert_allclose(fill, np.array(others) / (2 * w if bidirectional else w), rtol=1e-6)


def test_the_mean_span_leaves_out_queries_without_a_key():
    """The authors divide the sum of the spans by the number of those that are not 0."""
    active = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0]]).bool()
    metrics = ActivationMetrics(ModelConfig(layers=1, memory_size=8, bidirectional=False))
    metrics.update([Activation(active, active.float())])
    values = metrics.compute()
    assert values["span/layer_0"].item() == pytest.approx((3 + (5 + 2) / 2) / 2)
    assert values["memory_fill/layer_0"].item() == pytest.approx((0 + 1 + 2 + 0) / 8 / 4)
    nobody = ActivationMetrics(ModelConfig(layers=1, memory_size=8, bidirectional=False))
    nobody.update([Activation(active[1:], active[1:].float())])
    assert nobody.compute()["span/layer_0"] == nobody.compute()["span_p95/layer_0"] == 0
