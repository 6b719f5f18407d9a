"""What is typed for a text field arrives as typed; other fields are YAML; `${...}` sees the whole experiment."""

from pathlib import Path

import pytest

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment
from seqboat_lab.config.files import merge, read_yaml, to_yaml

TYPED = ["007", "1e3", "2024_01", "notes #1.txt", "*.txt", "no", "~", "1:30", "a: b", "'q'", "[x]", "{", "&a", "- b"]


def text_tiny(*overrides: str) -> ExperimentConfig:
    return load_experiment("text_tiny", overrides)


@pytest.mark.parametrize("typed", [*TYPED, "null", "", " a ", "é", "???"])
def test_text_is_taken_as_typed_and_survives_config_yaml(typed, tmp_path):
    config = text_tiny("task=web_text", f"data.separator={typed}")
    assert config.data.separator == typed
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_experiment(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("typed", ["007", "1e3", "2024_01", "notes #1.txt"])
def test_the_command_line_keeps_a_path_as_typed(typed, tmp_path, capsys):
    assert main(["config", "text_tiny", f"data.path={typed}", "data.pattern=*.txt"]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    data = load_experiment(tmp_path / "mine.yaml").data
    assert (data.path, data.pattern) == (typed, "*.txt")


@pytest.mark.parametrize("overrides", [["task=corpus", "data.path=007"], ["data.path=007", "task=corpus"]])
def test_which_fields_are_text_follows_the_task_whatever_the_order(overrides):
    base = {"task": "listops"}
    assert merge(base, overrides, ExperimentConfig)["data"]["path"] == "007"


def test_null_is_no_text_only_where_a_field_may_be_null():
    assert text_tiny("data.path=null").data.path is None
    assert text_tiny("data.path=./null").data.path == "./null"
    assert text_tiny("data.root=null").data.root == "null"


def test_values_of_a_mapping_are_taken_as_they_are():
    base = {"task": "corpus"}
    assert merge(base, {"data.path": "007", "data.pattern": "*.txt"}, ExperimentConfig)["data"] == {
        "path": "007", "pattern": "*.txt",
    }  # fmt: skip
    assert merge(base, {"model.layers": "3"}, ExperimentConfig)["model"] == {"layers": "3"}
    section = merge(base, {"model.ssm": "{kernel: s5}"}, ExperimentConfig)["model"]["ssm"]
    assert section == {"kernel": "s5"}  # a choice of a sweep has to be a single value


def test_a_number_in_a_file_is_not_turned_into_other_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: corpus\nmodel: {bidirectional: false}\ndata: {path: 2024_01}\n")
    with pytest.raises(ConfigError, match=r"^data.path: 202401 .*expected text, in quotes in a YAML file"):
        load_experiment(path)
    path.write_text("task: corpus\nmodel: {bidirectional: false}\ndata: {path: '2024_01'}\n")
    assert load_experiment(path).data.path == "2024_01"


def test_interpolation_sees_the_file_the_overrides_and_the_defaults():
    config = text_tiny(
        "trainer.val_every=${trainer.log_every}", "data.path=run_${trainer.max_steps}", "trainer.max_steps=770"
    )
    assert config.trainer.val_every == config.trainer.log_every == 20  # a default
    assert config.data.path == "run_770"
    with pytest.raises(ConfigError, match=r"cannot be resolved: Interpolation key 'trainer.nothing' not found"):
        text_tiny("data.path=${trainer.nothing}")
    assert text_tiny(r"data.path=\${x}").data.path == "${x}"


def test_a_default_that_was_looked_up_is_not_fixed_by_that():
    """The state size of another kernel is that kernel's own default."""
    config = text_tiny("model.ssm={kernel: s4d}", "trainer.val_every=${trainer.log_every}")
    plain = text_tiny("model.ssm={kernel: s4d}")
    assert config.model == plain.model


@pytest.mark.parametrize("field", ["data.root", "data.path"])
def test_a_home_directory_is_expanded_when_the_config_is_made(field, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert getattr(text_tiny(f"{field}=~/texts").data, field[5:]) == "/home/me/texts"
    with pytest.raises(ConfigError, match=f"^{field}: '~nobody_here/x' names a home directory that is not known"):
        text_tiny(f"{field}=~nobody_here/x")


@pytest.mark.parametrize(
    ("path", "expected"), [("", "a path"), ("a\0b", "NUL"), ("x" * 300, "255 bytes"), ("\udcff", "UTF-8")]
)
def test_what_no_file_can_be_called_is_refused(path, expected):
    with pytest.raises(ConfigError, match=f"^data.root: .*{expected}"):
        text_tiny(f"data.root={path}")


@pytest.mark.parametrize("name", ["mine", "mine.lr0.1", "lra.v2/mine.1"])
def test_a_dot_belongs_to_a_name(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "configs" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("task: listops\nseed: 11\n")
    for given in (name, f"{name}.yaml", f"configs/{name}.yaml", str(path)):
        assert load_experiment(given).seed == 11
    assert main(["config", f"{name}.v2"]) == 2
    assert f"unknown experiment '{name}.v2'" in capsys.readouterr().err


def test_a_run_is_named_after_its_file_dots_and_all(tmp_path, monkeypatch):
    from seqboat_lab.training import experiment

    monkeypatch.chdir(tmp_path)
    for variable in ("SEQBOAT_RUN_DIR", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(variable, raising=False)
    Path("mine.lr0.1.yaml").write_text("task: corpus\nmodel: {bidirectional: false}\n")
    started = []
    monkeypatch.setattr(experiment, "fit", lambda config, run_dir, *_, **__: started.append(run_dir))
    assert main(["fit", "mine.lr0.1.yaml"]) == 0
    assert started[0].parent == Path("runs/mine.lr0.1")


@pytest.mark.parametrize("name", ["lra/listops.v2", "", ".", "..", "x" * 5000, "a\0b", "lra", "\udcff", "~nobody_here"])
def test_names_that_are_none_give_one_line(name, capsys):
    assert main(["config", name]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


FILES = {
    "empty": (b"", "is empty"),
    "a comment": (b"# nothing\n", "is empty"),
    "a word": (b"hello\n", "expected a mapping"),
    "a number": (b"5\n", "is not YAML"),
    "not UTF-8": (b"task: \xff\n", "is not UTF-8 text"),
    "NUL": (b"task: a\0b\n", "is not YAML"),
    "nested": (b"a: " + b"[" * 100_000 + b"]" * 100_000, "nested more than 32 levels"),
    "nested mappings": (b"{a: " * 5000 + b"}" * 5000, "nested more than 32 levels"),
    "digits": (b"seed: " + b"9" * 5000, "5000 digits"),
    "hex digits": (b"task: corpus\nseed: 0x" + b"f" * 5000, "seed: a int too long to show"),
    "recursive": (b"a: &x [*x]\n", "recursive"),
    "bomb": (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (i, i, b",".join([b"*%c" % (i - 1)] * 9)) for i in range(98, 110)), "is not YAML"),
    "twice": (b"seed: 1\nseed: 2\n", "duplicate key"),
    "number as key": (b"1: 2\n", "1 is no name of a field"),
    "null as key": (b"null: 2\n", "is not YAML"),
    "list as key": (b"? [a]\n: 2\n", "unhashable"),
    "set": (b"task: !!set {a}\n", "is not YAML"),
    "binary": (b"task: !!binary aGk=\n", "neither text"),
    "date": (b"seed: 2024-01-01\n", "seed: '2024-01-01' is not possible here"),
    "odd tag": (b"seed: !!timestamp 3\n", "is not YAML"),
    "python tag": (b"seed: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    "two documents": (b"seed: 1\n---\nseed: 2\n", "is not YAML"),
    "huge": (b"# " + b"x" * 2**20, "is larger than"),
    "cut": (b"model: {layers: [", "is not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_odd_files_give_one_line_that_names_them(kind, tmp_path, capsys):
    content, message = FILES[kind]
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert main(["config", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "odd.yaml" in line or "seed" in line
    assert len(line) < 1000


def test_a_directory_and_a_missing_file_are_no_files(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(path)


@pytest.mark.parametrize(
    "key", ["a" * 10_000, ".", "..", "model.", ".model", "model..layers", ".".join("a" * 5000), "model[0]", "\n"]
)
def test_odd_keys_are_unknown_fields(key):
    with pytest.raises(ConfigError) as caught:
        load_experiment("text_tiny", [f"{key}=1"])
    assert len(str(caught.value)) < 12_000


@pytest.mark.parametrize("value", ["nan", "1", "[]", "x"])
def test_a_field_of_what_is_no_section(value):
    with pytest.raises(ConfigError, match=r"^data"):
        text_tiny(f"data={value}", "data.batch_size=3")


def test_a_value_is_one_value():
    with pytest.raises(ConfigError, match=r"^trainer.max_steps: .*more than one value"):
        text_tiny("trainer.max_steps=3\nseed: 4")
