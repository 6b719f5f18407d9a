"""Every question's page is what its notebook shows of the results that are kept, and the overview what the pages say."""

from pathlib import Path

import pytest

from benchmarks.answers.index import FOUND, QUESTIONS, index
from benchmarks.answers.pages import NOTEBOOKS, ROOT, page_of

DOCS = ROOT / "docs"
MOST_BYTES = 2_000_000
KEPT = [name for name in QUESTIONS if (DOCS / "answers" / name / "made.json").is_file()]


def test_every_question_has_a_sweep_a_notebook_results_and_a_page():
    for name in QUESTIONS:
        assert (ROOT / "sweeps" / "answers" / f"{name}.yaml").is_file()
        assert (NOTEBOOKS / f"{name}.ipynb").is_file()
    assert list(QUESTIONS) == KEPT
    files = [path for path in (DOCS / "answers").rglob("*") if path.suffix in (".gz", ".json")]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


@pytest.mark.parametrize("name", KEPT)
def test_a_page_is_what_its_notebook_shows(name, monkeypatch, tmp_path):
    monkeypatch.setenv("SEQBOAT_RESULTS", str(ROOT))
    monkeypatch.setenv("SEQBOAT_FIGURES", str(tmp_path))
    text, pictures = page_of(NOTEBOOKS / f"{name}.ipynb", name)
    assert text == (DOCS / "answers" / f"{name}.md").read_text()
    assert FOUND in text
    assert pictures
    assert all((DOCS / "answers" / file).is_file() for file in pictures)
    assert len(list(tmp_path.glob("*.pdf"))) == len(pictures)


def test_the_overview_is_what_the_pages_say():
    assert (DOCS / "results.md").read_text() == index()
    assert all((DOCS / Path(f"answers/{name}.md")).is_file() for name in KEPT)
