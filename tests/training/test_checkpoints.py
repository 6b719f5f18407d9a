"""A checkpoint is whole at every moment, whatever ends the process that writes it."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from seqboat_lab.cli import main
from seqboat_lab.training import experiment
from seqboat_lab.training.checkpoints import Checkpoint, SafeCheckpointIO, read_checkpoint
from seqboat_lab.training.model import make_datamodule
from tests.training import child
from tests.training.same_run import assert_same_run


@pytest.fixture
def elsewhere():
    """A directory on another file system than that of temporary files, where there is one."""
    root = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(dir=root))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def fit(tiny, tmp_path):
    """The command of a tiny run in a directory, as a scheduler repeats it."""
    config = tiny("trainer.progress=false", "model.dropout=0.2")
    make_datamodule(config).prepare_data()  # it has a disk without limits, and tells of it
    experiment.write_config(config, tmp_path / "config")

    def command(run_dir: Path, *overrides: str) -> list[str]:
        config = str(tmp_path / "config" / "config.yaml")
        return ["fit", config, *overrides, "--run-dir", str(run_dir), "--resume-or-start"]

    return command


def test_kills_while_checkpoints_are_written_change_nothing(fit, tmp_path, elsewhere):
    assert main(fit(tmp_path / "whole")) == 0
    for nth in (1, 2, 3, 2):  # best, last, best again or last, last
        process = child.run(*fit(elsewhere / "run"), log=tmp_path / "log", killed_in_save=nth)
        process.join()
        assert process.exitcode == -9, (tmp_path / "log").read_text()
        for path in (elsewhere / "run" / "checkpoints").glob("*.ckpt"):
            read_checkpoint(path)
    assert main(fit(elsewhere / "run")) == 0
    assert_same_run(tmp_path / "whole", elsewhere / "run")


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(fit, tmp_path, elsewhere):
    longer = (
        "trainer.max_steps=100",
        "trainer.val_every=7",
        "trainer.accumulate=2",
        "trainer.checkpoint_minutes=0.003",
    )
    assert main(fit(tmp_path / "whole", *longer)) == 0
    moments = random.Random(0)
    for kill in range(20):
        process = child.run(*fit(elsewhere / "run", *longer), log=tmp_path / "log")
        process.join(moments.uniform(0.2, 2.5))
        if process.exitcode is not None:  # it had come to its end: begin again
            assert process.exitcode == 0, (kill, (tmp_path / "log").read_text())
            assert_same_run(tmp_path / "whole", elsewhere / "run")
            shutil.rmtree(elsewhere / "run")
        process.kill()
        process.join()
    assert main(fit(elsewhere / "run", *longer)) == 0
    assert_same_run(tmp_path / "whole", elsewhere / "run")


def test_a_file_that_cannot_grow_is_one_line_and_the_good_checkpoint_stays(fit, tmp_path, elsewhere):
    run_dir, log = elsewhere / "run", tmp_path / "log"
    csv = "trainer.loggers=[csv]"  # pictures for TensorBoard would not fit either
    process = child.run(*fit(run_dir, csv), log=log, largest_file=30_000)
    process.join()
    assert process.exitcode == 2
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"seqboat: {run_dir}/checkpoints/best.ckpt: File too large")
    assert not list(run_dir.rglob("*.partial"))
    assert main(fit(run_dir, csv)) == 0  # started again: there was no checkpoint
    last = run_dir / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    process = child.run(*fit(run_dir, csv, "trainer.max_steps=20"), log=log, largest_file=30_000)
    process.join()
    assert process.exitcode == 2
    (line,) = log.read_text().splitlines()
    assert ".ckpt: File too large" in line
    assert last.read_bytes() == before
    assert main(fit(run_dir, csv, "trainer.max_steps=20")) == 0


@pytest.mark.parametrize("kilobytes", [40, 130, 200, 260, 330, 500])
def test_a_full_disk_is_one_line_and_leaves_what_was_good(fit, tmp_path, kilobytes):
    disk, log = tmp_path / "disk", tmp_path / "log"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        process = child.run(*fit(disk / "run", "trainer.max_steps=40"), log=log)
        process.join()
        text = log.read_text()
        assert process.exitcode == 2, text
        (line,) = text.splitlines()
        assert line.startswith(f"seqboat: {disk}/run")
        assert "the disk is full" in line
        for path in disk.rglob("*.ckpt"):
            read_checkpoint(path)
        assert not list(disk.rglob("*.partial"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_an_unreadable_last_checkpoint_is_replaced_by_the_one_before_and_that_is_said(fit, tmp_path, capsys):
    assert main(fit(tmp_path / "whole")) == 0
    assert main(fit(tmp_path / "cut")) == 0
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    (tmp_path / "cut" / "summary.json").unlink()
    for damage in (last.read_bytes()[:1000], b"", None):
        last.unlink() if damage is None else last.write_bytes(damage)
        capsys.readouterr()
        assert Checkpoint.newest(tmp_path / "cut").step == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"warning: {last}: ")
        assert line.endswith(f"going on from the one before, {last.with_name('previous.ckpt')} (step 4)")
    assert main(fit(tmp_path / "cut")) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_file_system_without_hard_links_keeps_the_previous_one_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for step in range(3):
        SafeCheckpointIO().save_checkpoint({"step": step}, tmp_path / "last.ckpt")
    assert [read_checkpoint(tmp_path / f"{name}.ckpt")["step"] for name in ("last", "previous")] == [2, 1]
    assert len(list(tmp_path.iterdir())) == 2
