"""Whole sweeps with real trials: workers, continuation, failures, interruption, report."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from seqboat_lab.cli import main
from seqboat_lab.config.files import to_dict
from seqboat_lab.sweep.definition.config import parse_sweep
from seqboat_lab.sweep.study.study import open_study

CLI = [sys.executable, "-m", "seqboat_lab.cli"]
SWEEP = Path("runs/sweeps/tiny")


def start(*overrides: str, workers: int = 2) -> subprocess.Popen:
    command = [*CLI, "sweep", "tiny.yaml", "--workers", str(workers), *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sweep(*overrides: str, workers: int = 2, status: int = 0) -> str:
    process = start(*overrides, workers=workers)
    output, _ = process.communicate(timeout=240)
    logs = "".join(log.read_text() for log in SWEEP.glob("workers/*.log"))
    assert process.returncode == status, output + logs
    return output


def rows() -> list[dict[str, str]]:
    with (SWEEP / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def wait_for(condition, seconds: float = 90):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


def children(pid: int) -> list[int]:
    """Worker processes started by `pid`."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in listed if b"sweep-worker" in Path(f"/proc/{c}/cmdline").read_bytes()]


def descendants(pid: int) -> list[int]:
    direct = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return direct + [c for child in direct for c in descendants(child)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_two_workers_share_the_budget_and_leave_a_report(tiny_sweep):
    tiny_sweep()
    output = sweep()
    assert "Pareto front of tiny" in output
    assert f"{SWEEP}/report.html" in output
    found = rows()
    assert [(r["number"], r["state"]) for r in found] == [(str(n), "complete") for n in range(4)]
    workers = {json.loads(line).get("user_attr", {}).get("worker") for line in (SWEEP / "study.journal").open()}
    assert len(workers - {None}) == 2
    for r in found:  # what the table says is what the run measured
        summary = json.loads((Path(r["run"]) / "summary.json").read_text())
        assert float(r["val/accuracy"]) == pytest.approx(summary["metrics"]["val/accuracy"])
    assert len({r["model.configurator.temperature_scale"] for r in found}) == 4

    page = (SWEEP / "report.html").read_text()
    assert page.count("<svg") >= 3  # the front, hypervolume, workers
    assert not re.search(r"(src|href)=.?https?://|@import|url\(https?:", page)  # nothing is loaded from elsewhere
    assert (SWEEP / "pareto.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(SWEEP / "tensorboard"))
    events.Reload()
    assert {"Sweep/1 pareto", "Sweep/2 hypervolume"} <= {tag.rstrip() for tag in events.Tags()["images"]}
    assert len(events.Scalars("hypervolume")) == 4
    trial = EventAccumulator(str(next((SWEEP / "trials" / "0000").glob("*.hparams"))))
    trial.Reload()
    assert "_hparams_/session_start_info" in trial.summary_metadata

    check_charts(SWEEP / "trials" / "0000")
    assert not list(SWEEP.glob("trials-of-another-study*"))

    # the same command again does nothing, nor with a torn journal; a larger budget goes on
    with (SWEEP / "study.journal").open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    output = sweep()
    assert "4 of 4 trials are already there" in output
    assert "study.journal had a torn end of 17 bytes" in output
    assert len(rows()) == 4
    sweep("trials=5", workers=1)
    assert [r["state"] for r in rows()] == ["complete"] * 5


def check_charts(run: Path) -> None:
    """Every curve of the Custom Scalars page is a tag that the run wrote, and no chart mixes two splits."""
    events = EventAccumulator(str(run), size_guidance={"tensors": 0})
    events.Reload()
    (layout,) = events.Tensors("custom_scalars__config__")
    page = Layout.FromString(layout.tensor_proto.string_val[0])
    tags = events.Tags()["scalars"]
    charts = {chart.title: list(chart.multiline.tag) for category in page.category for chart in category.chart}
    assert {"accuracy (training)", "accuracy (validation)"} <= charts.keys()
    for title, patterns in charts.items():
        for pattern in patterns:
            matched = [tag for tag in tags if re.match(pattern, tag)]  # as TensorBoard does
            assert matched, (title, pattern)
            assert len(matched) == 1 or "_of_" in pattern, (title, pattern, matched)  # one for each kind of token
        assert len({pattern.partition("/")[0] for pattern in patterns}) == 1, (title, patterns)


@pytest.mark.slow
def test_a_deleted_journal_begins_a_study_anew_and_the_old_runs_are_set_aside(tiny_sweep):
    tiny_sweep()
    sweep("trials=1", workers=1)
    old = (SWEEP / "trials/0000/summary.json").read_text()
    (SWEEP / "study.journal").unlink()
    output = sweep("trials=1", "seed=1", workers=1)
    assert f"{SWEEP}/trials held 1 runs that are not of this study; they are set aside in" in output
    aside = SWEEP / "trials-of-another-study-1" / "0000"
    assert (aside / "summary.json").read_text() == old
    (row,) = rows()
    new = json.loads((SWEEP / "trials/0000/summary.json").read_text())
    assert float(row["val/accuracy"]) == pytest.approx(new["metrics"]["val/accuracy"])
    assert float(row["cost/seconds"]) == pytest.approx(new["metrics"]["cost/seconds"])
    assert new["metrics"]["cost/seconds"] != json.loads(old)["metrics"]["cost/seconds"]


def test_workers_that_die_before_the_budget_is_used_make_a_failure(tiny_sweep, monkeypatch, capsys):
    path = str(tiny_sweep())
    for said, status in (("seqboat: /x: No space left on device", 2), ("Killed by a test", 1), ("fine", 0)):

        def dies(resolved, index, *_, said=said, status=status):
            log = resolved.parent / "workers" / f"worker-{index}.log"
            log.parent.mkdir(exist_ok=True)
            code = f"import sys; print({said!r}); sys.exit({status})"
            with log.open("w") as file:
                return subprocess.Popen([sys.executable, "-c", code], stdout=file)

        monkeypatch.setattr("seqboat_lab.sweep.running.run._start_worker", dies)
        assert main(["sweep", path, "--workers", "2"]) == 2
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1
        assert "0 of 4 trials of tiny are done: the same command goes on" in shown.err
        assert said.removeprefix("seqboat: ") in shown.err or status == 0


@pytest.mark.slow
def test_a_sweep_goes_on_after_one_worker_is_killed(tiny_sweep):
    tiny_sweep(steps=40)
    process = start()
    wait_for(lambda: list(SWEEP.glob("trials/*/validations.jsonl")))
    victim = children(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert "1 of 2 workers ended early" in output
    sweep()
    states = [r["state"] for r in rows()]
    assert states.count("complete") == 4
    assert states.count("requeued") == 1
    lost = next(r for r in rows() if r["state"] == "requeued")
    key = "model.configurator.temperature_scale"
    assert sum(r[key] == lost[key] for r in rows()) == 2  # tried again with the same values


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_kill_leaves_a_study_to_go_on_with_and_a_report(tiny_sweep, signum):
    tiny_sweep(steps=60)
    process = start()
    wait_for(lambda: list(SWEEP.glob("trials/*/validations.jsonl")))
    process.send_signal(signum)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in output
    assert (SWEEP / "report.html").exists()
    assert not [r for r in rows() if r["state"] == "running"]
    sweep()
    assert [r["state"] for r in rows()].count("complete") == 4


@pytest.mark.slow
def test_workers_do_not_outlive_a_sweep_that_was_killed(tiny_sweep):
    tiny_sweep(steps=60)
    process = start()
    wait_for(lambda: list(SWEEP.glob("trials/*/validations.jsonl")))
    workers = children(process.pid)
    trials = [pid for worker in workers for pid in descendants(worker)]
    assert len(workers) == 2
    assert trials
    process.kill()
    process.communicate()
    wait_for(lambda: not any(is_running(pid) for pid in [*workers, *trials]), seconds=15)
    sweep()  # what they had under way is run again
    assert [r["state"] for r in rows()].count("complete") == 4


def test_failed_trials_are_recorded_with_their_error_and_the_sweep_goes_on(tiny_sweep):
    tiny_sweep()
    diverging = "overrides={model.attention: relu2, model.prenorm: true, model.layers: 4}"
    output = sweep("space={optim.lr: {choices: [9.0, 10.0]}}", diverging, "trials=3", "name=failing", status=2)
    with Path("runs/sweeps/failing/trials.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [r["state"] for r in found] == ["failed"] * 3
    assert all("the loss is nan at step" in r["error"] for r in found)
    assert "Pareto front of failing, 0 trials" in output
    assert "3 failed" in output
    assert output.splitlines()[-1].startswith("seqboat: no trial of failing succeeded; trial 0, runs/sweeps/failing/")
    assert "the loss is nan" in Path("runs/sweeps/failing/report.html").read_text()
    front = Path("runs/sweeps/failing/front.csv").read_text()
    assert front.splitlines() == [Path("runs/sweeps/failing/trials.csv").read_text().splitlines()[0]]


@pytest.mark.slow
def test_a_trial_without_the_objective_fails_and_does_not_end_its_worker(tiny_sweep):
    blind = parse_sweep(tiny_sweep(), ["objectives={val/nothing: minimize}", "trials=2", "name=blind"])
    study = open_study(blind)
    Path("blind.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(to_dict(blind))))
    subprocess.run([*CLI, "sweep-worker", "blind.yaml", str(os.getpid())], check=True, timeout=120)
    assert [t.user_attrs["error"] for t in study.trials] == ["the experiment does not report val/nothing"] * 2


@pytest.mark.slow
def test_a_trial_that_someone_terminates_fails_and_does_not_end_its_worker(tiny_sweep):
    tiny_sweep(steps=60)
    process = start("trials=1", workers=1)
    wait_for(lambda: list(SWEEP.glob("trials/*/validations.jsonl")))
    (run,) = [pid for pid in descendants(children(process.pid)[0]) if os.getpgid(pid) == pid and pid != process.pid]
    os.kill(run, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "no trial of tiny succeeded; trial 0, runs/sweeps/tiny/trials/0000: ended by SIGTERM" in output


def test_a_worker_whose_sweep_died_before_it_was_ready_ends(tiny_sweep):
    tiny_sweep()
    ended = subprocess.Popen(["true"])
    ended.wait()
    subprocess.run([*CLI, "sweep-worker", "tiny.yaml", str(ended.pid)], check=True, timeout=60)
    study = open_study(parse_sweep("tiny.yaml"))
    assert not [t for t in study.trials if t.state.name in ("RUNNING", "COMPLETE")]


@pytest.mark.slow
def test_bad_trials_are_stopped_and_kept_out_of_the_front(tiny_sweep):
    # with one objective every worse trial is dominated: of later trials, all below the median stop
    tiny_sweep(extra="stopping: {min_trials: 2, dominated_by: 0.4}\n")
    sweep("name=stopping", "trials=6", "space={optim.lr: {low: 1.0e-5, high: 1.0e-2, log: true}}")
    with Path("runs/sweeps/stopping/trials.csv").open() as file:
        found = list(csv.DictReader(file))
    with Path("runs/sweeps/stopping/front.csv").open() as file:
        front = list(csv.DictReader(file))
    stopped = [r for r in found if r["state"] == "stopped"]
    for r in stopped:
        assert r["step"] == "5"
        assert r["val/accuracy"]
    assert {r["state"] for r in front} == {"complete"}
    assert len(found) == 6
