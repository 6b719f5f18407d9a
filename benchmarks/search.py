"""How fast does a sweep find its front? Every sampler and stopping rule, replayed from the table of all configurations.

    .venv/bin/python -m benchmarks.search [--repetitions 30] [--processes 2] [--only NAME ...]

Nothing is trained: see benchmarks/search_table.py. Writes docs/results_search.md and docs/search.png.
Syne Tune's rule is replayed, too, where that package is installed.
"""

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from optuna.samplers import TPESampler

import seqboat_lab.sweep
from benchmarks import search_replay
from benchmarks.recall import finished
from benchmarks.search_replay import Moment, Replay, Table
from benchmarks.search_table import SWEEP, TABLE, read_table
from seqboat_lab.sweep.definition.config import SweepConfig, load_sweep
from seqboat_lab.sweep.definition.samplers import SAMPLER_CONFIGS
from seqboat_lab.sweep.stopping.config import AnyStoppingConfig, DominatedConfig, SuccessiveHalvingConfig

OPTUNA = "Optuna's default"
RESULTS = Path("runs/search/results.jsonl")
RULES: dict[str, AnyStoppingConfig | None] = {
    "none": None,
    "dominated": DominatedConfig(),
    "halving 0.1": SuccessiveHalvingConfig(first=0.1),
    "halving 0.2": SuccessiveHalvingConfig(first=0.2),
    "halving 0.3": SuccessiveHalvingConfig(first=0.3),
}
"""Stopping rules by the names they have in table and picture; the number is `first`."""
SLOW = {"gp": 10}
"""Samplers that model every objective by a Gaussian process take minutes a search: so many repetitions at most."""


class Arm(NamedTuple):
    """A row of the table."""

    sampler: str
    rule: str

    def __str__(self) -> str:
        return self.sampler if self.rule == "none" else f"{self.sampler} + {self.rule}"


class Search(NamedTuple):
    """One repetition of an arm."""

    moments: list[Moment]
    seconds: float


BASELINE = Arm(OPTUNA, "none")
DEFAULT = Arm("tpe", "halving 0.2")
"""What sweeps do unless they say otherwise."""


def rules() -> dict[str, AnyStoppingConfig | None]:
    """`RULES`, and Syne Tune's where it is installed."""
    try:
        from benchmarks.search_syne_tune import RULES as THEIRS
    except ImportError:
        return RULES
    return {**RULES, **THEIRS}


def arms() -> list[Arm]:
    """Every sampler without a rule and with each; Optuna's default alone, as it comes."""
    samplers = [kind for kind in SAMPLER_CONFIGS if kind != "grid"]  # a grid is no search
    return [BASELINE, *itertools.starmap(Arm, itertools.product(samplers, rules()))]


@cache
def _inputs() -> tuple[SweepConfig, Table]:
    sweep = load_sweep(SWEEP)
    return sweep, read_table(sweep)


def search(arm: Arm, seed: int) -> Search:
    """One search with the budget of the sweep file's trials, all at full length."""
    sweep, table = _inputs()
    started = time.process_time()
    kind = sweep.sampler if arm.sampler == OPTUNA else SAMPLER_CONFIGS.settings("sampler", arm.sampler)()
    own = replace(sweep, sampler=kind, stopping=rules()[arm.rule], seed=seed)
    sampler = TPESampler(seed=seed) if arm.sampler == OPTUNA else None
    moments = Replay(own, table, seed, sampler).run(budget(sweep))
    return Search(moments, round(time.process_time() - started, 2))


def budget(sweep: SweepConfig) -> int:
    return sweep.trials * sweep.experiment_with({}).trainer.max_steps


def fingerprint() -> str:
    """Of what decides a search's outcome: the table, the code of sweeps, and the replay's."""
    rooms = ("definition", "sampling", "stopping")
    code = sorted(path for room in rooms for path in Path(*seqboat_lab.sweep.__path__, room).glob("*.py"))
    inputs = [TABLE, SWEEP, Path(search_replay.__file__), *code]
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:12]


def repeat(chosen: Sequence[Arm], repetitions: int, processes: int) -> dict[Arm, list[Search]]:
    """Every search of every arm. Each is kept in `RESULTS`: a killed benchmark goes on where it was."""
    inputs = fingerprint()
    known = {
        (row["sampler"], row["rule"], row["seed"]): Search([Moment(*m) for m in row["moments"]], row["seconds"])
        for row in finished(RESULTS)
        if row["inputs"] == inputs
    }
    found: dict[Arm, list[Search]] = {}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool, RESULTS.open("a") as file:
        for arm in chosen:
            seeds = range(1, 1 + min(repetitions, SLOW.get(arm.sampler, repetitions)))
            missing = [seed for seed in seeds if (*arm, seed) not in known]
            for seed, result in zip(missing, pool.map(search, itertools.repeat(arm), missing), strict=True):
                known[*arm, seed] = result
                row = {**arm._asdict(), "seed": seed, "inputs": inputs, **result._asdict()}
                file.write(json.dumps(row) + "\n")
                file.flush()
            found[arm] = [known[*arm, seed] for seed in seeds]
            print(arm, flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    from benchmarks.search_report import write_report  # matplotlib is slow to import in every process

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="*", metavar="SAMPLER", help="these samplers, beside Optuna's default")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="directory of the page and the picture")
    options = parser.parse_args(arguments)
    chosen = [arm for arm in arms() if options.only is None or arm.sampler in (OPTUNA, *options.only)]
    found = repeat(chosen, options.repetitions, options.processes)
    write_report(found, load_sweep(SWEEP), options.out)


if __name__ == "__main__":
    main()
