"""The journal file of a study, mended where a full disk, a power cut or a kill has damaged it."""

import fcntl
import itertools
import json
import os
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation as Op

from seqboat_lab.config.checks import UserError

MOST_GAPS = 6  # damaged lines before the end that are still mended: 3^6 ways are tried
LOST_WORKER = "lost"  # stands as the worker of a trial of which nothing else is known


class KernelLock(BaseJournalFileLock):
    """Exclusive between processes, and freed by the kernel however its holder ends.

    (Optuna's own lock is a symbolic link: the one of a process that was killed is waited for for ever where the
    journal's path is relative.)
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: TextIO | None = None

    def acquire(self) -> bool:
        self._file = self._path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Journal(JournalFileBackend, BaseJournalBackend):
    """Optuna's journal file, of which only whole lines count.

    When it is opened, a torn end is cut off and kept in a file beside it, and a damaged line before the end is left
    out if the rest still makes sense; a warning says so. A write that fails leaves no half line behind.
    Raises `UserError` for a journal that cannot be mended.
    """

    def __init__(self, path: Path, study: Mapping[str, Any] | None = None):
        """`study`: its record, the first one, should that be the damaged one."""
        self._path, self._study = Path(path), study
        self._mutex = KernelLock(self._path.with_name(f"{self._path.name}.flock"))
        super().__init__(str(path), self._mutex)
        with self._locked():
            self._mend()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._mutex.acquire()
        try:
            yield
        finally:
            self._mutex.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        data = _lines(logs)
        with self._locked(), self._path.open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":  # its writer died half way
                self._cut(self._path.read_bytes().rfind(b"\n") + 1)
                end = file.seek(0, os.SEEK_END)
            written = 0
            try:
                while written < len(data):
                    written += file.write(data[written:])
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end + data.rfind(b"\n", 0, written) + 1)  # whole lines others may have read by now
                raise

    def _mend(self) -> None:
        *lines, tail = self._path.read_bytes().split(b"\n")
        parsed = [_parse(line) for line in lines]
        if not tail and all(clean for _, clean in parsed):
            return
        n = 1 + max((i for i, (log, _) in enumerate(parsed) if log), default=-1)  # the rest is torn
        damaged = [i for i, (_, clean) in enumerate(parsed[:n]) if not clean]
        if not damaged:
            self._cut(sum(len(line) + 1 for line in lines[:n]))
            return
        gaps = [i for i in damaged if lines[i].strip() and not parsed[i][0]]
        records = [log for line, (log, _) in zip(lines[:n], parsed, strict=False) if line.strip()]
        places = [i for i in range(n) if lines[i].strip()]
        if self._study and not records[0]:
            records[0] = dict(self._study)
            del gaps[0]
        mended = _fill(records, [places.index(i) for i in gaps])
        if mended is None:
            more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
            raise UserError(
                f"{self._path} is damaged in line {gaps[0] + 1}{more}, and what follows makes no sense without; bring "
                "it back from a backup, or move it away to begin the study anew"
            )
        aside = _unused(self._path.with_name(f"{self._path.name}.damaged"))
        _write(aside, self._path.read_bytes())
        new = self._path.with_name(f"{self._path.name}.tmp")
        _write(new, _lines(mended))
        new.replace(self._path)
        which = f"{len(damaged)} damaged lines (the first is line {damaged[0] + 1})"
        warnings.warn(f"{self._path} had {which}, which were mended or left out; {aside} is as it was", stacklevel=2)

    def _cut(self, end: int) -> None:
        """Cuts the file off at byte `end`."""
        torn = self._path.read_bytes()[end:]
        aside = _unused(self._path.with_name(f"{self._path.name}.torn"))
        _write(aside, torn)
        os.truncate(self._path, end)
        warnings.warn(f"{self._path} had a torn end of {len(torn)} bytes; it is set aside as {aside}", stacklevel=2)


def _lines(logs: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)


def _parse(line: bytes) -> tuple[dict[str, Any] | None, bool]:
    """The record of a line, if there is one, and whether that is all of the line. After a half line, or zeros, of a
    writer that died, another one's record may stand in the same line."""
    starts = [0, line.rfind(b'{"op_code"')]
    for start in starts[: 1 if starts[1] <= 0 else 2]:
        try:
            log = json.loads(line[start:])
        except (ValueError, RecursionError):
            continue
        if isinstance(log, dict) and isinstance(log.get("op_code"), int):
            return log, start == 0
    return None, False


def _fill(logs: list[dict[str, Any] | None], gaps: Sequence[int]) -> list[dict[str, Any]] | None:
    """The records without those lost at `gaps`, or None if none of the ways to do without makes sense.

    A lost attribute, value or state is simply missing. A lost trial would give all later ones its number: where the
    others need it, one that starts then stands in its place, and what is told of it later makes it whole, or a study.
    """
    if len(gaps) > MOST_GAPS:
        return None
    for chosen in sorted(itertools.product((0, 1, 2), repeat=len(gaps)), key=sum):
        trials, studies = ({gap for gap, kind in zip(gaps, chosen, strict=True) if kind == k} for k in (1, 2))
        mended = (
            _lost_trial(logs, i, trials) if i in trials else _lost_study(logs, i) if i in studies else log
            for i, log in enumerate(logs)
        )
        filled = [log for log in mended if log]
        if _makes_sense(filled):
            return filled
    return None


def _lost_study(logs: Sequence[dict[str, Any] | None], place: int) -> dict[str, Any]:
    """A study that stands for the one lost at `place`, which held runs beside the search: they are found again."""
    search = next(log for log in logs if log and log["op_code"] == Op.CREATE_STUDY)
    return {**search, "study_name": f"{LOST_WORKER}-{place}"}


def _lost_trial(logs: Sequence[dict[str, Any] | None], place: int, gaps: Container[int]) -> dict[str, Any]:
    """A trial that stands for the one lost at `place`; `gaps`: where others were lost.

    Of the search, whose study is the journal's first, unless what is told of it later is told of other runs only: the
    numbers of the search's trials must stay what they were.
    """
    before = [log for i, log in enumerate(logs[:place]) if log or i in gaps]
    number = sum(log is None or log["op_code"] == Op.CREATE_TRIAL for log in before)
    example = next((log for log in logs if log and log["op_code"] == Op.CREATE_TRIAL), {})
    told = [log for log in logs[place:] if log and log.get("trial_id") == number]
    searched = any(log["op_code"] == Op.SET_TRIAL_PARAM or "key" in log.get("user_attr", {}) for log in told)
    newest = sum(log is not None and log["op_code"] == Op.CREATE_STUDY for log in before) - 1
    return {"op_code": int(Op.CREATE_TRIAL), "worker_id": "", "study_id": 0 if searched or not told else newest,
            "datetime_start": example.get("datetime_start"), "user_attrs": {"worker": LOST_WORKER}}  # fmt: skip


def _makes_sense(logs: Sequence[dict[str, Any]]) -> bool:
    """Does every record speak of a study and a trial that are there?"""
    studies = trials = 0
    for log in logs:
        if log["op_code"] == Op.CREATE_STUDY:
            studies += 1
            continue
        if "study_id" in log and not log["study_id"] < studies:
            return False
        if "trial_id" in log and not log["trial_id"] < trials:
            return False
        trials += log["op_code"] == Op.CREATE_TRIAL
    return True


def _unused(path: Path) -> Path:
    """`path`-1, or the first such name that is free."""
    return next(p for n in itertools.count(1) if not (p := path.with_name(f"{path.name}-{n}")).exists())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
