"""Anyone's own data: the same from every format, exact splits, and one line for whatever is wrong with a file."""

import csv
import io
import json
import time
import tracemalloc
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.data import ArrayConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.tasks.array import ArrayDataModule
from seqboat_lab.training.experiment import metric_names

RNG = np.random.default_rng(5)
ROWS = [RNG.integers(0, 9, RNG.integers(1, 12)) for _ in range(50)]
LABELS = ["cat" if 3 in row else "ant" for row in ROWS]
PADDED = np.stack([np.pad(row, (0, 12 - len(row)), constant_values=77) for row in ROWS])  # 77: never to be read
LENGTHS = np.array([len(row) for row in ROWS])


def write_csv(path: Path, rows=ROWS, labels=LABELS, between=" ", delimiter=",") -> Path:
    with open(path, "w", newline="") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerow(["other", "label", "sequence"])
        table.writerows(["x", label, between.join(map(str, row))] for row, label in zip(rows, labels, strict=True))
    return path


def module_of(path: Path, **fields) -> ArrayDataModule:
    config = ArrayConfig(root=str(path.parent / "data"), path=str(path), **fields)
    return ArrayDataModule(config, seed=1, batch_size=4)


def contents(module: ArrayDataModule) -> dict[str, list[tuple[list[float], int]]]:
    """Every sample of every split as the model gets it."""
    module.prepare_data()
    module.setup()
    found = {}
    for split in ("train", "val", "test"):
        data, found[split] = module.dataset(split), []
        for i in range(len(data)):
            inputs, _, labels, _ = data[[i]]
            found[split].append((inputs[0].tolist(), int(labels[0])))
    return found


def parquet(path: Path, **columns) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, row_group_size=20)
    return path


def rounds(tmp_path):
    """The same samples in every form that may hold sequences of different lengths."""
    yield write_csv(tmp_path / "a.csv")
    yield write_csv(tmp_path / "commas.csv", between=",")
    yield write_csv(tmp_path / "semicolons.csv", between=", ", delimiter=";")
    yield write_csv(tmp_path / "a.tsv", delimiter="\t")
    brackets = tmp_path / "brackets.csv"  # as pandas writes lists; with what Excel puts first
    lines = (f'{label},"{row.tolist()}"\r\n' for row, label in zip(ROWS, LABELS, strict=True))
    brackets.write_bytes(b"\xef\xbb\xbflabel,sequence\r\n" + "".join(lines).encode())
    yield brackets
    np.savez(tmp_path / "a.npz", x=PADDED, y=LABELS, lengths=LENGTHS)
    yield tmp_path / "a.npz"
    offsets = np.concatenate([[0], LENGTHS.cumsum()])
    np.savez_compressed(tmp_path / "flat.npz", values=np.concatenate(ROWS).astype(float), y=LABELS, offsets=offsets)
    yield tmp_path / "flat.npz"
    np.savez(tmp_path / "order.npz", x=np.asfortranarray(PADDED), y=LABELS, lengths=LENGTHS)
    yield tmp_path / "order.npz"


def test_every_format_gives_the_samples_that_were_written(tmp_path):
    expected = sorted(
        ([float(v) + 1 for v in row], int(label == "cat")) for row, label in zip(ROWS, LABELS, strict=True)
    )
    first = None
    for path in rounds(tmp_path):
        module = module_of(path)
        found = contents(module)
        assert sorted(chain(*found.values())) == expected, path
        assert first is None or found == first, path  # the same draw
        assert module.classes == ["ant", "cat"]
        assert (module.spec.vocab_size, module.spec.num_classes, module.spec.max_length) == (10, 2, LENGTHS.max())
        first = found


def test_parquet_holds_lists_or_text(tmp_path):
    expected = contents(module_of(write_csv(tmp_path / "a.csv")))
    lists = parquet(tmp_path / "lists.parquet", sequence=[row.tolist() for row in ROWS], label=LABELS)
    texts = parquet(tmp_path / "texts.parquet", label=LABELS, sequence=[str(row.tolist()) for row in ROWS])
    assert contents(module_of(lists)) == contents(module_of(texts)) == expected


def test_a_column_or_a_place_in_a_row_is_a_position(tmp_path):
    x, y = RNG.normal(5, 3, (30, 4)).astype(np.float32), np.arange(30) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(x))
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "a.npz", signal=x.astype(np.float64), kind=y.astype(float))
    with open(tmp_path / "a.csv", "w") as file:
        file.write("t0,t1,label,t2,t3\n")
        file.writelines(
            f"{a!r},{b!r},{label}.0,{c!r},{d!r}\n" for (a, b, c, d), label in zip(x.tolist(), y, strict=True)
        )
    found = [
        contents(module_of(tmp_path / "x.npy", kind="real", labels=str(tmp_path / "y.npy"))),
        contents(module_of(tmp_path / "fortran.npy", kind="real", labels=str(tmp_path / "y.npy"))),
        contents(module_of(tmp_path / "a.npz", kind="real", sequence="signal", labels="kind")),
        contents(module_of(tmp_path / "a.csv", kind="real")),
    ]
    assert all(each == found[0] for each in found)
    train = np.array([values for values, _ in found[0]["train"]])
    assert abs(train.mean()) < 1e-6
    assert abs(train.std() - 1) < 1e-6
    raw = contents(module_of(tmp_path / "x.npy", kind="real", labels=str(tmp_path / "y.npy"), standardise=False))
    assert sorted(chain(*raw.values())) == sorted(zip(x.tolist(), y.tolist(), strict=True))
    pytest.importorskip("pyarrow")
    columns = {f"t{i}": x[:, i] for i in range(4)} | {"label": y}
    assert contents(module_of(parquet(tmp_path / "a.parquet", **columns), kind="real")) == found[0]


def test_values_far_from_zero_are_standardised_exactly(tmp_path):
    path = write_csv(tmp_path / "times.csv", [[1.7e9 + i % 2] * 3 for i in range(40)], [i % 2 for i in range(40)])
    train = np.array([values for values, _ in contents(module_of(path, kind="real"))["train"]])
    assert abs(train.mean()) < 1e-6
    assert abs(train.std() - 1) < 1e-6


def test_splits_are_exact_disjoint_and_drawn_by_their_seed(tmp_path):
    path = write_csv(tmp_path / "a.csv", [[i] for i in range(40)], [i % 2 for i in range(40)])
    fields = {"val_fraction": 0.2, "test_fraction": 0.3}
    one, again, other = (contents(module_of(path, split_seed=seed, **fields)) for seed in (1, 1, 2))
    assert [len(one[split]) for split in ("train", "val", "test")] == [20, 8, 12]
    assert sorted(values[0] for split in one.values() for values, _ in split) == list(range(1, 41))
    assert one == again != other


def test_files_of_their_own_take_the_place_of_draws(tmp_path):
    path = write_csv(tmp_path / "a.csv", [[i] for i in range(40)], [i % 2 for i in range(40)])
    val = write_csv(tmp_path / "val.csv", [[7, 7]], ["1.0"])
    module = module_of(path, val_path=str(val), test_fraction=0.25)
    found = contents(module)
    assert found["val"] == [([8.0, 8.0], 1)]
    assert (len(found["train"]), len(found["test"])) == (30, 10)
    module = module_of(path, val_path=str(val), test_path=str(val))
    assert len(contents(module)["train"]) == 40


def test_validation_is_standardised_by_what_trains(tmp_path):
    path = write_csv(tmp_path / "a.csv", [[0.0, 2.0]] * 10, [0, 1] * 5)
    val = write_csv(tmp_path / "val.csv", [[5.0]], [1])
    module = module_of(path, kind="real", val_path=str(val), test_path=str(val))
    assert contents(module)["val"] == [([4.0], 1)]  # (5 - 1) / 1
    assert module.decode([4.0, -1.0]) == ["5", "0"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2, 0, 1, 0, 2, 1], [0, 1, 2]),
        ([10, 9, 10, 9, 10, 9], [9, 10]),  # as numbers, not as text
        ([0.5, -1, 0.5, -1, 0.5, -1], [-1, 0.5]),
        (["b", "a b", "b", "é", "é", "a b"], ["a b", "b", "é"]),
        (["01", 1, "01", 1, 1, 1], [1, "01"]),
        ([True, False] * 3, ["False", "True"]),
    ],
)
def test_labels_become_classes_in_sorted_order(tmp_path, capsys, labels, classes):
    path = write_csv(tmp_path / "a.csv", [[i] for i in range(6)], labels)
    held = {"val_path": str(path), "test_path": str(path)}
    module = module_of(path, **held)
    assert contents(module)["train"] == [
        ([i + 1.0], classes.index(v if v in classes else str(v))) for i, v in enumerate(labels)
    ]
    assert module.classes == classes
    told = capsys.readouterr().err
    assert told == "" if classes == [0, 1, 2] else f"{classes[0]} = 0, {classes[1]} = 1" in told
    if all(not isinstance(label, str) for label in labels):
        np.savez(tmp_path / "a.npz", x=[[i] for i in range(6)], y=labels)
        held = {"val_path": str(tmp_path / "a.npz"), "test_path": str(tmp_path / "a.npz")}
        assert contents(module_of(tmp_path / "a.npz", **held)) == contents(module)


def test_padding_is_no_id_and_long_sequences_are_cut(tmp_path):
    path = write_csv(tmp_path / "a.csv", [[0, 1, 2, 3], [3]] * 10, [0, 1] * 10)
    module = module_of(path, max_length=3)
    module.prepare_data()
    module.setup()
    data = module.dataset("train")
    long, short = (next(i for i in range(len(data)) if data.store.labels[i] == label) for label in (0, 1))
    batch = data[[long, short]]
    assert batch.inputs.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch.padding_mask.tolist() == [[False] * 3, [False, True, True]]
    assert module.decode(batch.inputs[1].tolist()) == ["3", "", ""]
    assert module.spec.max_length == 3


def test_a_changed_file_is_noticed(tmp_path):
    path = write_csv(tmp_path / "a.csv")
    assert module_of(path).spec.vocab_size == 10
    time.sleep(0.01)
    write_csv(path, [*ROWS[:-1], [30]])
    assert module_of(path).spec.vocab_size == 32


BAD = {
    "no such file": ("gone.csv", None, {}, "gone.csv: no such file; set data.path"),
    "empty": ("a.csv", "", {}, "a.csv: empty; expected a first line with the names of the columns"),
    "only a header": ("a.csv", "sequence,label\n", {}, "a.csv: holds no samples"),
    "no label column": ("a.csv", "sequence,lable\n1,2\n", {}, "no column 'label' (did you mean 'lable'?); it has: 'sequence', 'lable'; set data.labels"),
    "no such sequence": ("a.csv", "sequences,label\n1,2\n", {"sequence": "sequence"}, "no column 'sequence' (did you mean 'sequences'?)"),
    "the same column": ("a.csv", "a,label\n1,2\n", {"sequence": "label"}, "both name the column 'label'"),
    "two of a name": ("a.csv", "a,a,label\n1,1,2\n", {}, "two columns are called 'a'"),
    "no values": ("a.csv", "label\n1\n", {}, "no column but 'label'"),
    "ragged": ("a.csv", "a,b,label\n1,2,0\n1,0\n", {}, "a.csv, line 3: 2 cells, expected 3"),
    "a missing cell": ("a.csv", "a,b,label\n1,2,0\n\n1,,0\n", {}, "a.csv, line 4, column 'b': '' is no number"),
    "text": ("a.csv", "sequence,label\n1 2,0\n1 x2,0\n", {}, "a.csv, line 3, column 'sequence': 'x2' is no number"),
    "NaN": ("a.csv", "sequence,label\n1 2,0\n1 nan,1\n1,0\n", {"kind": "real"}, "a.csv, line 3, value 2: nan, expected a finite number"),
    "infinity": ("a.csv", "sequence,label\n1 2,0\n1 -inf,1\n1,0\n", {"kind": "real"}, "a.csv, line 3, value 2: -inf, expected a finite number"),
    "too large": ("a.csv", "sequence,label\n1 2,0\n1e300,1\n1,0\n", {"kind": "real"}, "a.csv, line 3, value 1: 1e+300, expected a finite number up to 1e+30"),
    "negative": ("a.csv", "sequence,label\n1 2,0\n1 -3,1\n1,0\n", {}, "a.csv, line 3, value 2: -3, expected a whole number from 0"),
    "no whole id": ("a.csv", "sequence,label\n1 2,0\n1.5,1\n1,0\n", {}, "a.csv, line 3, value 1: 1.5, expected a whole number from 0 to 16777215; for measured numbers set data.kind=real"),
    "over the vocabulary": ("a.csv", "sequence,label\n1 2,0\n1,1\n1,0\n", {"vocab_size": 2}, "a.csv, line 2, value 2: 2, expected a whole number from 0 to 1 (data.vocab_size)"),
    "an empty sequence": ("a.csv", "sequence,label\n1 2,0\n,1\n1,0\n", {}, "a.csv, line 3: the sequence is empty"),
    "no label": ("a.csv", "sequence,label\n1 2,0\n1,\n1,0\n", {}, "a.csv, line 3: no label"),
    "one class": ("a.csv", "sequence,label\n" + "1,a\n" * 9, {}, "have the label 'a'; expected at least two classes"),
    "no classes": ("a.csv", "sequence,label\n" + "".join(f"1,{i}\n" for i in range(9)), {}, "each of the 9 labels occurs only once"),
    "too few": ("a.csv", "sequence,label\n1,a\n1,b\n", {}, "2 samples are too few to draw all splits from"),
    "an open quote": ("a.csv", 'sequence,label\n"1 2,0\n1,1\n', {}, "a.csv, line 3: unexpected end of data"),
    "no UTF-8": ("a.csv", b"sequence,label\n1 2,0\n1,\xff\n", {}, "a.csv, line 3: byte 3 is no UTF-8"),
    "no zip": ("a.npz", b"PK\3\4 and nothing", {}, "a.npz: damaged, or no .npz"),
    "no Parquet": ("a.parquet", b"PAR1 and nothing", {}, "a.parquet: cannot be read as Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_table_is_one_line_with_its_place(tmp_path, what):
    name, content, fields, message = BAD[what]
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    whole = {} if what == "too few" else {f"{split}_path": str(tmp_path / name) for split in ("val", "test")}
    with pytest.raises(DataError) as caught:
        module_of(tmp_path / name, **whole, **fields).prepare_data()
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob("prepared/array/*/[!.]*"))


X, Y = np.arange(24).reshape(12, 2), np.arange(12) % 2
BAD_ARRAYS = {
    "no labels": ({"x": X}, "no array 'y'; it has: 'x'; set data.labels"),
    "no sequences": ({"xs": X, "y": Y}, "no array 'x' (did you mean 'xs'?)"),
    "fewer labels": ({"x": X, "y": Y[1:]}, "12 sequences in x, but 11 labels in y"),
    "objects": ({"x": np.array([[1], [1, 2]], dtype=object), "y": Y}, "x: damaged, or holds something else; expected an array of numbers"),
    "three dimensions": ({"x": X[..., None], "y": Y}, "x has shape (12, 2, 1), expected (n, L)"),
    "labels in two": ({"x": X, "y": X}, "y has shape (12, 2), expected (n,)"),
    "complex": ({"x": X * 1j, "y": Y}, "expected an array of numbers"),
    "text": ({"x": X.astype(str), "y": Y}, "expected an array of numbers"),
    "flat alone": ({"x": X.ravel(), "y": Y}, "x has one dimension and there is no array offsets"),
    "long": ({"x": X, "y": Y, "lengths": np.full(12, 3)}, "lengths[0] is 3, expected 0 to 2"),
    "offsets back": ({"values": X.ravel(), "y": Y[:2], "offsets": [0, 25, 24]}, "offsets[1] is 25, expected 0 to 24"),
    "offsets short": ({"values": X.ravel(), "y": Y[:2], "offsets": [0, 3, 5]}, "offsets go from 0 to 5, expected from 0 to 24"),
    "offsets fewer": ({"values": X.ravel(), "y": Y, "offsets": [0, 24]}, "offsets has shape (2,), expected (13,)"),
    "offsets shuffled": ({"values": X.ravel(), "y": Y[:3], "offsets": [0, 9, 3, 24]}, "offsets[2] is smaller than the one before"),
    "NaN": ({"x": np.where(X == 5, np.nan, X), "y": Y}, "x[2], value 2: nan"),
    "NaN label": ({"x": X, "y": np.where(Y, Y, np.nan)}, "x[0]: no label"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_ARRAYS)
def test_a_bad_npz_is_one_line_with_its_place(tmp_path, what):
    arrays, message = BAD_ARRAYS[what]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as caught:
        module_of(tmp_path / "a.npz", kind="real").prepare_data()
    assert message in str(caught.value)
    assert str(tmp_path / "a.npz") in str(caught.value)


def test_nothing_is_unpickled_or_believed(tmp_path):
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "x.npy", np.array([[1], [1, 2]], dtype=object))
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<i8", "fortran_order": False, "shape": (2**40, 2)})
    (tmp_path / "huge.npy").write_bytes(huge.getvalue() + bytes(64))
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        file.writestr("x.npy", huge.getvalue() + bytes(64))
        file.write(tmp_path / "y.npy", "y.npy")
    for name in ("x.npy", "huge.npy", "huge.npz"):
        labels = str(tmp_path / "y.npy") if name.endswith("npy") else None
        with pytest.raises(DataError, match=f"{name}.*damaged, or holds something else"):
            module_of(tmp_path / name, labels=labels).prepare_data()


def test_what_only_another_file_has_is_told_with_its_place(tmp_path):
    path = write_csv(tmp_path / "a.csv", [[i] for i in range(10)], ["a", "b"] * 5)
    for rows, labels, message in (
        ([[1], [2]], ["a", "c"], "val.csv, line 3: the label 'c' is not among the 2 of "),
        (
            [[1], [10]],
            ["a", "b"],
            "val.csv, line 3, value 1: 10, expected a whole number from 0 to 9, the largest id in ",
        ),
    ):
        val = write_csv(tmp_path / "val.csv", rows, labels)
        with pytest.raises(DataError) as caught:
            module_of(path, val_path=str(val)).prepare_data()
        assert message in str(caught.value)
    assert module_of(path, val_path=str(val), vocab_size=11).spec.vocab_size == 12


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"path": "a.txt"}, "path"),
        ({"path": "a.npy"}, "labels"),
        ({"path": "a.npy", "labels": "label"}, "labels"),
        ({"path": "a.npy", "labels": "y.npy", "val_path": "b.npz"}, "val_path"),
        ({"path": "a.csv", "test_path": "b.npy"}, "test_path"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "val_fraction"),
        ({"kind": "real", "vocab_size": 5}, "vocab_size"),
        ({"sequence": ""}, "sequence"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_when_the_config_is_made(fields, key):
    with pytest.raises(ConfigError) as caught:
        ArrayConfig(**fields)
    assert caught.value.key == key


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pip install 'seqboat-lab\[parquet\]'"):
        module_of(tmp_path / "a.parquet").prepare_data()


EXPERIMENT = """
task: array
data: {batch_size: 8, root: ROOT}
model: {layers: 1, d_model: 8, d_hidden: 8, d_attention: 4, memory_size: 4, classifier_hidden: 8}
optim: {warmup_steps: 1}
trainer: {max_steps: 4, val_every: 4, log_every: 2, threads: 1, progress: false, accelerator: cpu}
"""


@pytest.fixture
def experiment(tmp_path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(EXPERIMENT.replace("ROOT", str(tmp_path / "data")))
    return path


@pytest.mark.parametrize("form", ["csv", "npz"])
def test_a_file_of_ones_own_is_trained_on_from_the_command_line(experiment, tmp_path, form, capsys):
    np.savez(tmp_path / "a.npz", x=PADDED * 0.1, y=LABELS, lengths=LENGTHS)
    write_csv(tmp_path / "a.csv")
    path, kind = tmp_path / f"a.{form}", {"csv": "ids", "npz": "real"}[form]
    run = tmp_path / "run"
    assert main(["fit", str(experiment), f"data.path={path}", f"data.kind={kind}", "--run-dir", str(run)]) == 0
    assert 0 <= json.loads((run / "summary.json").read_text())["metrics"]["val/accuracy"] <= 1
    assert "2 classes: ant = 0, cat = 1" in capsys.readouterr().err
    assert main(["evaluate", str(run)]) == 0
    assert main(["data", "prepare", str(experiment), f"data.path={path}", f"data.kind={kind}"]) == 0
    assert "array is ready" in capsys.readouterr().out


def test_mistakes_leave_no_run_behind(experiment, tmp_path, capsys):
    path = write_csv(tmp_path / "a.csv", [*ROWS[:-1], [-1]])
    for override, message in (
        ("data.labels=lable", "did you mean 'label'?"),
        ("data.batch_size=8", "a.csv, line 51, value 1: -1, expected a whole number from 0"),
        ("data.path=null", "data.path: null is not possible here; set it to a .csv"),
    ):
        assert main(["fit", str(experiment), f"data.path={path}", override, "--run-dir", str(tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_sweep_searches_a_field_of_the_data(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = metric_names(load_experiment(str(experiment)))  # before there is any file
    assert names[0] == "val/accuracy"
    path = write_csv(tmp_path / "a.csv")
    (tmp_path / "sweep.yaml").write_text(f"""
name: lengths
experiment: {experiment}
overrides: {{data.path: {path}}}
space: {{data.max_length: {{choices: [2, 12]}}}}
objectives: {{val/accuracy: maximize, val/loss: minimize}}
trials: 2
""")
    assert main(["sweep", "sweep.yaml"]) == 0
    trials = list(csv.DictReader((tmp_path / "runs" / "sweeps" / "lengths" / "trials.csv").open()))
    assert {trial["data.max_length"] for trial in trials} == {"2", "12"}
    assert all(0 <= float(trial["val/accuracy"]) <= 1 for trial in trials)


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=PADDED, y=np.array(LABELS), lengths=LENGTHS)
    return buffer.getvalue()


def csv_bytes() -> bytes:
    return b'label,sequence\n"a",1 2 3\nb,"4, 5"\n' * 3


FUZZED = {"a.npz": npz_bytes(), "a.csv": csv_bytes()}
flips = st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 255)), max_size=6)


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=flips, cut=st.integers(0, 2**32) | st.none(), kind=st.sampled_from(["ids", "real"]))
@example(flips=[(5497, 255)], cut=None, kind="ids")  # a zip whose directory claims to have 4 GB
def test_damage_is_told_or_harmless(tmp_path, name, flips, cut, kind):
    changed = bytearray(FUZZED[name])
    for where, value in flips:
        changed[where % len(changed)] = value
    path = tmp_path / name
    path.write_bytes(changed[: cut % len(changed)] if cut is not None else changed)
    module = module_of(path, kind=kind)
    tracemalloc.start()
    try:
        for split in ("train", "val", "test"):
            for (values,), label in module.samples(split):
                assert len(values)
                assert np.isfinite(values).all()
                assert kind == "real" or values.min() >= 1
                assert 0 <= label < len(module.known().classes)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 22
