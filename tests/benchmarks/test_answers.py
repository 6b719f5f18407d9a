"""What is kept of a question's sweeps, and the pages that stand in for a web corpus."""

import gzip
import json

import pandas as pd
import pytest

from benchmarks.answers import keep as keeping
from benchmarks.answers import web_pages
from benchmarks.answers.index import found_in
from seqboat_lab.analysis.report import write_csv
from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.files import to_yaml


def finished_sweep(directory, experiment, state="complete"):
    rows = []
    for number, seed in enumerate((1, 2)):
        run = directory / "trials" / f"{number:04}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(to_yaml(load_experiment(experiment, [f"seed={seed}"])))
        points = [{"step": step, "val/accuracy": step / 100 + number, "cost/seconds": 9} for step in (10, 20)]
        (run / "validations.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
        (run / "summary.json").write_text(json.dumps({"code_version": "1 (abc)", "metrics": points[-1], "steps": 20}))
        (run / "metrics.csv").write_text("step,train/loss,temperature/layer_0\n5,1,8\n10,1,7\n15,1,\n18,1,6\n20,1,5\n")
        rows.append({"number": number, "state": state, "val/accuracy": points[-1]["val/accuracy"], "seed": seed,
                     "step": 20, "cost/seconds": 100.0, "run": f"trials/{number:04}", "worker": "x"})  # fmt: skip
    write_csv(directory / "trials.csv", rows)
    sweep = {
        "experiment": experiment,
        "objectives": {"val/accuracy": "maximize"},
        "space": {"seed": {"choices": [1, 2]}},
        "sampler": "grid",
    }
    (directory / "sweep.yaml").write_text(json.dumps(sweep))


def test_kept_tables_have_every_run_of_every_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task in ("16px", "32px"):
        finished_sweep(tmp_path / "runs" / "sweeps" / f"memory_{task}", "lra/pathfinder_short")
    out = keeping.keep("memory")
    runs, curves = (pd.read_csv(out / f"{name}.csv.gz") for name in ("runs", "curves"))
    assert runs[["task", "seed", "val/accuracy"]].values.tolist() == [
        [task, seed, accuracy] for task in ("16px", "32px") for seed, accuracy in ((1, 0.2), (2, 1.2))
    ]
    assert not {"run", "worker", "cost/seconds"} & set(runs)
    first = curves[(curves["task"] == "32px") & (curves["number"] == 1)]
    assert first[["step", "val/accuracy", "temperature/layer_0"]].values.tolist() == [[10, 1.1, 7], [20, 1.2, 5]]
    made = json.loads((out / "made.json").read_text())
    assert (made["runs"], made["seconds"], made["seeds"], made["code"]) == (4, 400, [1, 2], "1 (abc)")
    about = {"experiment": "lra/pathfinder_short", "metric": "val/accuracy", "direction": "maximize", "updates": 20}
    assert made["tasks"] == {"16px": about, "32px": about}
    before = (out / "runs.csv.gz").read_bytes()
    keeping.keep("memory")
    assert (out / "runs.csv.gz").read_bytes() == before


def test_an_unfinished_sweep_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished_sweep(tmp_path / "runs" / "sweeps" / "memory_16px", "lra/pathfinder_short", state="running")
    with pytest.raises(ConfigError, match=r"memory_16px: 2 of 2 runs did not finish; run the sweep again"):
        keeping.keep("memory")
    assert not (tmp_path / "docs").exists()


def test_web_pages_are_split_by_their_text(tmp_path, monkeypatch):
    pages = [f"# page {n}\n" + "words " * 50 for n in range(200)]
    (tmp_path / "man").mkdir()
    for n, text in enumerate(pages[:100]):
        (tmp_path / "man" / f"{n}.1.gz").write_bytes(gzip.compress(text.encode()))
    for n, text in enumerate([*pages[100:], pages[0], "short"]):
        (tmp_path / f"{n}.md").write_text(text)
    (tmp_path / "bad.md").write_bytes(b"\xff" * 999)
    monkeypatch.setattr(web_pages, "PLACES", (str(tmp_path),))
    sizes = web_pages.write(tmp_path / "out", megabytes=1)
    splits = {
        name: [json.loads(line)["text"] for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "validation")
    }
    assert sorted(splits["train"] + splits["validation"]) == sorted(pages)  # each once, be it in two places
    assert 1 <= len(splits["validation"]) <= 30
    assert sizes == {name: sum(map(len, texts)) for name, texts in splits.items()}
    assert sum(web_pages.write(tmp_path / "less", megabytes=0.01).values()) <= 10_000


def test_the_overview_quotes_the_end_of_a_page_with_links_from_its_own_place():
    page = "# A\n\n## What was found\n\nIt is [so](memory.md), see [there](https://x.y).\n\n## More\n\nno"
    assert found_in(page) == "It is [so](answers/memory.md), see [there](https://x.y)."
