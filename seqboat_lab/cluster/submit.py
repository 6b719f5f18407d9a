"""Hands sweeps and runs to Slurm, tells how they stand, and takes them back."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seqboat_lab.atomic import write_text
from seqboat_lab.cluster.script import Resources, fit_script, sweep_script
from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.checks import UserError, require
from seqboat_lab.config.files import find_config

JOBS = "jobs"
"""File beside the scripts: the numbers of the jobs that were made of them, one a line."""


def submit_sweep(source: Path, overrides: Sequence[str], workers: int, resources: Resources, dry_run: bool) -> None:
    """One array job of so many workers. Raises `UserError` for whatever a sweep would be refused for."""
    from seqboat_lab.sweep.definition.config import load_sweep  # slow to import
    from seqboat_lab.sweep.running.gpus import devices_of
    from seqboat_lab.sweep.study.definition import with_storage

    require(resources.nodes == 1, "--nodes", resources.nodes, "1: a worker of a sweep has one node")
    sweep = with_storage(load_sweep(source, overrides), overrides)
    devices = devices_of(sweep)
    require(resources.gpus in (0, devices), "--gpus", resources.gpus, f"{devices}, as many as a trial uses "
            "(trainer.devices), or 0 for none")  # fmt: skip
    settings, name = sweep.directory / "sweep.yaml", f"seqboat-{sweep.name}"
    script = sweep_script(settings, name, workers, resources)
    if dry_run:
        print(script, end="")
        return
    _check_slurm()
    from seqboat_lab.sweep.running.job import prepare

    _submit(script, sweep.directory / "slurm", prepare(sweep))


def submit_fit(
    config: str, overrides: Sequence[str], run_dir: Path | None, resources: Resources, dry_run: bool
) -> None:
    """One run over all the nodes. Raises `UserError` for whatever `seqboat fit` would be refused for."""
    set_already = next((o for o in overrides if o.startswith(("trainer.devices=", "trainer.num_nodes="))), None)
    require(set_already is None, "submit", set_already, "--nodes and --gpus instead")
    processes = resources.nodes * resources.processes
    placed = [f"trainer.devices={processes}", f"trainer.num_nodes={resources.nodes}"]
    load_experiment(config, [*overrides, *placed])
    name = find_config(config).name.removesuffix(".yaml")
    where = [] if run_dir is None else ["--run-dir", str(run_dir), "--resume-or-start"]
    place = Path("runs") / name / "slurm"
    script = fit_script([config, *overrides, *placed, *where], f"seqboat-{name}", place, resources)
    if dry_run:
        print(script, end="")
        return
    _check_slurm()
    _submit(script, place, {})


def status(what: str) -> None:
    """Prints how the jobs of a directory (or the job of that number) stand, and where their logs are."""
    jobs, place = _jobs(what)
    command = ["squeue", "--noheader", "--array", f"--user={os.environ.get('USER') or os.getuid()}", "-o", "%i %T %R"]
    rows = [line.split(maxsplit=2) for line in _slurm(command).splitlines()]
    for job in jobs:
        own = [(state, why) for number, state, *why in rows if re.split(r"[_.]", number)[0] == job]
        states = Counter(state.lower() for state, _ in own)
        reasons = sorted({why[0] for state, why in own if state == "PENDING" and why})
        told = ", ".join(f"{n} {state}" for state, n in states.items()) or "ended"
        print(f"job {job}: {told}{' ' + ' '.join(reasons) if reasons else ''}")
    if place is not None:
        print(f"logs: {place}/*.log")
        if (place.parent / "sweep.yaml").is_file():
            from seqboat_lab.sweep.running.job import progress

            print(progress(place.parent / "sweep.yaml"))


def cancel(what: str) -> None:
    """Ends the jobs of a directory, or the job of that number: what is under way is saved, and can go on later."""
    jobs, _ = _jobs(what)
    for job in jobs:
        _slurm(["scancel", job])
        print(f"cancelled job {job}")


def _jobs(what: str) -> tuple[list[str], Path | None]:
    if what.isdecimal():
        return [what], None
    directory = Path(what)
    for place in (directory / "slurm", directory):
        if (place / JOBS).is_file():
            return (place / JOBS).read_text().split(), place
    if found := re.fullmatch(r"slurm-(\d+)(_\d+)?", directory.name):
        return [found[1]], None
    raise ConfigError("submit", f"{what} has no jobs; expected a job's number, runs/sweeps/NAME or runs/EXPERIMENT")


def _submit(script: str, place: Path, environment: dict[str, str]) -> None:
    count = len(list(place.glob("*.sh")))
    path = place / f"submitted-{count + 1}.sh"
    write_text(path, script)
    job = _slurm(["sbatch", "--parsable", str(path)], environment).strip().partition(";")[0]
    with (place / JOBS).open("a") as file:
        file.write(f"{job}\n")
    print(f"submitted job {job} ({path})")
    print(f"seqboat submit status {place.parent}, seqboat submit cancel {place.parent}")


def _check_slurm() -> None:
    if shutil.which("sbatch") is None:
        raise UserError("sbatch: no such command here; expected a machine of a Slurm cluster (--dry-run prints the "
                        "script on any)")  # fmt: skip


def _slurm(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a command of Slurm's prints. Raises `UserError` with what it complains of."""
    try:
        known = os.environ | (environment or {})
        done = subprocess.run(command, capture_output=True, text=True, env=known, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: no such command here; expected a machine of a Slurm cluster") from None
    if done.returncode:
        said = "; ".join(done.stderr.split("\n")).strip("; ") or f"exit status {done.returncode}"
        raise UserError(f"{command[0]}: {said}")
    return done.stdout
