"""docs/results.md: every page of results, with the sentences that each question's page ends in."""

import re

from benchmarks.answers.pages import PAGES
from seqboat_lab.analysis.markdown import markdown_table

QUESTIONS = {
    "learning": "Is the configurator learning?",
    "memory": "How large a working memory does Pathfinder need?",
    "temperature": "Tempered or Gumbel: what drives the decisions?",
    "kernels": "Which SSM kernel?",
    "scaling": "How do activation and span scale?",
    "modalities": "Memory and span by modality",
    "multimodal": "Beyond 100,000 tokens, across modalities",
    "web": "Production data: a web corpus",
}
FOUND = "## What was found"
HEAD = """<!-- written by `make answer-pages`: do not edit -->

# Results

All of them are CPU-sized and say so; each names its command, its machine, its seeds and its code. Nothing here is a
benchmark score.

## One command per question

`make answers` runs all of them, `make answer Q=memory` one. The same files with `scale=paper` are meant for GPUs
(`seqboat submit answers/memory task=32px scale=paper ...`, [cluster.md](cluster.md)).
"""
OTHERS = {
    "results_speed.md": "speed and memory of the layer, streaming, the framework's overhead (`make bench`)",
    "results_baselines.md": "SeqBoat beside ten other mixers at its FLOPs, and every mixer by length",
    "results_design_space.md": "SSM kernels and configurators on short ListOps expressions (before corrections)",
    "results_recall.md": "noisy recall: learned decisions at a given rate, beside `always`, `never`, `random`",
    "results_routing.md": "the same decisions on ListOps and text, where attention matters less",
    "results_search.md": "how fast sweeps find their front: samplers and stopping rules (`make bench-search`)",
    "results_images.md": "Pathfinder: the sanity CNN, SeqBoat, the generator (before corrections)",
    "results_text.md": "`text_tiny` beside n-gram models and xz",
}


def found_in(page: str) -> str:
    """The sentences that a question's page ends in, with its links and pictures as they are seen from docs/."""
    text = page.partition(FOUND)[2].partition("\n## ")[0].strip()
    return re.sub(r"\]\((?!http)([^)]+)\)", r"](answers/\1)", text)


def index() -> str:
    """The page, of the questions that have one."""
    parts = [HEAD]
    for name, title in QUESTIONS.items():
        path = PAGES / f"{name}.md"
        if path.is_file():
            parts.append(f"### [{title}](answers/{name}.md)\n\n{found_in(path.read_text())}\n")
    others = markdown_table(("", ""), [(f"[{name}]({name})", what) for name, what in OTHERS.items()])
    return "\n".join([*parts, "## Other results\n", others])


def write_index() -> None:
    path = PAGES.parent / "results.md"
    path.write_text(index())
    print(f"wrote {path}", flush=True)
