"""Figures as SVG inside a page: each drawn trial is a link to its run, and carries its number."""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

ANCHOR = re.compile(r'<a xlink:href="trial:(-?\d+|None)"[^>]*>')
NAMES = re.compile(r'(\bid="|url\(#|xlink:href="#|aria-labelledby=")')
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "seqboat"}  # text stays text: it is found, read aloud, and small
SIZE = re.compile(r' (?:width|height)="[^"]*"')
LARGEST = 108  # pixels an inch: a figure shrinks with the page, and grows no further than this
LOOSE = re.compile(r"<(a|/a)\b[^>]*>")


def svg(figure: Figure) -> str:
    """The figure as a file of its own, without links."""
    return LOOSE.sub("", _drawn(figure))


def inline_svg(name: str, figure: Figure, links: Mapping[str, str]) -> str:
    """The figure for an HTML page.

    name: unique on the page; ids inside of it begin with it. links: number of a trial -> address of its run.
    """

    def anchor(match: re.Match) -> str:
        number = match[1]
        address = f' href="{links[number]}"' if number in links else ""
        return f'<a class="point" data-trial="{number}"{address}>'

    text = _drawn(figure)
    text = NAMES.sub(rf"\1{name}-", text[text.index("<svg") :])
    attributes, rest = text.split(">", 1)
    attributes = SIZE.sub("", attributes) + f' style="max-width:{figure.get_figwidth() * LARGEST:.0f}px"'
    text = f"{attributes}>{rest}"
    return ANCHOR.sub(anchor, text)


def _drawn(figure: Figure) -> str:
    file = io.StringIO()
    with plt.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
