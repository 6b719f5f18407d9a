"""What the stages of a sweep run, and the files that tell what they found."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from seqboat_lab.atomic import to_json, write_text
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.confirm import confirm_seeds, search_seeds
from seqboat_lab.sweep.definition.constraints import is_broken
from seqboat_lab.sweep.stages.noise import mean, near_front, standard_errors
from seqboat_lab.sweep.stages.side import Job, SideStudy
from seqboat_lab.sweep.study.study import BY_SEED, candidates

REFERENCES, CONFIRM = "references", "confirm"


class Stages:
    """The studies beside the search, and what they are to run."""

    def __init__(self, search: optuna.Study, sweep: SweepConfig):
        self.search, self.sweep = search, sweep
        self.first = sweep.base_with({}).seed
        self.references = SideStudy(search, sweep, REFERENCES) if sweep.references else None
        self.confirm = SideStudy(search, sweep, CONFIRM) if sweep.confirm else None
        self.told = {key for key, *_ in self._ended()}

    @property
    def sides(self) -> list[SideStudy]:
        return [side for side in (self.references, self.confirm) if side]

    def reference_jobs(self) -> list[Job]:
        return self._jobs(search_seeds(self.first, self.sweep.seeds))

    def confirm_jobs(self) -> list[Job]:
        """Each seed for all before the next one, so that what an interruption leaves can be compared."""
        assert self.sweep.confirm is not None
        split = self.sweep.confirm.split
        found, chosen = candidates(self.search), self._confirmed()
        jobs: list[Job] = []
        for seed in confirm_seeds(self.first, self.sweep.confirm.seeds):
            jobs += self._jobs([seed], split)
            jobs += [Job(f"{n:04d}", seed, dict(found[n].params), n, split) for n in chosen]
        return jobs

    def _jobs(self, seeds: Sequence[int], split: str | None = None) -> list[Job]:
        named = self.sweep.references.items()
        return [Job(name, seed, dict(values), None, split) for seed in seeds for name, values in named]

    def _confirmed(self) -> list[int]:
        """Numbers of the candidates to confirm."""
        assert self.sweep.confirm is not None
        ended = {n: t for n, t in candidates(self.search).items() if t.state == TrialState.COMPLETE}
        complete = {n: t for n, t in ended.items() if not is_broken(t.constraints)}
        if self.sweep.confirm.of == "all":
            return list(complete)
        seeds = {n: t.user_attrs.get(BY_SEED, [t.values]) for n, t in complete.items()}
        return near_front(seeds, self.sweep.maximize)

    def unfinished(self) -> int:
        """Runs of all stages that are still to come or under way."""
        left = self.references.unfinished(self.reference_jobs()) if self.references else 0
        return left + (self.confirm.unfinished(self.confirm_jobs()) if self.confirm else 0)

    def tell(self) -> None:
        """Prints a line for each run that has ended since the last call."""
        for key, name, outcome in self._ended():
            if key not in self.told:
                self.told.add(key)
                print(f"{name} -> {outcome}", flush=True)

    def summary(self) -> list[str]:
        """A line for each reference and each confirmed candidate: means, with standard errors where there are some."""
        lines = []
        for side, jobs in self._sides():
            grouped: dict[str, list[list[float]]] = {}
            for job, _, values in side.results(jobs):
                name = job.name if job.trial is None else f"trial {job.trial}"
                grouped.setdefault(name, []).append(list(values.values()))
            for name, seeds in grouped.items():
                errors = [f" (se {e:.2g})" for e in standard_errors(seeds) or ()] or [""] * len(self.sweep.metrics)
                told = zip(self.sweep.metrics, mean(seeds), errors, strict=True)
                shown = ", ".join(f"{metric} {m:.4g}{error}" for metric, m, error in told)
                lines.append(f"{side.stage + ':':12} {name}: {shown}, {len(seeds)} runs")
            lines += [f"{side.stage + ':':12} {job.name}, seed {job.seed}, failed: {error}"
                      for job, error in side.failures(jobs)]  # fmt: skip
        return lines

    def _ended(self) -> list[tuple[str, str, str]]:
        """Key of each run that ended, which it was, and what came of it."""
        found: list[tuple[str, str, str]] = []
        if not any(side.study.get_trials(deepcopy=False) for side in self.sides):  # which to confirm takes its time
            return found
        for side, jobs in self._sides():
            for job, _, values in side.results(jobs):
                reached = "  ".join(f"{metric} {value:.4g}" for metric, value in values.items())
                found.append((job.key, f"{side.stage}: {job.name}, seed {job.seed}", reached))
            for job, error in side.failures(jobs):
                found.append((job.key, f"{side.stage}: {job.name}, seed {job.seed}", f"failed: {error}"))
        return found

    def _sides(self) -> list[tuple[SideStudy, list[Job]]]:
        return [
            *([(self.references, self.reference_jobs())] if self.references else []),
            *([(self.confirm, self.confirm_jobs())] if self.confirm else []),
        ]

    def write(self) -> None:
        """`references.json` and `confirm.json`, as far as their runs have come."""
        if self.references:
            found = self.references.results(self.reference_jobs())
            listed = [{"name": j.name, "run": run, "seed": j.seed, "values": values} for j, run, values in found]
            self._write(REFERENCES, listed)
        if self.confirm and (found := self.confirm.results(self.confirm_jobs())):
            runs, references = [], []
            for job, run, values in found:
                told = {"seed": job.seed, "run": run, "values": values}
                if job.trial is None:
                    references.append({"name": job.name, **told})
                else:
                    runs.append({"trial": job.trial, **told})
            told = {"split": found[0][0].split, "objectives": self.sweep.objectives, "runs": runs}
            self._write(CONFIRM, told | {"references": references})

    def _write(self, name: str, contents: Any) -> None:
        write_text(self.sweep.directory / f"{name}.json", to_json(contents, indent=2) + "\n")
