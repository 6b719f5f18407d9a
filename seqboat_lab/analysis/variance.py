"""What makes a metric vary over runs: shares of its variance by task, hyperparameters and seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqboat_lab.analysis.statistics import LEVEL
from seqboat_lab.config.checks import ConfigError

if TYPE_CHECKING:
    import pandas as pd

INTERACTIONS, SEEDS = "interactions", "seeds"
REST = f"{INTERACTIONS} and {SEEDS}"


def variance_explained(
    runs: pd.DataFrame, metric: str, factors: Sequence[str], resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Eta squared of each factor's main effect (Fisher 1925: its sum of squares by the total one), one row a factor and
    the rest; the column `share` sums to 1.

    Shares are of sequential sums of squares, in the order of `factors`. In a balanced grid (every combination of
    settings with as many runs) the order does not matter, and they are the first-order Sobol indices of the grid. Where
    some runs are missing, a factor also gets what it has in common with those behind it; `unique` is what is left of
    its share when it comes last (type II), so that a difference of the two tells how much is not to be told apart.

    Rows: `factor`, `levels`, `share`, `unique`, `low` and `high` (95 % interval), `null_95`. Behind the factors
    come `interactions` (what settings explain together, beyond the sum of their main effects) and `seeds` (the spread
    of runs of equal settings), or one row `interactions and seeds` where no settings have several runs.

    The interval is a basic bootstrap (Davison and Hinkley 1997, section 5.2): runs are drawn again within those of
    equal settings, deviations scaled as in `statistics.resampled_means`. It is about other seeds, not other settings,
    and nan without several runs. `null_95`: the share that a factor of so many levels exceeds in 5 % of random
    assignments of the metric to runs; shares below it say nothing.

    Args:
        runs: one row a run, such as `tables.runs` gives; every column but `metric` that differs between runs and is not
            in `factors`, such as the seed, counts as a repetition. To see what a shared seed explains, name it last.

    Raises `ConfigError` for missing columns, and for a metric that is not finite or the same in all runs.
    """
    import pandas

    if missing := [name for name in (metric, *factors) if name not in runs.columns]:
        raise ConfigError("variance_explained", f"the table has no column {', '.join(missing)}")
    y = runs[metric].to_numpy(float)
    if not np.isfinite(y).all() or len(y) < 2 or np.ptp(y) == 0:
        raise ConfigError("variance_explained", f"{metric} is the same in all runs, or not finite in some; "
                          "expected two or more finite values")  # fmt: skip
    codes = [pandas.factorize(runs[name], use_na_sentinel=False)[0] for name in factors]
    cells = (
        np.unique(np.stack(codes, 1), axis=0, return_inverse=True)[1].reshape(-1) if codes else np.zeros(len(y), int)
    )
    repeated = len(np.unique(cells)) < len(y)
    blocks = [np.eye(code.max() + 1)[code] for code in codes]
    bases = _bases([*blocks, *([np.eye(cells.max() + 1)[cells]] if repeated else [])], len(y))
    found = _shares(bases, y[:, None])[:, 0]
    generator = np.random.default_rng(seed)
    null = _shares(bases, np.stack([generator.permutation(y) for _ in range(resamples)], 1))
    low = high = np.full(len(found), np.nan)
    if repeated:
        drawn = _shares(bases, _drawn_again(y, cells, resamples, generator))
        low, high = (2 * found - np.quantile(drawn, (1 + sign * LEVEL) / 2, axis=1) for sign in (1, -1))
    unique = [
        _shares(_bases([*(b for m, b in enumerate(blocks) if m != n), blocks[n]], len(y)), y[:, None])[-2, 0]
        for n in range(len(blocks))
    ]
    rest = [INTERACTIONS, SEEDS] if repeated else [REST]
    return pandas.DataFrame({
        "factor": [*factors, *rest],
        "levels": [*(code.max() + 1 for code in codes), *[np.nan] * len(rest)],
        "share": found,
        "unique": [*unique, *[np.nan] * len(rest)],
        "low": np.clip(low, 0, 1),
        "high": np.clip(high, 0, 1),
        "null_95": [*np.quantile(null, 0.95, axis=1)[: len(factors)], *[np.nan] * len(rest)],
    })  # fmt: skip


def _bases(blocks: Sequence[np.ndarray], n: int) -> list[np.ndarray]:
    """Orthonormal bases (n, rank) of what each block of columns (n, k) adds to the mean and the blocks before it."""
    known, bases = np.full((n, 1), n**-0.5), []
    for block in blocks:
        left = block - known @ (known.T @ block)
        u, size, _ = np.linalg.svd(left, full_matrices=False)
        bases.append(u[:, size > 1e-9 * np.sqrt(n)])
        known = np.concatenate([known, bases[-1]], axis=1)
    return bases


def _shares(bases: Sequence[np.ndarray], y: np.ndarray) -> np.ndarray:
    """y (n, r) -> (blocks + 1, r): the share of y's sum of squares around its mean in each basis, and in none."""
    y = y - y.mean(0)
    total = (y**2).sum(0)
    parts = np.stack([((basis.T @ y) ** 2).sum(0) for basis in bases]) if bases else np.zeros((0, y.shape[1]))
    parts = np.concatenate([parts, np.maximum(total - parts.sum(0), 0)[None]])
    return parts / np.where(total > 0, total, 1)


def _drawn_again(y: np.ndarray, cells: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(n, resamples): runs drawn with replacement within their cell."""
    drawn = np.repeat(y[:, None], resamples, axis=1)
    for cell in np.unique(cells):
        at = np.flatnonzero(cells == cell)
        k, mean = len(at), y[at].mean()
        again = y[at][generator.integers(k, size=(k, resamples))]
        drawn[at] = mean + (again - mean) * np.sqrt(k / max(k - 1, 1))
    return drawn
