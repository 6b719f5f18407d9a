"""Modes of a frozen kernel, kept between streamed tokens: the same numbers, and never those of other weights."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call

from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn.ssm import SSM

each_kernel = pytest.mark.parametrize("kernel", SSM_CONFIGS)


@pytest.fixture
def frozen(make_kernel):
    return lambda kernel: make_kernel(kernel).requires_grad_(False)


def step(ssm: SSM) -> torch.Tensor:
    """What one token gives, from the empty state."""
    return ssm.step(torch.ones(2, 3, dtype=ssm.omega.dtype), ssm.init_state(2))[0]


def computations(ssm: SSM, monkeypatch) -> list:
    name = "modes" if hasattr(ssm, "modes") else "system"
    made, compute = [], getattr(ssm, name)
    monkeypatch.setattr(ssm, name, lambda: made.append(1) or compute())
    return made


@torch.no_grad()
@each_kernel
def test_a_second_token_computes_nothing_anew_and_gives_the_same(kernel, make_kernel, frozen, monkeypatch):
    ssm = frozen(kernel)
    state, made = ssm.init_state(2), computations(ssm, monkeypatch)
    outputs = [ssm.step(torch.ones(2, 3), state)[0] for _ in range(5)]
    assert len(made) == 1
    fresh = make_kernel(kernel)  # which keeps nothing
    assert all(torch.equal(y, step(fresh)) for y in outputs)


CHANGES = {
    "written to": lambda ssm: [p.mul_(0.9) for p in ssm.parameters()],
    "one entry": lambda ssm: next(iter(ssm.parameters())).view(-1)[:1].fill_(0.3),
    "loaded": lambda ssm: ssm.load_state_dict({k: 0.9 * v for k, v in ssm.state_dict().items()}),
    "an optimiser": lambda ssm: fine_tune(ssm),
    "an optimiser, and frozen again": lambda ssm: fine_tune(ssm).requires_grad_(False),
    "put in its place": lambda ssm: [setattr(p, "data", 0.9 * p) for p in ssm.parameters()],
    "other parameters": lambda ssm: [
        setattr(ssm, n, nn.Parameter(0.9 * p, False)) for n, p in [*ssm.named_parameters()]
    ],
    "to float64": lambda ssm: ssm.double(),
}


def fine_tune(ssm: SSM) -> SSM:
    """By a fused optimiser, which counts no writes."""
    optimizer = torch.optim.AdamW(ssm.requires_grad_().parameters(), lr=0.1, fused=True)
    with torch.enable_grad():
        ssm(torch.ones(2, 4, 3))[0].sum().backward()
    optimizer.step()
    return ssm


@pytest.mark.parametrize("change", CHANGES)
@each_kernel
def test_changed_weights_are_seen(kernel, frozen, change):
    ssm = frozen(kernel)
    with torch.no_grad():
        before = step(ssm)
        CHANGES[change](ssm)
        after = step(ssm)
    expected = step(copy.deepcopy(ssm))
    assert torch.equal(after, expected.detach())
    assert change == "to float64" or not torch.equal(after, before)


@torch.no_grad()
@each_kernel
def test_parameters_of_another_call_are_not_mixed_up(kernel, make_kernel, frozen):
    """Some of these stand at the address of earlier ones that are gone."""
    ssm = frozen(kernel)
    token, state = torch.ones(2, 3), ssm.init_state(2)
    forward, ssm.forward = ssm.forward, ssm.step  # functional_call calls forward
    for scale in torch.linspace(0.5, 1.5, 20):
        parameters = {name: scale * p for name, p in ssm.named_parameters()}
        y, _ = functional_call(ssm, parameters, (token, state))
        other = make_kernel(kernel)
        other.load_state_dict(parameters)
        assert torch.equal(y, step(other))
    ssm.forward = forward


@each_kernel
def test_gradients_go_to_every_parameter_once_they_are_asked_for_again(kernel, frozen):
    ssm = frozen(kernel)
    with torch.no_grad():
        step(ssm)
    ssm.requires_grad_()
    with torch.no_grad():
        step(ssm)
    step(ssm).sum().backward()
    assert all(p.grad is not None for p in ssm.parameters())


@each_kernel
def test_copies_and_pickles_hold_nothing_that_was_kept(kernel, frozen):
    ssm = frozen(kernel)
    size = len(pickle.dumps(ssm))
    with torch.no_grad():
        y = step(ssm)
        assert len(pickle.dumps(ssm)) == size
        for other in (copy.deepcopy(ssm), pickle.loads(pickle.dumps(ssm))):
            assert torch.equal(step(other), y)
            other.omega.add_(1)
            assert not torch.equal(step(other), y)
        assert torch.equal(step(ssm), y)


@each_kernel
def test_tensors_of_inference_mode_are_computed_with_each_time(kernel, frozen, monkeypatch):
    with torch.inference_mode():
        ssm = frozen(kernel)
        state, made = ssm.init_state(2), computations(ssm, monkeypatch)
        one, two = (ssm.step(torch.ones(2, 3), state)[0] for _ in range(2))
    assert len(made) == 2
    assert torch.equal(one, two)
