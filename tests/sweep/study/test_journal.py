"""A damaged journal loses at most the record that was being written."""

import json
import multiprocessing as mp
import os
import signal
import warnings
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from seqboat_lab.config.checks import UserError
from seqboat_lab.sweep.study.journal import Journal, KernelLock

optuna.logging.set_verbosity(optuna.logging.ERROR)
STUDY = {"op_code": 0, "worker_id": "", "study_name": "s", "directions": [2]}


def make_study(path: Path, trials: int = 3) -> None:
    study = optuna.create_study(storage=JournalStorage(Journal(path)), study_name="s", direction="maximize")
    for n in range(trials):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, n)


def values(path: Path) -> list[float | None]:
    study = optuna.load_study(storage=JournalStorage(Journal(path, STUDY)), study_name="s")
    return [t.value for t in study.trials]


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "study.journal"
    make_study(path)
    return path


@pytest.mark.parametrize(
    "tail", [b'{"op_code":4,"wor', b"\0" * 700, b"\0" * 4096 + b"\n", b"\n", b"\n\n", b"\xff\xfe", b"12\n"]
)
def test_a_torn_end_is_cut_off_and_kept_beside(journal, tail):
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    with pytest.warns(UserWarning, match=r"study.journal had a torn end of .* set aside as .*study.journal.torn-1"):
        assert values(journal) == [0, 1, 2]
    assert journal.read_bytes() == whole
    assert journal.with_name("study.journal.torn-1").read_bytes() == tail
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once mended, nothing more is said
        assert values(journal) == [0, 1, 2]


def test_a_record_written_after_a_torn_one_is_not_lost(journal):
    """What Optuna's own file does: it goes on in the same line, and the study is unreadable from then on."""
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[3][:20] + lines[-1])
    with pytest.warns(UserWarning, match=r"damaged lines .*; .*damaged-1 is as it was"):
        assert values(journal) == [0, 1, 2]


def test_a_worker_that_is_there_already_cuts_a_torn_end_before_it_writes(journal):
    study = optuna.load_study(storage=JournalStorage(Journal(journal)), study_name="s")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,')
    with pytest.warns(UserWarning, match="torn end of 13 bytes"):
        study.tell(study.ask(), 7)
    assert values(journal) == [0, 1, 2, 7]


@given(cut=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_cut_off_anywhere_the_study_goes_on_from_its_whole_records(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "study.journal"
    make_study(path)
    content = path.read_bytes()
    cut %= len(content)
    path.write_bytes(content[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Journal(path)
    assert path.read_bytes() == content[: content.rfind(b"\n", 0, cut) + 1]


def test_each_single_damaged_line_leaves_the_other_trials_as_they_were(journal):
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    for n, line in enumerate(lines[:-1]):
        journal.write_bytes(b"".join(lines[:n]) + b"\0" * (len(line) - 1) + b"\n" + b"".join(lines[n + 1 :]))
        with pytest.warns(UserWarning, match=rf"the first is line {n + 1}\)"):
            found = values(journal)
        assert len(found) == 3  # a lost trial's place is kept: no other takes its number
        assert sum(a == b for a, b in zip(found, [0, 1, 2], strict=True)) >= 2


def test_a_journal_that_cannot_be_mended_is_one_line_and_stays_as_it_is(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    for n in range(1, len(lines) - 1):
        lines[n] = b"garbage\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"study.journal is damaged in line 2 and .* move it away") as caught:
        Journal(journal)
    assert "\n" not in str(caught.value)
    assert journal.read_bytes() == b"".join(lines)


def test_a_failed_write_leaves_no_half_line(journal, monkeypatch):
    study = optuna.load_study(storage=JournalStorage(Journal(journal)), study_name="s")
    whole = journal.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            study.set_user_attr("a", 1)
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    study.set_user_attr("b", 2)
    assert values(journal) == [0, 1, 2]


def _hold(path: Path, held) -> None:
    KernelLock(path).acquire()
    held.set()
    signal.pause()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    context = mp.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(20)
    process.kill()
    process.join()
    lock = KernelLock(tmp_path / "lock")
    assert lock.acquire()
    lock.release()


def test_lost_trials_come_back_with_what_was_told_of_them(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    creates = [i for i, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
    lines[creates[1]] = b"\0" * 40 + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.warns(UserWarning, match="damaged"):
        study = optuna.load_study(storage=JournalStorage(Journal(journal)), study_name="s")
    assert [(t.number, t.state, t.value) for t in study.trials] == [(n, TrialState.COMPLETE, n) for n in range(3)]
    assert all("x" in t.params for t in study.trials)


def make_two_studies(path: Path) -> None:
    """As a sweep does: runs beside the search are queued, then claimed, in a study of their own."""
    storage = JournalStorage(Journal(path))
    optuna.create_study(storage=storage, study_name="s", direction="maximize")
    side = optuna.create_study(storage=storage, study_name="s-references", direction="maximize")
    for n in range(2):
        side.enqueue_trial({}, user_attrs={"job": n})
        trial = side.ask()
        trial.set_user_attr("run", "somewhere")
        side.tell(trial, n)
    study = optuna.load_study(storage=storage, study_name="s")
    for n in range(3):
        trial = study.ask()
        trial.set_user_attr("key", "k")
        trial.suggest_float("x", 0, 1)
        study.tell(trial, n)
    side.enqueue_trial({}, user_attrs={"job": 2})


def test_each_single_damaged_line_leaves_the_numbers_of_the_search_with_runs_beside_it(tmp_path):
    path = tmp_path / "study.journal"
    make_two_studies(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for n, line in enumerate(lines[:-1]):
        path.write_bytes(b"".join(lines[:n]) + b"\0" * (len(line) - 1) + b"\n" + b"".join(lines[n + 1 :]))
        with pytest.warns(UserWarning, match=rf"the first is line {n + 1}\)"):
            found = values(path)
        assert len(found) == 3, (n, line)
        assert sum(a == b for a, b in zip(found, [0, 1, 2], strict=True)) >= 2
        optuna.create_study(storage=JournalStorage(Journal(path)), study_name="s-references", load_if_exists=True,
                            direction="maximize")  # fmt: skip
