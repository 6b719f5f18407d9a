"""What every kernel keeps: parallel equals recurrent, segments equal the whole, padding and batch change nothing."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn.ssm import SSM, make_ssm

LENGTHS = (1, 2, 17, 64, 127, 128, 129, 200, 333)  # odd and even, below and beyond chunks of 16, 64 and 128

each_kernel = pytest.mark.parametrize("kernel", SSM_CONFIGS)


def recurrent(ssm: SSM, x: Tensor) -> Tensor:
    """Token by token from the empty state."""
    state, outputs = ssm.init_state(len(x)), []
    for token in x.unbind(1):
        y, state = ssm.step(token, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def directed(ssm: SSM, kernel: str, config, direction: int) -> SSM:
    """A causal kernel with the parameters of one direction of a bidirectional one."""
    one = make_ssm(config, len(ssm.omega), bidirectional=False)
    one.load_state_dict({k: v if k == "omega" else v.chunk(2)[direction] for k, v in ssm.state_dict().items()})
    return one


def test_every_kernel_of_the_config_is_there():
    for name, settings in SSM_CONFIGS.items():
        assert settings().kernel == name
        assert issubclass(SSM_CONFIGS.implementation(name), SSM)


@torch.no_grad()
@pytest.mark.parametrize("length", LENGTHS)
@each_kernel
def test_causal_forward_equals_the_recurrent_step(kernel, length, make_kernel):
    ssm, x = make_kernel(kernel), torch.randn(2, length, 3)
    torch.testing.assert_close(ssm(x)[0], recurrent(ssm, x), atol=1e-4, rtol=0)


@torch.no_grad()
@each_kernel
def test_full_sized_kernels_at_their_start_equal_the_recurrent_step_over_thousands_of_tokens(kernel):
    torch.manual_seed(0)
    ssm, x = make_ssm(SSM_CONFIGS[kernel](), 8, bidirectional=False), torch.randn(1, 3001, 8)
    torch.testing.assert_close(ssm(x)[0], recurrent(ssm, x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("length", LENGTHS)
@each_kernel
def test_bidirectional_forward_is_one_kernel_each_way(kernel, length, make_kernel):
    config = SSM_CONFIGS[kernel](state_size=4)
    ssm, x = make_kernel(kernel, bidirectional=True), torch.randn(2, length, 3)
    forward, backward = (directed(ssm, kernel, config, i) for i in (0, 1))
    expected = recurrent(forward, x) + recurrent(backward, x.flip(1)).flip(1) - ssm.omega * x
    torch.testing.assert_close(ssm(x)[0], expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(0, 1, 2, 260), (0, 63, 130, 131, 260), (0, 200, 260)])
@each_kernel
def test_segments_with_carried_state_equal_one_long_forward(kernel, cuts, make_kernel):
    ssm, x = make_kernel(kernel), torch.randn(2, 260, 3)
    whole, end = ssm(x, state=ssm.init_state(2), need_state=True)
    torch.testing.assert_close(whole, ssm(x)[0], atol=1e-5, rtol=0)
    state, parts = None, []
    for start, stop in pairwise(cuts):
        y, state = ssm(x[:, start:stop], state=state, need_state=True)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(state, end, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@each_kernel
def test_forward_goes_on_where_steps_ended_and_the_other_way_round(kernel, make_kernel):
    ssm, x = make_kernel(kernel), torch.randn(2, 150, 3)
    state = ssm.init_state(2)
    for t in range(10):
        _, state = ssm.step(x[:, t], state)
    middle, state = ssm(x[:, 10:149], state=state, need_state=True)
    last, _ = ssm.step(x[:, 149], state)
    expected = ssm(x)[0]
    torch.testing.assert_close(middle, expected[:, 10:149], atol=1e-4, rtol=0)
    torch.testing.assert_close(last, expected[:, 149], atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
@each_kernel
def test_padding_and_the_rest_of_the_batch_change_no_output(kernel, bidirectional, make_kernel):
    ssm, x = make_kernel(kernel, bidirectional), torch.randn(3, 140, 3)
    lengths = (140, 77, 1)
    padding = torch.arange(140) >= torch.tensor(lengths).unsqueeze(1)
    together = ssm(x, padding)[0]
    for row, length in enumerate(lengths):
        alone = ssm(x[row : row + 1, :length])[0]
        torch.testing.assert_close(together[row : row + 1, :length], alone, atol=1e-5, rtol=0)


@torch.no_grad()
@each_kernel
def test_the_skip_sees_padding_but_the_filter_does_not(kernel, make_kernel):
    ssm, x = make_kernel(kernel, bidirectional=True), torch.randn(1, 9, 3)
    everything = torch.ones(1, 9, dtype=torch.bool)
    torch.testing.assert_close(ssm(x, everything)[0], ssm.omega * x)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [5, 131])
@each_kernel
def test_gradients_of_input_and_all_parameters_are_right(kernel, length, bidirectional, make_kernel):
    ssm = make_kernel(kernel, bidirectional, d_model=2, state_size=2).double()
    names = [name for name, _ in ssm.named_parameters()]
    x = torch.randn(1, length, 2, dtype=torch.float64, requires_grad=True)

    def output(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(ssm, dict(zip(names, values, strict=True)), (x,))[0]

    values = [p.detach().clone().requires_grad_() for p in ssm.parameters()]
    assert torch.autograd.gradcheck(output, (x, *values), fast_mode=length > 5)


@each_kernel
def test_gradients_through_carried_state_are_right(kernel, make_kernel):
    ssm = make_kernel(kernel, d_model=2, state_size=2).double()
    names = [name for name, _ in ssm.named_parameters()]
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    start = ssm.init_state(1)
    start = (start + torch.randn_like(start)).detach().requires_grad_()

    def outputs(x: Tensor, state: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        call = {"state": state, "need_state": True}
        return functional_call(ssm, dict(zip(names, values, strict=True)), (x,), call)

    values = [p.detach().clone().requires_grad_() for p in ssm.parameters()]
    assert torch.autograd.gradcheck(outputs, (x, start, *values))


@torch.no_grad()
@each_kernel
def test_autocast_to_bfloat16_changes_no_digit(kernel, make_kernel):
    ssm, x = make_kernel(kernel), torch.randn(2, 70, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y, (step, _) = ssm(x)[0], ssm.step(x[:, 0], ssm.init_state(2))
    assert y.dtype == step.dtype == torch.float32
    torch.testing.assert_close(y, ssm(x)[0], rtol=0, atol=0)
    torch.testing.assert_close(step, ssm.step(x[:, 0], ssm.init_state(2))[0], rtol=0, atol=0)


@each_kernel
def test_a_bidirectional_kernel_refuses_a_state(kernel, make_kernel):
    with pytest.raises(ValueError, match="no state to carry"):
        make_kernel(kernel, bidirectional=True)(torch.randn(1, 4, 3), need_state=True)


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kernel", ["ema", "cema", "s4d"])
def test_truncation_cuts_the_kernel_after_its_last_lag(kernel, bidirectional, make_kernel):
    ssm = make_kernel(kernel, bidirectional, truncation=70)
    impulse = torch.zeros(1, 301, 3)
    impulse[:, 150] = 1
    response = ssm(impulse)[0][0]  # (L, d)
    whole = make_kernel(kernel, bidirectional)(impulse)[0][0]
    seen = (torch.arange(301) - 150).abs() < 70
    torch.testing.assert_close(response[seen], whole[seen], atol=1e-5, rtol=0)
    assert response[~seen].abs().max() < 1e-5
