"""A search over one layer's own fields, by dotted keys."""

import pytest

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import load_sweep

SWEEP = """
experiment: lra/listops_short
objectives: {val/accuracy: maximize, val/activation_rate: minimize}
space:
  model.by_layer.0.memory_size: {choices: [2, 4]}
  model.by_layer.1.configurator.kind: {choices: [never, always]}
  optim.activation_cost: {low: 0.001, high: 0.1, log: true}
"""


def test_layers_can_be_searched(tmp_path):
    file = tmp_path / "layers.yaml"
    file.write_text(SWEEP)
    assert load_sweep(file).space["model.by_layer.1.configurator.kind"].choices == ["never", "always"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("memory_size", "memry_size", "model.by_layer.0.memry_size: .*did you mean 'memory_size'"),
        ("by_layer.1", "by_layer.7", "model.by_layer.7: 7 .* from 0 to 1"),
        ("[2, 4]", "[2, 0]", "model.by_layer.0.memory_size: 0 .* at least 1"),
        ("always]", "alwys]", "model.by_layer.1.configurator.kind: .*did you mean 'always'"),
    ],
)
def test_impossible_searches_are_refused_before_any_trial(tmp_path, old, new, error):
    file = tmp_path / "layers.yaml"
    file.write_text(SWEEP.replace(old, new))
    with pytest.raises(ConfigError, match=error):
        load_sweep(file)
