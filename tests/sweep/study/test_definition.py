"""A sweep joined by its name, from a directory that has no file of it."""

from pathlib import Path

import optuna
import pytest
import yaml

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.study import study as studies
from seqboat_lab.sweep.study.definition import join_sweep

BASE = Path("base.yaml")


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def begun(tiny_sweep, url):
    """A sweep over an experiment of a file beside it."""
    from seqboat_lab.config.files import CONFIG_DIR

    path = tiny_sweep()
    BASE.write_text((CONFIG_DIR / "lra" / "listops_short.yaml").read_text())
    path.write_text(path.read_text().replace("lra/listops_short", "base.yaml"))
    sweep = load_sweep(path, [f"storage={url}"])
    return sweep, studies.open_study(sweep)


def test_who_joins_by_name_has_the_same_experiments(begun, url, tmp_path, monkeypatch):
    sweep, study = begun
    trial = studies.claim(study, sweep, studies.WorkerLock(sweep.directory))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    joined = join_sweep(url, "tiny", ["overrides.data.root=/mnt/data", "trials=9"])
    assert joined.trials == 9
    assert studies.open_study(joined).user_attrs["token"] == study.user_attrs["token"]
    mine, theirs = joined.experiment_with(trial.params), sweep.experiment_with(trial.params)
    assert mine.data.root == "/mnt/data"
    assert (mine.model, mine.optim, mine.trainer) == (theirs.model, theirs.optim, theirs.trainer)


def test_the_url_of_the_environment_stands_before_the_files(tiny_sweep, monkeypatch):
    path, used = tiny_sweep(extra="storage: sqlite:///file.db\n"), []
    monkeypatch.setattr("seqboat_lab.sweep.running.run.run_sweep", lambda sweep, *_, **__: used.append(sweep.storage))
    assert main(["sweep", str(path)]) == 0
    monkeypatch.setenv("SEQBOAT_STORAGE", "sqlite:///environment.db")
    assert main(["sweep", str(path)]) == 0
    assert main(["sweep", str(path), "storage=sqlite:///line.db"]) == 0
    assert used == [f"sqlite:///{name}.db" for name in ("file", "environment", "line")]


def test_another_experiment_under_the_same_name_is_refused(begun, url):
    sweep, _ = begun
    values = yaml.safe_load(BASE.read_text())
    BASE.write_text(yaml.safe_dump(values | {"optim": values["optim"] | {"clip_norm": 0.5}}))
    other = load_sweep("tiny.yaml", [f"storage={url}"])
    with pytest.raises(
        ConfigError, match=r"began with another \S*base.yaml than is here: it differs in optim.clip_norm"
    ):
        studies.open_study(other)
    assert sweep.name == other.name


def test_names_that_are_not_there_are_one_line(begun, url, tmp_path, capsys):
    assert main(["sweep", "--join", url, "tinny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err
    optuna.create_study(storage=f"sqlite:///{tmp_path}/other.db", study_name="x")
    assert main(["sweep", "--join", f"sqlite:///{tmp_path}/other.db", "tiny"]) == 2
    assert "'tiny' is no sweep there: the storage holds none; start it with: seqboat sweep" in capsys.readouterr().err
    assert main(["sweep", "tiny.yaml", "--join", url, "tiny"]) == 2
    assert "--join takes the sweep from its storage; leave tiny.yaml out" in capsys.readouterr().err
    assert main(["sweep"]) == 2
    assert "expected a sweep, such as recall_pareto, or --join STORAGE NAME" in capsys.readouterr().err
