"""Sweep files changed at random: a sweep, or one line."""

import copy
import json
import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import SweepConfig, load_sweep

SOUND = {
    "experiment": "lra/listops_short",
    "name": "mine",
    "objectives": {"val/accuracy": "maximize", "val/activation_rate": "minimize"},
    "space": {
        "model.memory_size": {"choices": [2, 4]},
        "optim": {"lr": {"low": 0.001, "high": 0.1, "log": True}},
        "model.ffn_hidden": {"low": 4, "high": 8, "step": 2},
        "model.layers": {"choices": [1, 2], "when": {"model.memory_size": [2, 4], "model.ffn_hidden": 6}},
        "model.configurator": {"choices": [{"kind": "sigmoid"}, {"kind": "every_kth", "k": 2}]},
    },
    "constraints": {"val/activation_rate": {"max": 0.5, "min": 0.1}},
    "start": [{"model.memory_size": 2, "optim": {"lr": 0.01}}, {"model.configurator": {"kind": "sigmoid"}}],
    "overrides": {"trainer.max_steps": 300, "data": {"root": "somewhere"}},
    "trials": 5,
    "sampler": "tpe",
    "seed": 3,
    "stopping": {"rule": "successive_halving", "eta": 3, "first": 0.1},
    "storage": None,
    "reference": {"val/accuracy": 0.1},
    "trial_timeout": 60,
    "seeds": 2,
    "confirm": {"seeds": 3, "split": "val", "of": "front"},
    "references": {"never": {"model.configurator": {"kind": "never"}}},
    "max_runs": 20,
}
NAMES = ["low", "high", "log", "choices", "model", "model.layers", "optim.lr", "when", "step", "from", "max", "", ".", "a.b", "kind", "model.ssm",
         "val/accuracy", "task", "data", "${oc.env:HOME}", "${space}", "[0]", "a[0]", "\0", "x" * 300]  # fmt: skip
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=8),
    st.sampled_from([*NAMES, "007", "1e3", "s4d", "tempered_softmax", "maximize", "???", "${", "text", "lra/text"]),
)  # fmt: skip
KEY = st.sampled_from(NAMES) | st.text(max_size=5)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=6
)


def places(node, path=()):
    """The paths of everything inside a nested value."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def changed(draw):
    tree = copy.deepcopy(SOUND)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(list(places(tree))))
        node = tree
        for key in way:
            node = node[key]
        action = draw(st.sampled_from(["set", "remove", "rename", "add"]))
        if action == "set":
            node[last] = draw(VALUE)
        elif action == "remove" and len(list(places(tree))) > 1:
            del node[last]
        elif isinstance(node, dict):
            node[draw(KEY)] = node.pop(last) if action == "rename" else draw(VALUE)
    return json.dumps(tree)


def load(path, text: bytes) -> None:
    path.write_bytes(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sweep = load_sweep(path)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either is right
    else:
        assert isinstance(sweep, SweepConfig)
        sweep.identity()


@given(text=changed())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_changed_sweep_files_give_a_sweep_or_one_line(tmp_path, text):
    load(tmp_path / "mine.yaml", text.encode(errors="surrogatepass"))


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_sweep_files_give_a_sweep_or_one_line(tmp_path, data):
    text = bytearray(json.dumps(SOUND, indent=1).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[at] = data.draw(st.integers(0, 255))
        else:
            del text[at : at + data.draw(st.integers(1, 60))]
    load(tmp_path / "mine.yaml", bytes(text))
