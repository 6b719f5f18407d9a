"""What decisions tell of the kind of token: mutual information in bits, beside what chance alone would show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqboat_lab.config.checks import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy in bits of the distributions that counts along the last axis, (..., k), estimate: (...), 0 log 0 = 0."""
    counts = np.asarray(counts, dtype=float)
    p = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    return -(p * np.log2(np.where(p > 0, p, 1))).sum(-1) + 0.0  # no -0


def mutual_information(counts: np.ndarray) -> np.ndarray:
    """I(X; Y) = H(X) + H(Y) - H(X, Y) in bits of tables of counts (..., X, Y): (...), the plug-in estimate (Cover and
    Thomas 2006, section 2.4), which n observations of independent X and Y leave above 0 by some
    (X - 1)(Y - 1) / (2 n ln 2) bits (Miller 1955)."""
    counts = np.asarray(counts, dtype=float)
    joint = entropy(counts.reshape(*counts.shape[:-2], -1))
    return np.maximum(entropy(counts.sum(-1)) + entropy(counts.sum(-2)) - joint, 0)


def decision_information(table: pd.DataFrame, resamples: int = 200, seed: int = 0) -> pd.DataFrame:
    """How much a token's class tells of its decision, one row a layer:

    - `rate`, `tokens`; `entropy`: H(active) in bits, the most that there is to tell;
    - `information`: I(active; class) in bits; `share`: of `entropy` (nan where all decisions are the same);
    - `null`, `null_95`: mean and 95 % quantile of the same with the decisions of each sequence shuffled among its
      tokens `resamples` times: what so few tokens show where decisions know nothing of classes, but may be more
      frequent in some sequences than in others, which the null keeps;
    - `corrected`: `information` - `null`, around 0 for such decisions; `corrected_share`: of `entropy`;
    - `p`: how often the null is as high, (1 + hits) / (1 + resamples) (Phipson and Smyth 2010).

    Args:
        table: of `tables.activations` or of one step of `tables.decisions_over_time`: `sequence`, `layer`, `class`,
            `active`; tokens without a class are left out.

    Raises `ConfigError` for a table without these columns or without classes.
    """
    import pandas

    if missing := {"sequence", "layer", "class", "active"} - set(table.columns):
        raise ConfigError("decision_information", f"the table lacks {', '.join(sorted(missing))}; "
                          "expected one like that of tables.activations")  # fmt: skip
    table = table[table["class"].notna()]
    if table.empty:
        raise ConfigError(
            "decision_information", "no token has a class; expected a task that tells kinds of token apart"
        )
    if "position" in table and table.duplicated(["sequence", "layer", "position"]).any():
        raise ConfigError("decision_information", "a token has several decisions; expected those of one step and run")
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for layer, group in table.groupby("layer"):
        kinds, sequence = (pandas.factorize(group[name])[0] for name in ("class", "sequence"))
        active = group["active"].to_numpy(bool)
        found = float(mutual_information(_counts(active, kinds)))
        null = np.array([
            float(mutual_information(_counts(shuffled_within(active, sequence, generator), kinds)))
            for _ in range(resamples)
        ])  # fmt: skip
        most = float(entropy(np.bincount(active, minlength=2)))
        share = np.nan if most == 0 else 1 / most
        rows.append({
            "layer": layer, "tokens": len(active), "rate": active.mean(), "entropy": most,
            "information": found, "share": found * share, "null": null.mean(), "null_95": np.quantile(null, 0.95),
            "corrected": found - null.mean(), "corrected_share": (found - null.mean()) * share,
            "p": (1 + (null >= found - 1e-12).sum()) / (1 + resamples),
        })  # fmt: skip
    return pandas.DataFrame(rows)


def shuffled_within(values: np.ndarray, group: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """values (n,) in random order within each group (n,) of numbers."""
    to = np.argsort(group, kind="stable")
    take = np.lexsort((generator.random(len(values)), group))
    shuffled = np.empty_like(values)
    shuffled[to] = values[take]
    return shuffled


def _counts(active: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """(2, classes)"""
    classes = kinds.max() + 1
    return np.bincount(active * classes + kinds, minlength=2 * classes).reshape(2, classes)
