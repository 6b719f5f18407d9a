"""Which trials are drawn alike: one colour a value of the field that colours a figure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from seqboat_lab.analysis.figures.text import number, plain, short
from seqboat_lab.analysis.pareto import is_number

Row = Mapping[str, Any]

DISTINCT = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#8C564B",
    "#B8A800",
    "#6A3D9A",
    "#17BECF",
    "#7F7F7F",
)
"""Colours without an order, told apart by the colour-blind, too (the first five: Okabe and Ito). Fronts are red."""
MOST_COLOURS = len(DISTINCT)
FEW_NUMBERS = 5  # of a range that is not of whole numbers: more of them get a scale, instead of a legend
MOST_NAMES = 24  # lines of a legend
WIDE = 16  # from so many times the smallest value on, positive numbers are shown on a logarithmic scale


class Shade(NamedTuple):
    """Trials drawn alike."""

    name: str | None
    rows: list[Row]
    style: dict[str, Any]


def is_ordered(values: Sequence[Any]) -> bool:
    """Are these numbers, and not truths or names?"""
    return bool(values) and all(is_number(v) and not isinstance(v, bool) for v in values)


def is_wide(values: Sequence[Any]) -> bool:
    """Do these numbers belong on a logarithmic scale?"""
    low, high = min(map(float, values)), max(map(float, values))
    return low > 0 and high / low >= WIDE and math.isfinite(high / low)


def scale(values: Sequence[Any]) -> ScalarMappable:
    """A colour map for numbers."""
    low, high = min(map(float, values)), max(map(float, values))
    return ScalarMappable((LogNorm if is_wide(values) else Normalize)(low, high), plt.colormaps["viridis"])


def shades(complete: Sequence[Row], colour_by: str | None) -> tuple[list[Shade], ScalarMappable | None]:
    """Groups of trials by the value of a field, and the colour scale if it has too many numbers for a legend.

    Numbers take their colours from a map, in their order; names, truths and sections distinct ones.
    """
    if colour_by is None:
        return [Shade("complete", list(complete), {"color": DISTINCT[0]})] if complete else [], None
    values: dict[tuple[str, str], Any] = {_key(row.get(colour_by)): row.get(colour_by) for row in complete}
    ordered = is_ordered(list(values.values()))
    between = any(float(v) != int(v) for v in values.values()) if ordered else False
    if ordered and len(values) > (FEW_NUMBERS if between else MOST_COLOURS):
        colours = scale(list(values.values()))
        numbers = np.array([float(row[colour_by]) for row in complete])
        return [Shade("complete", list(complete), {"c": colours.to_rgba(numbers)})], colours
    keys = sorted(values, key=lambda key: (float(values[key]) if ordered else 0.0, key))
    palette = plt.colormaps["viridis"].resampled(max(len(values), 2))
    many = plt.colormaps["turbo"].resampled(max(len(values), 2))
    found = []
    for n, key in enumerate(keys):
        name = plain(f"{short(colour_by)} {number(values[key])}") if n < MOST_NAMES else None
        name = f"and {len(keys) - MOST_NAMES} more" if n == MOST_NAMES else name
        group = [row for row in complete if _key(row.get(colour_by)) == key]
        colour = palette(n) if ordered else DISTINCT[n] if len(keys) <= MOST_COLOURS else many(n)
        found.append(Shade(name, group, {"color": colour}))
    return found, None


def _key(value: Any) -> tuple[str, str]:
    return str(type(value)), str(value)
