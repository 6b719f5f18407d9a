"""docs/answers/<question>.md: what a question's notebook shows, run on the results that are kept in docs/."""

import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

from seqboat_lab.analysis.answers import read_answer

ROOT = Path(__file__).parents[2]
NOTEBOOKS, PAGES = ROOT / "notebooks", ROOT / "docs" / "answers"
NOTE = "<!-- written by `make answer-pages` from notebooks/{name}.ipynb: do not edit -->\n\n"


def page_of(notebook: Path, name: str) -> tuple[str, dict[str, bytes]]:
    """A question's page, and its pictures by file name. Code is left out; what cells print and show stays."""
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    exporter = MarkdownExporter(exclude_input=True, exclude_output_prompt=True)
    resources = {"unique_key": name, "output_files_dir": name}
    text, found = exporter.from_notebook_node(content, resources=resources)
    text = re.sub(r"!\[png\]\((?P<file>[^)]*)\)", r"![Figure](\g<file>)", text)
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{3,}", "\n\n", text)).strip()
    return NOTE.format(name=name) + text + "\n", {str(file): data for file, data in found["outputs"].items()}


def write_page(name: str) -> None:
    """Writes a question's page and pictures into docs/answers. Raises `ConfigError` if its results are missing."""
    os.environ["SEQBOAT_RESULTS"] = str(ROOT)
    read_answer(name)
    text, pictures = page_of(NOTEBOOKS / f"{name}.ipynb", name)
    for file, data in pictures.items():
        (PAGES / file).parent.mkdir(exist_ok=True)
        (PAGES / file).write_bytes(data)
    (PAGES / f"{name}.md").write_text(text)
    print(f"wrote {PAGES / name}.md", flush=True)
