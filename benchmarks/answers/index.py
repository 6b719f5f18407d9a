"""docs/results.md: every page of results, with the sentences that each question's page ends in."""

import re

from benchmarks.answers.pages import PAGES
from seqboat_lab.analysis.markdown import markdown_table

QUESTIONS = {
    "learning": "Is the configurator learning?",
    "memory": "How large a working memory does Pathfinder need?",
    "temperature": "Tempered or Gumbel: what drives the decisions?",
    "kernels": "Which SSM kernel?",
    "scaling": "How do quality and activation scale with size?",
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

**How to read them.** *Active* is the share of tokens that SeqBoat (Ren et al. 2023, arXiv 2306.11197) sends through
attention. It depends on width, learning rate, updates, and on the price or the dial of the recipe as much as on the
task, so rates of one task on different pages are of different models, and none of them is what the task needs. How
much it needs is a front: quality at each rate, from `never` to `always`, as in [results_recall.md](results_recall.md).
*text* is the next byte under learning, scaling and modalities, and a class of documents under temperature and kernels.
*Told apart* means p < 0.05 of paired differences over shared seeds, corrected for the number of comparisons (Holm);
± and brackets are 95 % intervals, not corrected. With three seeds, much that is there is not told apart.
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
