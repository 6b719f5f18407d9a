"""Layers whose weights are far from zero, so that decisions are mixed and every term shows in the output."""

import pytest
import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.nn import SeqBoatLayer
from seqboat_lab.nn.configurator import Decision
from seqboat_lab.nn.dropout import Dropout


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Tensors this small are faster in one, above all where many processes share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def torch_alone(monkeypatch):
    """Nothing in C, and torch's own dropout: the operations of a GPU."""
    monkeypatch.setenv("SEQBOAT_NATIVE", "0")
    monkeypatch.setattr(Dropout, "forward", torch.nn.Dropout.forward)


@pytest.fixture(scope="session")
def make_layer():
    def make(seed: int = 0, **fields) -> SeqBoatLayer:
        defaults = {
            "layers": 1, "d_model": 12, "d_hidden": 16, "d_attention": 8,
            "memory_size": 5, "max_positions": 32, "dropout": 0.0,
        }  # fmt: skip
        torch.manual_seed(seed)
        layer = SeqBoatLayer(ModelConfig(**(defaults | fields))).double().eval()
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                if name.startswith("attention") or name.startswith("hx_proj"):
                    parameter.normal_(std=0.4)
            layer.hx_proj.bias[:2] = 0
        return layer

    return make


@pytest.fixture(scope="session")
def force_decisions():
    """Lets a test say which tokens a layer activates."""

    class Forced(torch.nn.Module):
        logits = 2

        def __init__(self, active: torch.Tensor):
            super().__init__()
            self.active = active

        def forward(self, u: torch.Tensor, *position) -> Decision:
            return Decision(self.active, torch.full(u.shape[:-1], 0.7, dtype=u.dtype))

    def force(layer: SeqBoatLayer, active: torch.Tensor) -> None:
        layer.configurator = Forced(active)

    return force
