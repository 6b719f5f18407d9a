"""report.html: what is on it, what it links to, and how it behaves in a browser."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from seqboat_lab.cli import main
from tests.analysis.sweeps import CONFIRMED, ROWS, TWO, confirm, draw_only, make_sweep, trial

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """Ids, addresses and table rows of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.addresses, self.trials = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.ids += [known["id"]] if "id" in known else []
        self.addresses += [known[key] for key in ("href", "src", "xlink:href") if key in known]
        self.trials += [(tag, known["data-trial"])] if "data-trial" in known else []


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """A confirmed sweep with a reference point, and its report."""
    references = [{"name": "always", "run": "nowhere", "seed": 0, "values": dict(zip(TWO, (0.47, 1.0), strict=True))}]
    rows = [*ROWS, trial(10, 0.1, 0.9), trial(11, 0.15, 0.95), trial(12, 0.12, 0.85, kernel="s4d"), trial(13, 0.2, 0.8)]
    directory = make_sweep(tmp_path_factory.mktemp("sweeps") / "s", rows)
    (directory / "references.json").write_text(json.dumps(references))
    confirm(directory, CONFIRMED)
    assert main(["report", str(directory)]) == 0
    return directory


def test_it_holds_what_a_paper_needs(sweep):
    text = (sweep / "report.html").read_text()
    for figure in ("confirmed", "pareto", "importance", "slices", "parallel", "hypervolume", "timeline", "layers"):
        assert f'<figure id="figure-{figure}"><svg' in text
    for said in ("Confirmed front", "winner", "always", "seqboat_lab 9.9 (abc123), torch 2.8", "0.01 to 10, logarithmic",
                 "0.480 ± 0.025", "P(on the front)", "<td>seed</td><td>7</td>"):  # fmt: skip
        assert said in text
    assert "Nothing here has run with new seeds" not in text


def test_it_needs_no_network_and_its_links_lead_somewhere(sweep):
    page = Page((sweep / "report.html").read_text())
    outside = [a for a in page.addresses if not a.startswith(("#", "data:"))]
    assert outside
    assert not any(re.match(r"\w+:|//", address) for address in outside)
    assert all((sweep / address).is_dir() for address in outside)
    assert {f"trials/{n:04d}/" for n in range(14)} <= set(outside)
    assert "confirm/0001-1002/" in outside
    inside = [a.removeprefix("#") for a in page.addresses if a.startswith("#")]
    assert set(inside) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    drawn = {number for tag, number in page.trials if tag == "a"}
    assert drawn == {str(n) for n in range(14)}


def test_a_sweep_that_was_moved_links_to_its_runs_still(sweep, tmp_path, monkeypatch):
    draw_only(monkeypatch)
    moved = shutil.copytree(sweep, tmp_path / "elsewhere")
    shutil.rmtree(moved / "trials" / "0003")
    assert main(["report", str(moved)]) == 0
    addresses = Page((moved / "report.html").read_text()).addresses
    assert "trials/0004/" in addresses
    assert "trials/0003/" not in addresses


def test_formats_for_papers(tmp_path):
    rows = [trial(n, 0.4 + n / 100, 0.5 - n / 100, kernel="a_b" if n % 2 else "50%") for n in range(4)]
    directory = make_sweep(tmp_path / "s", rows, space={"model.kernel": {"choices": ["a_b", "50%"]}})
    confirm(directory, {0: [(0.4, 0.5), (0.41, 0.52)], 3: [(0.43, 0.4), (0.42, 0.45)]})
    assert main(["report", str(directory), "--format", "pdf, svg,tex,csv", "--colour-by", "kernel"]) == 0
    paper = directory / "paper"
    figures = ("confirmed", "pareto", "slices", "parallel", "hypervolume", "timeline", "layers")
    assert all((paper / f"{name}.pdf").read_bytes().startswith(b"%PDF-") for name in figures)
    for name in figures:
        text = (paper / f"{name}.svg").read_text()
        assert text.startswith("<?xml")
        assert "trial:" not in text
    front = (paper / "front.tex").read_text()
    assert r"val/accuracy" in front
    assert r"a\_b & " in front
    assert r"\toprule" in front
    lines = front.splitlines()
    assert len({line.count("&") for line in lines if line.endswith(r"\\")}) == 1
    assert r"$\pm$" in (paper / "confirmed.tex").read_text()
    assert (paper / "confirmed.csv").read_text().startswith("candidate,val/accuracy")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "docx"], "--format: unknown format 'docx'"),
        (["--colour-by", "kernal"], "--colour-by: unknown column of trials.csv 'kernal'"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(sweep, capsys, options, said):
    before = (sweep / "report.html").stat().st_mtime_ns
    assert main(["report", str(sweep), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert (sweep / "report.html").stat().st_mtime_ns == before


BEHAVIOUR = """
<script>
const found = {}, table = document.querySelector('#trials'), column = name =>
  [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent.endsWith(name));
const values = name => [...table.tBodies[0].rows].map(row => row.cells[column(name)].textContent);
const head = name => table.tHead.rows[0].cells[column(name)];
head('accuracy').click(); found.up = values('accuracy'); head('accuracy').click(); found.down = values('accuracy');
head('kernel').click(); found.names = values('kernel');
const point = document.querySelector('#figure-pareto a[data-trial="3"]');
point.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
found.tip = document.querySelector('#tip').innerText; found.shown = getComputedStyle(document.querySelector('#tip')).display;
found.hot = [...new Set([...document.querySelectorAll('.hot')].map(e => e.dataset.trial))];
found.rows = document.querySelectorAll('tr.hot').length; found.address = point.getAttribute('href');
document.body.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
found.after = document.querySelectorAll('.hot').length;
found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.figures = [...document.querySelectorAll('figure svg')].map(svg => svg.getBoundingClientRect()).map(b => [b.width, b.height]);
document.title = 'FOUND' + JSON.stringify(found);
</script>
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1400, 700])
def test_in_a_browser_it_sorts_hovers_links_and_fits(sweep, tmp_path, width):
    page = sweep / f"behaviour-{width}.html"
    page.write_text((sweep / "report.html").read_text().replace("</body>", f"{BEHAVIOUR}</body>"))
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root otherwise
    command = [CHROMIUM, "--headless", "--disable-gpu", *root, f"--user-data-dir={tmp_path}", f"--window-size={width},900",
               "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = json.loads(re.search(r"<title>FOUND(.*?)</title>", dom)[1])
    assert list(map(float, found["up"])) == sorted(map(float, found["up"]))
    assert found["down"] == found["up"][::-1] or sorted(map(float, found["down"]), reverse=True) == list(
        map(float, found["down"])
    )
    assert found["names"] == sorted(found["names"])
    assert found["tip"].startswith("trial 3")
    assert "0.3" in found["tip"]
    assert found["shown"] == "block"
    assert found["hot"] == ["3"]
    assert found["rows"] >= 2  # of the front's table and of all trials'
    assert (sweep / found["address"]).is_dir()
    assert found["after"] == 0
    assert found["wide"] <= 0  # no scrolling sideways
    assert all(0 < w <= width and h > 50 for w, h in found["figures"])
