"""`make dashboard`: optuna-dashboard on the file that a sweep keeps its study in."""

import json
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.study import study as studies

dashboard = pytest.importorskip("optuna_dashboard")


def get(app, path: str) -> dict:
    environ = {"PATH_INFO": path.partition("?")[0], "QUERY_STRING": path.partition("?")[2]}
    setup_testing_defaults(environ)
    return json.loads(b"".join(app(environ, lambda *_: None)))


def test_the_dashboard_shows_the_objectives_by_name_and_the_trials_values(tiny_sweep):
    from optuna_dashboard._storage_url import get_storage  # what its command opens a file with

    sweep = load_sweep(tiny_sweep())
    study = studies.open_study(sweep)
    studies.open_study(sweep)  # by another worker
    params = {"model.memory_size": 4, "model.configurator.temperature_scale": 0.5}
    trial = optuna.trial.create_trial(params=params, distributions=sweep.distributions(), values=[0.75, 0.25])
    study.add_trial(trial)
    app = dashboard.wsgi(get_storage(str(sweep.directory / "study.journal")))
    (listed,) = get(app, "/api/studies")["study_summaries"]
    assert listed["study_name"] == "tiny"
    shown = get(app, f"/api/studies/{listed['study_id']}?after=0")
    assert shown["objective_names"] == ["val/accuracy", "val/activation_rate"]
    assert shown["directions"] == ["maximize", "minimize"]
    assert [t["values"] for t in shown["trials"]] == [[0.75, 0.25]]
