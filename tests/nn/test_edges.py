"""The edges of what a model can be given: right, or a ValueError that names expected and found."""

import copy
import io
import pickle

import pytest
import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.config.configurator import AlwaysConfig
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn import Classifier, LanguageModel, SeqBoat
from seqboat_lab.nn.norms import BatchNorm
from seqboat_lab.nn.ssm import make_ssm

each_kernel = pytest.mark.parametrize("kernel", SSM_CONFIGS)


def small(kernel: str = "ema", **fields) -> ModelConfig:
    defaults = {"layers": 2, "d_model": 8, "d_hidden": 8, "d_attention": 4, "memory_size": 3, "dropout": 0.0}
    causal = {"bidirectional": False, "position": "rotary", "ssm": SSM_CONFIGS[kernel](state_size=4)}
    return ModelConfig(**(defaults | causal | fields))


def make(kernel: str = "ema", **fields) -> SeqBoat:
    torch.manual_seed(0)
    model = SeqBoat(small(kernel, **fields)).eval()
    for layer in model.layers:
        torch.nn.init.normal_(layer.hx_proj.weight, std=0.5)  # decisions of both kinds
    return model


@each_kernel
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sequence_of_length_zero_is_refused(kernel, bidirectional):
    model = make(kernel, bidirectional=bidirectional)
    message = r"expected x \(B, L, 8\) of floating point, L at least 1; found \(2, 0, 8\)"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 0, 8))
    with pytest.raises(ValueError, match=message):
        make_ssm(SSM_CONFIGS[kernel](state_size=4), 8, bidirectional)(torch.zeros(2, 0, 8))


@each_kernel
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [1, 40, 300])
def test_a_batch_of_no_rows_gives_no_rows(kernel, bidirectional, length):
    model = make(kernel, bidirectional=bidirectional)
    y, layers = model(torch.zeros(0, length, 8))
    assert y.shape == (0, length, 8)
    assert layers[0].active.shape == (0, length)
    if not bidirectional:
        y, layers = model(torch.zeros(0, length, 8), state=model.init_state(0))
        y, _, _ = model.step(torch.zeros(0, 8), [layer.state for layer in layers])
        assert y.shape == (0, 8)


@each_kernel
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.half, 0.02), (torch.double, 1e-5)])
def test_modules_of_other_types_agree_with_float32(kernel, dtype, tolerance):
    model, x = make(kernel, configurator=AlwaysConfig()), torch.randn(2, 40, 8)
    expected = model(x)[0]
    other = copy.deepcopy(model).to(dtype)
    y = other(x.to(dtype))[0]
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, atol=tolerance, rtol=tolerance)
    state, steps = other.init_state(2), []
    with torch.no_grad():
        for token in x.to(dtype).unbind(1):
            y, _, state = other.step(token, state)
            steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1).float(), expected, atol=tolerance, rtol=tolerance)
    if dtype != torch.double:
        assert all(p.dtype == torch.float32 for layer in other.layers for p in layer.ssm.parameters())
        back = other.float()
        torch.testing.assert_close(back.layers[0].ssm.state_dict(), model.layers[0].ssm.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("convert", ["half", "bfloat16"])
def test_whole_networks_train_in_half_precision(convert):
    torch.manual_seed(0)
    ids = torch.randint(1, 11, (3, 20))
    padding = torch.arange(20) >= torch.tensor([20, 9, 1]).unsqueeze(1)
    classifier = getattr(Classifier(small(bidirectional=True, absolute_position=True), 3, 11), convert)()
    language = getattr(LanguageModel(small(), 11), convert)()
    for logits in (classifier(ids, padding).logits, language(ids).logits):
        logits.float().square().mean().backward()
        assert logits.isfinite().all()
    for model in (classifier, language):
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("length", [40, 300])
@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@each_kernel
def test_what_is_not_finite_stays_in_its_token(kernel, bidirectional, always, length, value):
    """Every other token of the row is as if the token were hidden from it, and other rows do not change at all."""
    fields = {"configurator": AlwaysConfig()} if always else {}
    model = make(kernel, bidirectional=bidirectional, **fields)
    x = torch.randn(3, length, 8)
    before = model(x)[0]
    x[1, 30, 2] = value
    y = model(x)[0]
    torch.testing.assert_close(y[0::2], before[0::2])
    if not bidirectional:
        torch.testing.assert_close(y[1, :30], before[1, :30])
    assert not y[1, 30].isfinite().all()
    assert y[1, 31:].isfinite().all()


@each_kernel
def test_step_and_segments_agree_with_forward_where_a_token_is_not_finite(kernel):
    model, x = make(kernel, configurator=AlwaysConfig()), torch.randn(2, 24, 8)
    x[0, 5] = float("nan")
    whole = model(x)[0]
    state, steps = model.init_state(2), []
    with torch.no_grad():
        for token in x.unbind(1):
            y, _, state = model.step(token, state)
            steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), whole, equal_nan=True, atol=1e-4, rtol=1e-4)
    first, layers = model(x[:, :9], state=model.init_state(2))
    second, _ = model(x[:, 9:], state=[layer.state for layer in layers])
    torch.testing.assert_close(torch.cat([first, second], 1), whole, equal_nan=True, atol=1e-4, rtol=1e-4)


@each_kernel
def test_a_state_of_another_batch_is_refused(kernel):
    model = make(kernel)
    for held in (0, 1, 3):
        message = f"expected a state of as many streams as x has rows, 2; found one of {held}"
        with pytest.raises(ValueError, match=message):
            model(torch.zeros(2, 5, 8), state=model.init_state(held))
        with pytest.raises(ValueError, match=message):
            model.step(torch.zeros(2, 8), model.init_state(held))


def test_states_of_other_layers_are_refused():
    model = make()
    for state in ([], model.init_state(2)[:1]):
        with pytest.raises(ValueError, match=f"expected the states of 2 layers; found {len(state)}"):
            model(torch.zeros(2, 5, 8), state=state)
        with pytest.raises(ValueError, match=f"expected the states of 2 layers; found {len(state)}"):
            model.step(torch.zeros(2, 8), state)
    with pytest.raises(ValueError, match="expected a number of streams, 0 or more; found -1"):
        model.init_state(-1)


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(2, 4).bool(),
        torch.zeros(5).bool(),
        torch.zeros(1, 5).bool(),
        torch.zeros(2, 5),
        torch.zeros(2, 5).long(),
    ],
)
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    with pytest.raises(ValueError, match=r"expected padding_mask \(2, 5\) of bool, True = padding; found"):
        make(bidirectional=True)(torch.zeros(2, 5, 8), mask)
    for kind in ("seqboat", "bag"):
        with pytest.raises(ValueError, match=r"expected padding_mask \(2, 5\) of bool"):
            Classifier(small(kind=kind, bidirectional=True), 3, 11)(torch.zeros(2, 5).long(), mask)


@pytest.mark.parametrize(
    ("x", "found"),
    [
        (torch.zeros(2, 8), r"\(2, 8\) of torch.float32"),
        (torch.zeros(2, 5, 7), r"\(2, 5, 7\)"),
        (torch.zeros(2, 5, 8, 1), r"\(2, 5, 8, 1\)"),
        (torch.zeros(2, 5, 8).long(), "torch.int64"),
    ],
)
def test_other_shapes_are_refused(x, found):
    with pytest.raises(ValueError, match=rf"expected x \(B, L, 8\) of floating point, L at least 1; found .*{found}"):
        make()(x)


def test_other_types_than_the_weights_are_refused_except_under_autocast():
    model = make()
    with pytest.raises(ValueError, match=r"expected x of torch.float32, as the module's weights; found torch.float64"):
        model(torch.zeros(2, 5, 8).double())
    with pytest.raises(ValueError, match=r"expected x of torch.float64"):
        make().double()(torch.zeros(2, 5, 8))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.zeros(2, 5, 8).bfloat16())[0].shape == (2, 5, 8)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[0, 11]]), "expected token ids from 0 to 10; found 0 to 11"),
        (torch.tensor([[-1, 3]]), "expected token ids from 0 to 10; found -1 to 3"),
        (torch.zeros(2, 5), r"expected token ids of torch.int64; found \(2, 5\) of torch.float32"),
        (torch.zeros(5).long(), r"expected sequences \(B, L\), L at least 1; found \(5,\)"),
        (torch.zeros(2, 0).long(), r"expected sequences \(B, L\), L at least 1; found \(2, 0\)"),
    ],
)
def test_what_is_no_sequence_of_ids_is_refused(ids, message):
    models = [Classifier(small(kind=kind, bidirectional=True), 3, 11) for kind in ("seqboat", "bag", "cnn")]
    models.append(LanguageModel(small(), 11))
    for model in models:
        with pytest.raises(ValueError, match=message):
            model(ids)
    if ids.dim() == 2:
        language, state = models[-1], models[-1].init_state(len(ids))
        with pytest.raises(ValueError, match="expected one token of every stream"):
            language.step(ids, state)


def test_an_odd_number_of_documents_is_no_pairs():
    with pytest.raises(ValueError, match=r"expected pairs, 2B sequences; found \(3, 5\)"):
        Classifier(small(bidirectional=True), 3, 11, pair=True)(torch.ones(3, 5).long())


@pytest.mark.parametrize("norm", ["layernorm", "batchnorm", "syncbatchnorm", "scalenorm", "rmsnorm"])
@pytest.mark.parametrize("training", [False, True])
def test_rows_that_are_all_padding_change_nothing(norm, training):
    torch.manual_seed(0)
    model = Classifier(small(norm=norm, bidirectional=True), 3, 11).train(training)
    ids, padding = torch.randint(1, 11, (3, 20)), torch.zeros(3, 20, dtype=torch.bool)
    alone = copy.deepcopy(model)(ids[:2], padding[:2]).logits
    padding[2] = True
    logits = model(ids, padding).logits
    torch.testing.assert_close(logits[:2], alone)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert model(ids, torch.ones_like(padding)).logits.isfinite().all()
    assert all(b.isfinite().all() for b in model.buffers())


def test_no_tokens_leave_the_statistics_as_they_are():
    norm = BatchNorm(4).train()
    norm(torch.zeros(0, 5, 4))
    norm(torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool))
    assert (norm.norm.running_mean.tolist(), norm.norm.running_var.tolist()) == ([0.0] * 4, [1.0] * 4)


@each_kernel
def test_modules_can_be_copied_and_pickled(kernel):
    model, x = make(kernel), torch.randn(2, 20, 8)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    expected = model(x)[0]
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        torch.testing.assert_close(twin(x)[0], expected, rtol=0, atol=0)
        with torch.no_grad():
            next(twin.parameters()).add_(1)  # a module of its own
    torch.testing.assert_close(model(x)[0], expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_functional_call_works_and_transforms_export_and_jit_say_that_they_do_not():
    """What the docstring of SeqBoat and the README say of the model elsewhere."""
    model, x = make(), torch.randn(2, 20, 8)
    doubled = {name: 2 * p for name, p in model.named_parameters()}
    twin = copy.deepcopy(model)
    twin.load_state_dict(doubled, strict=False)
    y = torch.func.functional_call(model, doubled, (x,))[0]
    torch.testing.assert_close(y, twin(x)[0], rtol=0, atol=0)

    def loss(parameters: dict) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (x,))[0].sum()

    with pytest.raises(RuntimeError):
        torch.func.grad(loss)(doubled)
    with pytest.raises(RuntimeError):
        torch.func.vmap(lambda row: model(row.unsqueeze(0))[0])(x)
    with pytest.raises(RuntimeError, match="a trace would freeze which tokens are active"):
        torch.jit.trace(lambda x: model(x)[0], (x,))
    with pytest.raises(RuntimeError):
        torch.jit.script(model)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(model, (x,))
