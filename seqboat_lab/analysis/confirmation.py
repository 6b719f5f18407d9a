"""What ran again after a search: candidates with seeds that it never saw, and reference points."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqboat_lab.analysis.pareto import is_number, non_dominated, turn
from seqboat_lab.analysis.statistics import Estimate, estimate, front_probabilities, resampled_means
from seqboat_lab.analysis.sweeps import find_run
from seqboat_lab.config.checks import ConfigError


class Candidate(NamedTuple):
    """A configuration and its runs."""

    name: str
    trial: int | None
    """The trial of the search; None for a reference point."""
    values: np.ndarray
    """(runs, objectives)"""
    seeds: list[Any]
    directories: list[str]
    validation: np.ndarray | None = None
    """(runs, objectives) on the split of the search, where every run is there and has them."""

    def estimates(self) -> list[Estimate]:
        """Of each objective: mean and 95 % interval."""
        return [estimate(column) for column in self.values.T]


class Confirmation(NamedTuple):
    """Candidates of one search, measured on one split."""

    split: str
    candidates: list[Candidate]
    references: list[Candidate]

    def means(self) -> np.ndarray:
        """(candidates, objectives)"""
        return np.array([c.values.mean(0) for c in self.candidates])

    def front(self, objectives: Mapping[str, str]) -> list[Candidate]:
        """The candidates whose means no other's dominate, best in the first objective first."""
        if not self.candidates:
            return []
        values = turn(self.means(), objectives)
        kept = [(v[0], c) for v, c, keep in zip(values, self.candidates, non_dominated(values), strict=True) if keep]
        return [candidate for _, candidate in sorted(kept, key=lambda pair: -pair[0])]

    def samples(self, objectives: Mapping[str, str]) -> np.ndarray | None:
        """Resampled means, more is better, of the candidates with two runs or more; None if there are no two such."""
        runs = [turn(c.values, objectives) for c in self.candidates if len(c.values) > 1]
        return resampled_means(runs) if len(runs) > 1 else None

    def probabilities(self, objectives: Mapping[str, str]) -> dict[str, float]:
        """Candidate -> how probably it is on the front, of those with two runs or more."""
        samples = self.samples(objectives)
        names = [c.name for c in self.candidates if len(c.values) > 1]
        return {} if samples is None else dict(zip(names, front_probabilities(samples).tolist(), strict=True))


def optimism(
    candidates: Iterable[Candidate], rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]
) -> dict[str, list[float]]:
    """The winner's curse: candidate -> per objective, by how much its value in the search was better than its mean
    with new seeds (negative: worse). On the search's split; where that is not known, the way to the other split is
    part of it."""
    searched = {row["number"]: row for row in rows}
    found = {}
    for candidate in candidates:
        row = searched.get(candidate.trial)
        if row is not None and all(is_number(row.get(m)) for m in objectives):
            again = candidate.values if candidate.validation is None else candidate.validation
            change = np.array([[float(row[m]) for m in objectives]]) - again.mean(0)
            found[candidate.name] = turn(change, objectives)[0].tolist()
    return found


def read_confirmation(directory: Path, objectives: Mapping[str, str]) -> Confirmation | None:
    """What confirm.json of a sweep holds; None if it was not confirmed. Raises `ConfigError` for a damaged one."""
    path = directory / "confirm.json"
    content = _read(path)
    if content is None:
        return None
    runs = content.get("runs") if isinstance(content, dict) else None
    beside = content.get("references", []) if isinstance(content, dict) else None
    if not isinstance(runs, list) or not isinstance(beside, list) or not isinstance(content.get("split"), str):
        raise ConfigError(str(path), "has no split and list of runs; it is no confirm.json that a sweep left")
    candidates = [c for c in _grouped(path, runs, objectives) if c.trial is not None]
    references = [c for c in _grouped(path, beside, objectives) if c.trial is None]
    return Confirmation(content["split"], sorted(candidates, key=lambda c: c.trial or 0), references)


def read_references(directory: Path, objectives: Mapping[str, str]) -> list[Candidate]:
    """Reference points as the search measured them (references.json). Raises `ConfigError` for a damaged file."""
    path = directory / "references.json"
    content = _read(path)
    if content is None:
        return []
    if not isinstance(content, list):
        raise ConfigError(str(path), "is no list of reference points that a sweep left")
    return _grouped(path, content, objectives)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()) if path.exists() else None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(str(path), f"cannot be read ({' '.join(str(error).split())})") from None


def _validation(directory: Path, runs: Sequence[Any], objectives: Mapping[str, str]) -> np.ndarray | None:
    """What the runs' summary.json say of the objectives, on the validation split."""
    rows = []
    for run in runs:
        found = find_run(directory, run)
        if found is None:
            return None
        try:
            metrics = json.loads((found / "summary.json").read_bytes())["metrics"]
            rows.append([float(metrics[m]) for m in objectives])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
    return np.array(rows) if np.isfinite(rows).all() else None


def _grouped(path: Path, runs: Sequence[Any], objectives: Mapping[str, str]) -> list[Candidate]:
    """Runs of the same trial or reference together; those without a finite value of every objective are left out."""
    groups: dict[tuple[str, int | None], list[dict]] = {}
    for run in runs:
        known = run if isinstance(run, dict) else {}
        values, trial = known.get("values"), known.get("trial")
        trial = trial if isinstance(trial, int) else None
        name = known.get("name") if trial is None else f"trial {trial}"
        if not isinstance(values, dict) or not isinstance(name, str):
            raise ConfigError(str(path), "holds a run without a trial (or a name) and values; was it edited?")
        if all(is_number(values.get(m)) for m in objectives):
            groups.setdefault((name, trial), []).append(run)
    return [
        Candidate(
            name, trial, np.array([[float(r["values"][m]) for m in objectives] for r in found]),
            [r.get("seed") for r in found], [str(r.get("run", "")) for r in found],
            _validation(path.parent, [r.get("run", "") for r in found], objectives),
        )
        for (name, trial), found in groups.items()
    ]  # fmt: skip
