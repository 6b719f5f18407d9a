"""Configs, overrides and command lines at random: status 0, or status 2 and one line; never a traceback or a hang."""

import contextlib
import dataclasses
import io
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.config.files import CONFIG_DIR

NAMES = ["text_tiny", "lra/listops_short", "lra/image_tiny", "speech_commands_tiny", "lra/path256_tiny"]
quick = settings(
    max_examples=120, deadline=5000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def keys_of(values: dict, prefix: str = "") -> list[str]:
    inside = [keys_of(v, f"{prefix}{k}.") for k, v in values.items() if isinstance(v, dict)]
    return [*(f"{prefix}{k}" for k in values), *(key for keys in inside for key in keys)]


KEYS = sorted({key for name in NAMES for key in keys_of(dataclasses.asdict(load_experiment(name)))})
ODD = ["", "null", "~", "nan", ".nan", "-.inf", "1e308", "-1", "0", "1", "2.5", "true", "007", "[]", "{}", "{kind: s5}", "[[[", "${", "${seed}", "${seed.x}", "${oc.env:HOME}", "${${seed}}", "\\${x}", "*", "&a *a", "!!set {a}", "a: b", "'", '"', "\0", "\n", "\udcff", "é", "9" * 5000, "0x" + "f" * 5000, "x" * 5000, "[" * 3000, "2024-01-01", "1:30", "s4d", "never", "corpus", "~nobody/x", "../..", "/dev/null/x"]  # fmt: skip
words = st.one_of(st.sampled_from(ODD), st.text(max_size=20), st.binary(max_size=20).map(os.fsdecode), st.integers().map(str), st.floats().map(str))  # fmt: skip
keys = st.one_of(
    st.sampled_from(KEYS), st.sampled_from(["", ".", "model.", "a.b", "model.ssm.kernel.x", "data[0]"]), words
)
overrides = st.tuples(keys, words).map("=".join)


def run(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse
            status = end.code
    return status, out.getvalue(), err.getvalue()


def is_right_or_one_line(arguments: list[str]) -> int:
    status, out, err = run(arguments)
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert status in (0, 2), (arguments, err)
    if status == 2:
        assert len(lines) == 1, (arguments, err)
        assert lines[0].startswith("seqboat: "), (arguments, err)
        assert len(lines[0]) < 2100
        assert out == ""
    return status


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch, tmp_path):
    """What comes after a config was accepted is not this test's; `fit` must never get there with an impossible one."""
    from seqboat_lab.analysis import describe
    from seqboat_lab.training import experiment

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "fit", lambda config, run_dir, *_, **__: {})
    monkeypatch.setattr(experiment, "resume", lambda run_dir, overrides: experiment.resumable(run_dir, overrides))
    monkeypatch.setattr(describe, "describe", lambda config, rate: None)
    monkeypatch.setattr(describe, "describe_side_by_side", lambda configs, rate, measured: None)
    monkeypatch.setenv("SEQBOAT_RUN_DIR", str(tmp_path / "run"))  # or `fit` would set it for later tests


@quick
@given(st.sampled_from(NAMES), st.lists(overrides, max_size=3))
def test_overrides(name, changes):
    if is_right_or_one_line(["config", name, "--", *changes]) == 0:
        status, out, _ = run(["config", name, "--", *changes])
        Path("again.yaml").write_text(out)
        assert run(["config", "again.yaml"])[:2] == (status, out)  # what was accepted can be read again


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words, st.binary(max_size=4), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), words, st.integers()), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


@quick
@given(st.sampled_from(NAMES), st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=2))
def test_files_with_changed_fields(name, changes):
    content = yaml.safe_load((CONFIG_DIR / f"{name}.yaml").read_text())
    for key, value in changes:
        *above, last = key.split(".")
        section = content
        for part in above:
            section = section[part] if isinstance(section.get(part), dict) else section.setdefault(part + "_", {})
        section[last] = value
    Path("changed.yaml").write_text(yaml.dump(content, allow_unicode=False))
    is_right_or_one_line(["config", "changed.yaml"])


@quick
@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 6)), max_size=4),
)
def test_files_with_changed_bytes(name, edits):
    content = (CONFIG_DIR / f"{name}.yaml").read_bytes()
    for place, new, cut in edits:
        place %= len(content) + 1
        content = content[:place] + new + content[place + cut :]
    Path("changed.yaml").write_bytes(content)
    is_right_or_one_line(["config", "changed.yaml"])


GRAMMAR = ["fit", "config", "describe", "data", "status", "prepare", "sheet", "evaluate", "generate", "report", "--rate", "--root", "--resume", "--run-dir", "--seed", "--bytes", "--temperature", "--top-p", "--checkpoint", "--weights", "--split", "--mode", "--processes", "--size", "--from", "--prompt", "--", "-h", "-x", *NAMES, "image", "nothing", "changed.yaml", ".", "0.5", "nan", "-1"]  # fmt: skip
arguments = st.lists(st.one_of(st.sampled_from(GRAMMAR), overrides, words), max_size=6)
commands = st.one_of(
    arguments,
    st.tuples(st.sampled_from(["fit", "config", "describe"]), st.sampled_from(NAMES)).flatmap(
        lambda head: arguments.map(lambda rest: [*head, *rest])
    ),
    arguments.map(lambda rest: ["data", "status", *rest]),
)


@quick
@given(commands)
def test_command_lines(line):
    if "prepare" in line or "sheet" in line:  # would generate data, or draw
        line = [word for word in line if word not in ("prepare", "sheet")]
    is_right_or_one_line(line)
