"""The recurrences by flash-linear-attention's kernels: refused in one line where they cannot run, equal where they do."""

import sys
from types import ModuleType

import pytest
import torch

from seqboat_lab.cli import main
from seqboat_lab.config.checks import UserError
from seqboat_lab.nn.mixers import fast, linear_attention, make_layer
from tests.nn.mixers.conftest import make_config
from tests.nn.mixers.test_linear_attention import tensors

KINDS = ("retnet", "rwkv", "mamba", "gla")


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_that_cannot_run_is_refused(kind, monkeypatch):
    config = make_config(kind, settings={"backend": "fla"}).layer(0)
    monkeypatch.setattr(fast, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"^model.mixers.{kind}.backend: 'fla' needs the package .*set it to torch$"):
        make_layer(config, 0)
    monkeypatch.setattr(fast, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError, match=rf"^model.mixers.{kind}.backend: 'fla' needs a CUDA device, .*set it to torch$"
    ):
        make_layer(config, 0)


def test_fit_says_so_in_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fast, "find_spec", lambda name: None)
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be, that is the question. " * 60)
    where = ["--run-dir", str(tmp_path / "run"), f"data.path={text}", f"data.root={tmp_path / 'data'}"]
    small = ["data.tokens_per_sample=32", "data.val_fraction=0.1", "data.test_fraction=0.1", "trainer.accelerator=cpu"]
    assert main(["fit", "text_tiny", *where, *small, "model.kind=gla", "model.mixers.gla.backend=fla"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("seqboat: model.mixers.gla.backend: 'fla' needs the package flash-linear-attention")
    assert not (tmp_path / "run").exists()


def as_documented(q, k, v, decay, u=None, *, scale, initial_state, output_final_state):
    """q, k (B, L, H, K), v (B, L, H, V), log decay (B, L, H, K) or (B, L, H)"""
    assert output_final_state
    assert all(t.is_contiguous() for t in (q, k, v, decay))
    state = (
        torch.zeros(*k.shape[:1], *k.shape[2:], v.shape[-1], dtype=v.dtype) if initial_state is None else initial_state
    )
    out = []
    for t in range(v.shape[1]):
        new = torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        a = decay[:, t].exp()
        following = (a[..., None, None] if a.dim() == 2 else a[..., None]) * state + new
        seen = following if u is None else state + u[None, ..., None] * new
        out.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], seen))
        state = following
    return torch.stack(out, 1), state


@pytest.fixture
def documented(monkeypatch):
    """Stand-ins for the kernels, with their signatures, and the way to them."""
    for module, name in (("simple_gla", "chunk_simple_gla"), ("rwkv6", "chunk_rwkv6"), ("gla", "chunk_gla")):
        stand_in = ModuleType(f"fla.ops.{module}")
        setattr(stand_in, name, as_documented)
        for parent in ("fla", "fla.ops"):
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        monkeypatch.setitem(sys.modules, f"fla.ops.{module}", stand_in)
    monkeypatch.setattr(fast, "runs_elsewhere", lambda x: False)


def cases(q, k, v, log_decay, state):
    """As the mixers call them."""
    one = log_decay[..., 0]
    return [
        ("channel_decay", (q, k, v, log_decay, state)),
        ("channel_decay", (q, k, v, log_decay, None)),
        ("channel_decay", (q, k, v, log_decay, state, True)),
        ("head_decay", (q, k, v, one[:1], state)),
        ("head_decay", (q[:, :1], k[:, :1], v, one, None)),
    ]


@pytest.mark.usefixtures("documented")
def test_the_kernels_are_asked_for_the_same_in_their_layout():
    for name, arguments in cases(*tensors(40)):
        for ours, theirs in zip(
            getattr(linear_attention, name)(*arguments), getattr(fast, name)(*arguments), strict=True
        ):
            torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-10)


@pytest.mark.gpu
def test_the_kernels_are_equal_on_a_gpu():
    """To what TF32 leaves, outputs and gradients."""
    pytest.importorskip("fla")

    def run(function, arguments):
        leaves = [t.cuda().float().requires_grad_() if isinstance(t, torch.Tensor) else t for t in arguments]
        out = function(*leaves)
        sum(t.square().sum() for t in out).backward()
        return [*out, *(t.grad for t in leaves if isinstance(t, torch.Tensor))]

    q, k, v, log_decay, state = tensors(200)
    q, k, log_decay = (t.repeat(1, 1, 1, 4) for t in (q, k, log_decay))
    v, state = v[..., :4].repeat(1, 1, 1, 4), state[..., :4].repeat(1, 1, 4, 4)
    for name, arguments in cases(q, k, v, log_decay, state):
        expected = run(getattr(linear_attention, name), arguments)
        for ours, theirs in zip(expected, run(getattr(fast, name), arguments), strict=True):
            assert (theirs - ours).norm() < 5e-3 * ours.norm()
