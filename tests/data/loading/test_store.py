"""The array store: what goes in comes out, whole or not at all."""

import errno
import json
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import landing, locked, open_source, writing
from seqboat_lab.data.loading import store as store_module
from seqboat_lab.data.loading.store import Store, is_complete, write_store


def singles(rows, labels):
    return [((np.asarray(row),), label) for row, label in zip(rows, labels, strict=True)]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hold_the_lock(path) -> tuple[float, float]:
    with locked(path):
        start = time.time()
        time.sleep(0.3)
        return start, time.time()


@given(
    rows=st.lists(st.lists(st.integers(0, 255), max_size=9), min_size=1, max_size=12),
    cut=st.integers(1, 10),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_gather_returns_the_samples_padded_and_cut(tmp_path_factory, rows, cut, data):
    path = tmp_path_factory.mktemp("store") / "s"
    write_store(path, singles(rows, range(len(rows))), np.uint8, {})
    store = Store(path)
    asked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    values, lengths = store.gather(asked, cut)
    assert lengths.tolist() == [min(len(rows[i]), cut) for i in asked]
    assert values.shape == (len(asked), max(lengths))
    for got, i in zip(values, asked, strict=True):
        row = rows[i][:cut]
        assert got.tolist() == row + [0] * (values.shape[1] - len(row))
    assert store.labels.tolist() == list(range(len(rows)))
    assert store.lengths().tolist() == [len(row) for row in rows]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_every_dtype_round_trips(tmp_path, dtype):
    rows = [np.array([1, 2, 3], dtype), np.array([100], dtype)]
    write_store(tmp_path / "s", singles(rows, [4, 5]), dtype, {})
    values = Store(tmp_path / "s").values
    assert values.dtype == dtype
    assert values.tolist() == [1, 2, 3, 100]


def test_pairs_come_as_first_documents_then_second_ones(tmp_path):
    samples = [((np.array([1, 1, 1]), np.array([2])), 0), ((np.array([3]), np.array([4, 4])), 1)]
    write_store(tmp_path / "s", samples, np.uint8, {}, parts=2)
    store = Store(tmp_path / "s")
    values, lengths = store.gather([1, 0], 10)
    assert values.tolist() == [[3, 0, 0], [1, 1, 1], [4, 4, 0], [2, 0, 0]]
    assert lengths.tolist() == [1, 3, 2, 1]
    assert store.lengths().tolist() == [3, 2]


def test_it_pickles_as_its_path(tmp_path):
    write_store(tmp_path / "s", singles([np.zeros(100_000)], [0]), np.uint8, {})
    pickled = pickle.dumps(Store(tmp_path / "s"))
    assert len(pickled) < 1000
    assert len(pickle.loads(pickled).values) == 100_000


def test_opening_is_fast_and_reads_no_data(tmp_path):
    """200 MB of values: opened in well under a second, without bringing them into memory."""
    write_store(tmp_path / "s", singles([np.zeros(1_000_000, np.uint8)] * 200, range(200)), np.uint8, {})
    before, start = resident_bytes(), time.perf_counter()
    store = Store(tmp_path / "s")
    values, _ = store.gather([3, 150], 1000)
    assert time.perf_counter() - start < 1
    assert resident_bytes() - before < 20e6
    assert values.shape == (2, 1000)


def test_a_store_is_complete_only_for_its_own_source(tmp_path):
    write_store(tmp_path / "s", singles([[1]], [0]), np.uint8, {"files": [["a", 3, 4]]})
    assert is_complete(tmp_path / "s", {"files": [["a", 3, 4]]})
    assert not is_complete(tmp_path / "s", {"files": [["a", 3, 5]]})
    assert not is_complete(tmp_path / "other", {})


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy", "labels.npy", "meta.json"])
def test_a_shortened_or_missing_file_is_not_taken_for_complete(tmp_path, name):
    for damage in ("shorten", "delete"):
        write_store(tmp_path / "s", singles([[1, 2, 3]], [0]), np.uint8, {})
        file = tmp_path / "s" / name
        os.truncate(file, file.stat().st_size - 2) if damage == "shorten" else file.unlink()
        assert not is_complete(tmp_path / "s", {})
        with pytest.raises(DataError, match="no complete array store here"):
            Store(tmp_path / "s")


def test_another_format_version_is_not_read(tmp_path):
    write_store(tmp_path / "s", singles([[1]], [0]), np.uint8, {})
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    (tmp_path / "s" / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    assert not is_complete(tmp_path / "s", {})


def test_a_failing_source_leaves_nothing_and_keeps_the_old_store(tmp_path):
    def broken():
        yield (np.array([1]),), 0
        raise DataError("line 2 is bad")

    with pytest.raises(DataError, match="line 2"):
        write_store(tmp_path / "s", broken(), np.uint8, {})
    assert list(tmp_path.iterdir()) == []
    write_store(tmp_path / "s", singles([[7]], [0]), np.uint8, {})
    with pytest.raises(DataError, match="line 2"):
        write_store(tmp_path / "s", broken(), np.uint8, {})
    assert Store(tmp_path / "s").values.tolist() == [7]


def test_a_source_without_samples_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no samples"):
        write_store(tmp_path / "s", [], np.uint8, {})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.np, "save", full)
    with pytest.raises(DataError, match="the disk is full") as raised:
        write_store(tmp_path / "s", singles([[1]], [0]), np.uint8, {})
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(DataError, match=r"choose another data\.root"), locked(tmp_path / "file" / "s"):
        pass


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy", "labels.npy"])
def test_other_bytes_in_a_file_of_the_same_size_are_one_line(tmp_path, name):
    write_store(tmp_path / "s", singles([[1]], [0]), np.uint8, {})
    file = tmp_path / "s" / name
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(DataError, match=rf"{name}: damaged; delete .*/s and prepare") as raised:
        Store(tmp_path / "s")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("meta", ["", "[]", "{}", "\0\0"])
def test_a_damaged_description_is_no_store(tmp_path, meta):
    write_store(tmp_path / "s", singles([[1]], [0]), np.uint8, {})
    (tmp_path / "s" / "meta.json").write_text(meta)
    assert not is_complete(tmp_path / "s", {})


def test_who_copies_a_source_learns_which_side_failed(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read .Is a directory."), writing(tmp_path / "copy"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="missing: cannot be read"), writing(tmp_path / "copy"):
        open_source(tmp_path / "missing")


def test_a_new_store_replaces_an_old_one_and_open_readers_keep_the_old(tmp_path):
    write_store(tmp_path / "s", singles([[1]], [0]), np.uint8, {"v": 1})
    old = Store(tmp_path / "s")
    write_store(tmp_path / "s", singles([[2]], [0]), np.uint8, {"v": 2})
    assert old.values.tolist() == [1]
    assert Store(tmp_path / "s").values.tolist() == [2]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / ".s.99999.partial"
    left.mkdir()
    (left / "values.npy").write_text("half")
    with landing(tmp_path / "s") as temporary:
        temporary.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_two_processes_take_turns(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        spans = sorted(pool.map(hold_the_lock, [tmp_path / "s"] * 2, chunksize=1))
    assert spans[0][1] <= spans[1][0]
