"""Everything runs on a device that is not the default one, without leaving a tensor behind; and how often it waits."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from seqboat_lab.config import ModelConfig
from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn import Classifier, LanguageModel
from seqboat_lab.nn.mixers import make_layer
from seqboat_lab.nn.norms import NORMS
from seqboat_lab.nn.packing import attention_span
from seqboat_lab.nn.ssm import make_ssm
from tests.nn.mixers.conftest import make_config
from tests.nn.pretend import OnCuda, PretendCuda, left_behind, on_cuda

pytestmark = [
    pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'", "ignore:.*layers stream with"),
    pytest.mark.usefixtures("torch_alone"),
]
B, L, D = 2, 21, 12
PADDING = torch.arange(L) >= torch.tensor([[L], [9]])
COUNT = "aten.nonzero in packing.py:pack"
"""A SeqBoat layer's one wait: how many tokens are active decides shapes."""


def tensors(value) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def rehearse(module: nn.Module, call, *inputs) -> list[str]:
    """Runs `call(module, *inputs)` and its backward pass on the CPU and on the pretended device: equal results and
    gradients, none left behind. Returns what the device was waited
    for."""
    module.zero_grad()
    other = copy.deepcopy(module)
    expected = _run(module, call, inputs)
    with PretendCuda() as device:
        on_cuda(other)
        inputs = on_cuda(inputs)
        device.waits.clear()
        results, gradients = _run(other, call, inputs)
        assert not left_behind((results, gradients))
    for values, others in zip(expected, (results, gradients), strict=True):
        for a, b in zip(values, others, strict=True):
            torch.testing.assert_close(b.host, a.detach(), rtol=1e-5, atol=1e-5, equal_nan=True)
    return device.waits


def _run(module: nn.Module, call, inputs) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    results = tensors(call(module, *inputs))
    sum(t.abs().sum() for t in results if t.requires_grad).backward()
    return [t.detach() for t in results], [p.grad for p in module.parameters() if p.grad is not None]


def train(module: nn.Module, x, padding=None):
    return module.train()(x, padding)


def stream(module: nn.Module, x):
    """A segment, the next one, and one token."""
    state = module.eval().init_state(len(x))
    first = module(x, None, state)
    second = module(x[:, :9], None, first.state)
    y, decision, state = module.step(x[:, 0], second.state)
    return first.y, second.y, y, decision, state


def layer(kind: str = "seqboat", **fields) -> nn.Module:
    torch.manual_seed(0)
    made = make_layer(make_config(kind, **fields).layer(1), 1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made


def data() -> torch.Tensor:
    return torch.randn(B, L, D, generator=torch.Generator().manual_seed(1))


WAITS = {
    "seqboat": [COUNT],
    "mega": [COUNT],
    "mod": ["aten._local_scalar_dense in mod.py:places"],
}
"""Of one layer, forward and backward; others never wait."""


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", MIXER_CONFIGS)
def test_every_mixer_trains_where_its_input_is(kind, bidirectional):
    waits = rehearse(layer(kind, bidirectional=bidirectional), train, data(), PADDING)
    assert sorted(waits) == sorted(WAITS.get(kind, []))


@pytest.mark.parametrize("kind", [kind for kind in MIXER_CONFIGS if kind != "hyena"])
def test_every_mixer_streams_where_its_input_is(kind):
    waits = rehearse(layer(kind), stream, data())
    assert not [wait for wait in waits if "copy" in wait and "configurator.py" not in wait]  # that of the step's number


@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_every_kernel(kernel):
    def carry(ssm, x):
        y, state = ssm(x, None, ssm.init_state(B), need_state=True)
        return y, ssm.step(x[:, 0], state)

    for bidirectional in (True, False):
        torch.manual_seed(0)
        ssm = make_ssm(SSM_CONFIGS[kernel](), D, bidirectional)
        assert rehearse(ssm, lambda ssm, x, padding: ssm(x, padding), data(), PADDING) == []
    assert rehearse(ssm, carry, data()) == []
    assert rehearse(ssm, lambda ssm, x: ssm(x), torch.randn(1, 140, D)) == []  # several chunks
    if hasattr(ssm, "truncation"):
        rehearse(make_ssm(SSM_CONFIGS[kernel](truncation=7), D, True), train, data())


@pytest.mark.parametrize("kind", CONFIGURATOR_CONFIGS)
def test_every_configurator(kind):
    configurator = CONFIGURATOR_CONFIGS[kind]()
    assert rehearse(layer(configurator=configurator), train, data(), PADDING) == [COUNT]
    rehearse(layer(configurator=configurator), stream, data())


@pytest.mark.parametrize(
    ("attention", "position"), [("softmax", "bias"), ("softmax", "local"), ("relu2", "local"), ("laplace", "rotary")]
)
def test_every_attention_function_and_position(attention, position):
    fields = {"attention": attention, "position": position, "confidence_on": "output_and_value"}
    assert rehearse(layer(**fields, bidirectional=True), train, data(), PADDING) == [COUNT]
    rehearse(layer(**fields), stream, data())


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm(norm):
    """A batch norm must also count the tokens that are not padding."""
    count = "aten.nonzero in norms.py:forward"
    waits = rehearse(layer(norm=norm, prenorm=norm == "rmsnorm"), train, data(), PADDING)
    assert sorted(waits) == sorted([COUNT, *([count] if "batchnorm" in norm else [])])


def test_attention_spans():
    active = torch.arange(2 * L).reshape(2, L) % 3 == 0
    with PretendCuda():
        for bidirectional in (True, False):
            spans = attention_span(on_cuda(active), 4, bidirectional)
            assert not left_behind(spans)
            for a, b in zip(spans, attention_span(active, 4, bidirectional), strict=True):
                assert torch.equal(a.host, b)


SMALL = {"layers": 2, "d_model": D, "d_hidden": 16, "d_attention": 8, "memory_size": 5, "max_positions": 32,
         "classifier_hidden": 8}  # fmt: skip


@pytest.mark.parametrize(
    ("vocabulary", "pair", "fields"),
    [
        (7, False, {"norm": "scalenorm"}),
        (7, True, {"ffn_hidden": 16}),
        (None, False, {"absolute_position": True, "prenorm": True}),
        (7, False, {"kind": "bag"}),
        (7, False, {"blocks": ["seqboat", "mamba"], "mixers": {"mamba": MIXER_CONFIGS["mamba"](head_size=6)}}),
    ],
)
def test_every_classifier(vocabulary, pair, fields):
    torch.manual_seed(0)
    model = Classifier(ModelConfig(**SMALL | fields), 3, vocabulary, pair)
    inputs = torch.randn(B, L) if vocabulary is None else torch.randint(1, vocabulary, (B, L))
    rehearse(model, train, inputs, PADDING)


def test_the_image_network():
    torch.manual_seed(0)
    rehearse(Classifier(ModelConfig(**SMALL | {"kind": "cnn"}), 3, None), train, torch.randn(B, 16))


def test_the_language_model():
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(**SMALL | {"bidirectional": False, "position": "rotary"}), 7)
    tokens = torch.randint(7, (B, L))
    waits = rehearse(model, lambda model, tokens: model.train()(tokens), tokens)
    assert waits == 2 * [COUNT]

    def generate(model, tokens):
        state = model(tokens, model.init_state(B)).state
        return model.step(tokens[:, 0], state)

    rehearse(model, generate, tokens)


class Forgetful(nn.Module):
    """Holds and creates tensors as one should not."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.weight, self.held = how, nn.Parameter(torch.ones(L, 1)), torch.ones(L, 1)

    def forward(self, x):
        if self.how == "created":
            return x * self.weight + torch.arange(L).unsqueeze(1)
        if self.how == "held":
            return x * self.weight + self.held
        if self.how == "in backward":
            return ForgetfulBackward.apply(x * self.weight)
        return torch.ones(L, 1) * self.weight if self.how == "alone" else torch.zeros(())


class ForgetfulBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.ones(grad.shape)


@pytest.mark.parametrize("how", ["created", "held", "in backward", "alone"])
def test_the_rehearsal_notices_what_a_gpu_would(how):
    with pytest.raises(RuntimeError, match="tensors on cuda:0 and on cpu"):
        rehearse(Forgetful(how), lambda module, x: module(x), data())


def test_the_rehearsal_counts_what_is_waited_for():
    with PretendCuda() as device:
        x = on_cuda(data())
        assert isinstance(x, OnCuda)
        device.waits.clear()
        assert x.is_cuda
        assert x.device == torch.device("cuda:0")
        assert not left_behind(torch.zeros(3, device=x.device))
        assert left_behind(torch.zeros(3))
        for wait in (
            lambda: x.sum().item(), lambda: bool(x.sum() > 0), lambda: x[x > 0], lambda: x.cpu(), lambda: x.nonzero(),
            lambda: torch.tensor([1], device=x.device), lambda: data().to(x.device),
        ):  # fmt: skip
            before = len(device.waits)
            wait()
            assert len(device.waits) == before + 1
        before = len(device.waits)
        for work in (
            lambda: data().to(x.device, non_blocking=True), lambda: x[:, 0], lambda: x.masked_fill(x > 0, 1.0),
            lambda: x[torch.arange(2, device=x.device)],
        ):  # fmt: skip
            work()
        assert len(device.waits) == before
