"""The authors' released layer is reproduced: outputs, decisions and all gradients of their golden cases."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seqboat_lab.official.layer import layer_from_official, our_name

CASES = sorted((Path(__file__).parents[1] / "golden").glob("*.npz"))


def params_of(case) -> dict[str, np.ndarray]:
    return {name.removeprefix("param."): case[name] for name in case.files if name.startswith("param.")}


def relative(ours: torch.Tensor, theirs: np.ndarray) -> float:
    theirs = torch.as_tensor(theirs)
    return ((ours.reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max().clamp(min=1e-8)).item()


def test_all_golden_cases_are_here():
    assert len(CASES) == 8


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_layer_reproduces_the_authors_outputs_and_gradients(path):
    case = np.load(path)
    config = json.loads(str(case["config"]))
    layer = layer_from_official(config, params_of(case)).train(config["training"])
    x = torch.tensor(case["x"], requires_grad=True)
    padding = torch.tensor(case["padding_mask"]) if "padding_mask" in case.files else None
    out = layer(x, padding)
    (out.y * torch.tensor(case["cotangent"])).sum().backward()

    assert relative(out.y, case["y"]) < 1e-4
    np.testing.assert_array_equal(out.active.numpy(), case["active"])
    expected = case["router_prob"].max(-1) * case["active"]
    np.testing.assert_allclose(out.confidence.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    assert relative(x.grad, case["grad.x"]) < 1e-4
    ours = dict(layer.named_parameters())
    for name in case.files:
        if name.startswith("grad.") and name != "grad.x":
            gradient = ours[our_name(name.removeprefix("grad."), config["norm"])].grad
            if np.abs(case[name]).max() < 1e-7:  # a parameter without effect: no relative error to speak of
                assert gradient.abs().max() < 1e-6, name
            else:
                assert relative(gradient, case[name]) < 1e-4, name


def test_unexpected_missing_and_misshapen_parameters_are_named():
    case = np.load(CASES[0])
    config, params = json.loads(str(case["config"])), params_of(case)
    with pytest.raises(ValueError, match=r"unexpected.*'q_router.bias'"):
        layer_from_official(config, {**params, "q_router.bias": np.zeros(1)})
    with pytest.raises(ValueError, match=r"missing.*'attention.gamma'"):
        layer_from_official(config, {k: v for k, v in params.items() if k != "gamma"})
    with pytest.raises(ValueError, match=r"hx_proj.bias: shape \(3,\) given, \(18,\) expected"):
        layer_from_official(config, {**params, "hx_proj.bias": np.zeros(3)})
