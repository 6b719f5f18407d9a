"""Published reference code, with the same weights, computed these outputs; golden/README.md says which and how."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seqboat_lab.nn.mixers import make_layer
from tests.nn.mixers.conftest import make_config

CASES = sorted((Path(__file__).parent / "golden").glob("*.npz"))


def test_every_mixer_with_reference_code_has_its_case():
    names = ["gla", "hyena", "local_attention", "mamba", "retnet", "rwkv", "rwkv_channel_mix", "transformer"]
    assert [path.stem for path in CASES] == names


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "float"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_mixer_gives_the_outputs_of_the_reference(path, dtype):
    case = np.load(path)
    config = make_config(path.stem.removesuffix("_channel_mix"), settings=json.loads(str(case["settings"])))
    block = make_layer(config.layer(1), 1)
    module = block.feed_forward if path.stem.endswith("channel_mix") else block.mixer
    weights = {name.removeprefix("param."): case[name] for name in case.files if name.startswith("param.")}
    module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    y, _ = module.to(dtype)(torch.tensor(case["x"], dtype=dtype))
    expected = torch.tensor(case["y"])
    assert expected.std() > 0.1
    assert (y.double() - expected).abs().max() < (3e-6 if dtype == torch.float64 else 1e-5) * expected.abs().max()
