"""Figures of a sweep; each function takes rows as trials.csv has them and returns a matplotlib figure."""

from seqboat_lab.analysis.figures.fields import importance_figure, parallel_figure, slices_figure
from seqboat_lab.analysis.figures.pareto import pareto_figure
from seqboat_lab.analysis.figures.progress import hypervolume_figure, layers_figure, timeline_figure
from seqboat_lab.analysis.figures.seeds import confirmed_figure
from seqboat_lab.analysis.figures.text import label, plain, short

__all__ = [
    "confirmed_figure",
    "hypervolume_figure",
    "importance_figure",
    "label",
    "layers_figure",
    "parallel_figure",
    "pareto_figure",
    "plain",
    "short",
    "slices_figure",
    "timeline_figure",
]
