"""The example trains on the CSV it writes, and shows what the trained model activates."""

import csv
import re
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_data.py"


def test_the_example_learns_its_task_and_shows_activations(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SEQBOAT_RUN_DIR", raising=False)
    runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    first, *rows = capsys.readouterr().out.splitlines()
    accuracy, rate = map(float, re.fullmatch(r"accuracy ([\d.]+)%, activation rate ([\d.]+)%", first).groups())
    assert accuracy > 95
    with (tmp_path / "digits.csv").open() as file:
        truth = {line["sequence"].replace(" ", ""): line["label"] for line in csv.DictReader(file)}
    assert len(rows) == 5
    for row in rows:
        digits, answer = re.sub(r"[\[\] ]", "", row[:60]), row[60:].split()
        assert truth[digits] == answer[-1]
    assert ("[" in "".join(rows)) or rate < 5
