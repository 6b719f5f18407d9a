"""A sweep replayed from the table: the framework's samplers and stopping rules, workers that share one clock."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from benchmarks.search_table import LEVELS, Point
from seqboat_lab.analysis.pareto import hypervolume, non_dominated
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.sampling.sampler import TrialSampler
from seqboat_lab.sweep.sampling.seen import CONTINUES
from seqboat_lab.sweep.stopping.rules import make_rule

Table = dict[tuple, list[list[Point]]]


class Moment(NamedTuple):
    """A trial was completed."""

    updates: int
    """Spent by then, on trials of all fates."""
    hypervolume: float
    """Of the configurations completed by then, each with its mean over the seeds of the table: what the search has
    found, not what one lucky seed made of it."""


@dataclass
class Run:
    """One trial under way, or stopped."""

    trial: optuna.Trial
    number: int
    """Of the candidate: its first trial's."""
    key: tuple
    curve: list[Point]
    done: int = 0
    """Validations behind it."""


def configuration(sweep: SweepConfig, params: dict[str, Any]) -> tuple:
    """The key of the table that these parameters stand for: a number of a range is the nearest level, by its ratio."""
    return tuple(
        min(LEVELS[key], key=lambda level, x=params[key]: abs(np.log(level / x))) if key in LEVELS else params[key]
        for key in sweep.space
    )


def ends_of(table: Table) -> dict[tuple, np.ndarray]:
    """Configuration -> mean over the seeds of what its last validation showed: accuracy and minus the rate."""
    ends = {key: np.array([[c[-1].accuracy, -c[-1].rate] for c in curves]) for key, curves in table.items()}
    return {key: values.mean(0) for key, values in ends.items()}


def worst(sweep: SweepConfig) -> np.ndarray:
    """The hypervolume's reference point, turned so that more is better: a guess, everything active."""
    return np.array([sweep.reference["val/accuracy"], -1.0])


def best_possible(sweep: SweepConfig, table: Table) -> float:
    """The hypervolume of the whole table."""
    values = np.array(list(ends_of(table).values()))
    return hypervolume(values[non_dominated(values)], worst(sweep))


@dataclass
class Replay:
    """One search: `seed` decides what the sampler proposes and which seed of the table a configuration shows first."""

    sweep: SweepConfig
    table: Table
    seed: int
    sampler: optuna.samplers.BaseSampler | None = None
    """None: the sweep's own, as its workers use it."""
    workers: int = 2
    measured: dict[int, dict[int, list[float]]] = field(default_factory=dict)
    stopped: dict[int, Run] = field(default_factory=dict)
    shown: dict[tuple, int] = field(default_factory=dict)

    def __post_init__(self):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            directions=list(self.sweep.objectives.values()), sampler=self.sampler or TrialSampler(self.sweep, {})
        )
        self.rule = make_rule(self.sweep.stopping, self.sweep.maximize) if self.sweep.stopping else None
        steps = [point.updates for point in next(iter(self.table.values()))[0]]
        self.rungs = self.rule.steps(steps[-1], steps[0]) if self.rule else []
        self.distributions = self.sweep.distributions()
        self.draw = np.random.default_rng([self.seed, 77])

    def run(self, budget: int) -> list[Moment]:
        """What was found when, until `budget` updates are spent."""
        means, reference = ends_of(self.table), worst(self.sweep)
        found: list[Moment] = []
        front = np.empty((0, len(reference)))
        first = [self.next_run() for _ in range(self.workers)]
        spent, clock = 0, [(self.segment(run)[1], worker, run) for worker, run in enumerate(first)]
        heapq.heapify(clock)
        while spent < budget:
            now, worker, run = heapq.heappop(clock)
            spent += self.segment(run)[0]
            run.done += 1
            if run.done == len(run.curve):
                self.study.tell(run.trial, self.values(run))
                front = np.concatenate([front, means[run.key][None]])
                front = front[non_dominated(front)]
                found.append(Moment(spent, hypervolume(front, reference)))
                run = self.next_run()
            elif self.stops(run):
                self.study.tell(run.trial, state=TrialState.PRUNED)
                self.stopped[run.number] = run
                run = self.next_run()
            heapq.heappush(clock, (now + self.segment(run)[1], worker, run))
        return found

    def next_run(self) -> Run:
        """A stopped candidate that may go on, else a new one."""
        if self.rule is not None:
            at = {number: run.curve[run.done - 1].updates for number, run in self.stopped.items()}
            for number in self.rule.goes_on(self.measured, at)[:1]:
                run = self.stopped.pop(number)
                return replace(run, trial=self.successor(run.trial, number))
        trial = self.study.ask(self.distributions)
        key = configuration(self.sweep, trial.params)
        if key not in self.shown:
            self.shown[key] = int(self.draw.integers(len(self.table[key])))
        self.shown[key] += 1  # proposed again, it shows its other seed
        return Run(trial, trial.number, key, self.table[key][self.shown[key] % len(self.table[key])])

    def successor(self, stopped: optuna.Trial, number: int) -> optuna.Trial:
        """As `sweep.promotion` makes it: an ended trial of Optuna's is never changed."""
        state, attributes = TrialState.RUNNING, {CONTINUES: number}
        again = create_trial(
            state=state, params=stopped.params, distributions=stopped.distributions, user_attrs=attributes
        )
        return optuna.Trial(self.study, self.study._storage.create_new_trial(self.study._study_id, again))

    def segment(self, run: Run) -> tuple[int, float]:
        """Updates and seconds until the run's next validation."""
        before = run.curve[run.done - 1] if run.done else Point(0, 0, 0, 0)
        after = run.curve[run.done]
        return after.updates - before.updates, after.seconds - before.seconds

    def values(self, run: Run) -> list[float]:
        point = run.curve[run.done - 1]
        return [point.accuracy, point.rate]

    def stops(self, run: Run) -> bool:
        step = run.curve[run.done - 1].updates
        if self.rule is None or step not in self.rungs:
            return False
        here = self.measured.setdefault(step, {})
        others: Sequence[list[float]] = list(here.values())
        here[run.number] = self.values(run)
        return self.rule.stops(self.values(run), others)
