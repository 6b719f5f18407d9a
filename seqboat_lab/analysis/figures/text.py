"""What figures and tables say: names of metrics and fields, and a user's text letter by letter."""

import math
from typing import Any

LABELS = {
    "val/accuracy": "validation accuracy",
    "val/activation_rate": "activation rate (share of tokens that use attention)",
    "val/bpc": "validation bits per byte",
    "cost/flops_per_token": "forward FLOPs per token",
}
SIGN = "±"
LONGEST = 60  # characters of a text in a figure


def label(metric: str, split: str = "val") -> str:
    """What an axis says of a metric, measured on `split` whatever its name says."""
    text = LABELS.get(metric, metric)
    if split != "val":
        text = text.replace("validation", split) if metric in LABELS else text.replace("val/", f"{split}/", 1)
    return plain(text)


def brief(metric: str, split: str = "val") -> str:
    """The same without what stands in parentheses, for where there is little room."""
    return label(metric, split).partition(" (")[0]


def short(key: str | None) -> str:
    """`model.configurator.temperature_scale` -> `temperature_scale`."""
    return (key or "").rsplit(".", 1)[-1] or (key or "")


def plain(value: Any) -> str:
    """A user's text as matplotlib shows it letter by letter: `$` starts no formula, and one line is enough."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return text.replace("$", r"\$")


def number(value: Any) -> str:
    """A cell: four digits of a float, all of a large one's whole part, everything else as it is."""
    if value is None or value == "":
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def with_error(mean: float, half: float) -> str:
    """A mean and its interval to the interval's second digit, as `0.471 ± 0.012`; without one, four digits."""
    if not (math.isfinite(half) and half > 0):
        return number(mean) + (f" {SIGN} 0" if half == 0 else "")
    digits = max(0, 1 - math.floor(math.log10(half)))
    return f"{mean:,.{digits}f} {SIGN} {half:,.{digits}f}" if digits < 12 else f"{mean:.4g} {SIGN} {half:.2g}"


def link(row: Any) -> str:
    """What a drawn trial carries as its address: a page makes a link to its run of it, and shows its values."""
    return f"trial:{row['number']}"
