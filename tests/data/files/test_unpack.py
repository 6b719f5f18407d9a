"""Unpacking: only what is wanted, all of it or nothing, and nothing harmful."""

import errno
import io
import tarfile

import pytest

from seqboat_lab.data.files import unpack as unpack_module
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.unpack import unpack

TASK = Official("x", ("deep/deep/task", "deep/task"), "task", ("a.txt", "sub"), r"\.txt$")
GOOD = {"deep/deep/task/a.txt": b"A" * 3000, "deep/deep/task/sub/b.txt": b"B", "deep/deep/task/c.bin": b"C", "x": b"X"}


def make_tar(path, files, mode="w:gz", extra=()):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def contents(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def left(directory):
    return sorted(p.name for p in directory.iterdir() if not p.name.endswith((".lock", ".tar")))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_only_the_wanted_members_are_written(tmp_path, mode):
    unpack(make_tar(tmp_path / "a.tar", GOOD, mode), TASK, tmp_path / "task")
    assert contents(tmp_path / "task") == {"a.txt": b"A" * 3000, "sub/b.txt": b"B"}
    assert left(tmp_path) == ["task"]


def test_the_whole_copy_is_preferred_to_the_partial_one(tmp_path):
    files = {"deep/task/a.txt": b"partial"} | GOOD
    unpack(make_tar(tmp_path / "a.tar", files), TASK, tmp_path / "task")
    assert contents(tmp_path / "task")["a.txt"] == b"A" * 3000


def test_a_whole_copy_one_level_up_is_taken_when_there_is_no_other(tmp_path):
    files = {"./deep/task/a.txt": b"up", "./deep/task/sub/b.txt": b"B"}
    unpack(make_tar(tmp_path / "a.tar", files), TASK, tmp_path / "task")
    assert contents(tmp_path / "task")["a.txt"] == b"up"


def test_unpacking_again_changes_nothing(tmp_path):
    archive = make_tar(tmp_path / "a.tar", GOOD)
    unpack(archive, TASK, tmp_path / "task")
    (tmp_path / "task" / "a.txt").write_text("mine")
    unpack(archive, TASK, tmp_path / "task")
    assert contents(tmp_path / "task")["a.txt"] == b"mine"


def test_an_incomplete_directory_of_the_user_is_not_overwritten(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine").write_text("mine")
    with pytest.raises(DataError, match=r"is there but lacks a\.txt; complete it or move it away"):
        unpack(make_tar(tmp_path / "a.tar", GOOD), TASK, tmp_path / "task")
    assert contents(tmp_path / "task") == {"mine": b"mine"}


@pytest.mark.parametrize(
    ("files", "extra", "what"),
    [
        ({"/etc/evil": b""}, (), "a path that leads out"),
        ({"deep/deep/task/../../../evil.txt": b""}, (), "a path that leads out"),
        ({}, (special("deep/deep/task/l.txt", tarfile.SYMTYPE, "/etc/passwd"),), "a link"),
        ({}, (special("deep/deep/task/l.txt", tarfile.LNKTYPE, "x"),), "a link"),
        ({}, (special("deep/deep/task/d.txt", tarfile.CHRTYPE),), "a device"),
        ({}, (special("deep/deep/task/p.txt", tarfile.FIFOTYPE),), "a device"),
    ],
)
def test_harmful_members_are_refused_and_leave_nothing(tmp_path, files, extra, what):
    archive = make_tar(tmp_path / "a.tar", GOOD | files, extra=extra)
    with pytest.raises(DataError, match=f"refused, since its member .* is {what}"):
        unpack(archive, TASK, tmp_path / "task")
    assert left(tmp_path) == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.999, 0.6, 0.3, 0.02])
def test_a_truncated_archive_leaves_nothing(tmp_path, mode, share):
    archive = make_tar(tmp_path / "a.tar", GOOD, mode)
    data = archive.read_bytes()
    data = data.rstrip(b"\0") if mode == "w" else data  # a plain tar ends in zeros that may well be missing
    archive.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="damaged or truncated archive") as raised:
        unpack(archive, TASK, tmp_path / "task")
    assert "\n" not in str(raised.value)
    assert left(tmp_path) == []


def test_a_flipped_bit_in_a_compressed_archive_leaves_nothing(tmp_path):
    archive = make_tar(tmp_path / "a.tar", GOOD)
    data = bytearray(archive.read_bytes())
    data[-6] ^= 1  # in the checksum, the hardest place to notice
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged or truncated"):
        unpack(archive, TASK, tmp_path / "task")
    assert left(tmp_path) == []


def test_a_tar_that_breaks_off_between_two_members_is_found(tmp_path):
    """Python's tarfile takes this for the end."""
    whole = make_tar(tmp_path / "a.tar", GOOD, "w").read_bytes()
    cut = whole.index(b"deep/deep/task/c.bin")
    (tmp_path / "a.tar").write_bytes(whole[:cut])
    with tarfile.open(tmp_path / "a.tar", "r|*") as tar:
        assert len(list(tar)) == 2
    with pytest.raises(DataError, match="it breaks off"):
        unpack(tmp_path / "a.tar", TASK, tmp_path / "task")
    assert left(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"this is no archive" * 100])
def test_what_is_no_archive_is_named(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DataError, match="no tar at all"):
        unpack(tmp_path / "a.tar", TASK, tmp_path / "task")
    assert left(tmp_path) == []


def test_another_archive_is_named(tmp_path):
    archive = make_tar(tmp_path / "a.tar", {"other/file.txt": b""})
    with pytest.raises(DataError, match=r"no complete copy of deep/deep/task or deep/task; expected a\.txt, sub"):
        unpack(archive, TASK, tmp_path / "task")
    assert left(tmp_path) == []


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.tar: no such archive"):
        unpack(tmp_path / "none.tar", TASK, tmp_path / "task")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack_module, "_write", full)
    with pytest.raises(DataError, match="the disk is full"):
        unpack(make_tar(tmp_path / "a.tar", GOOD), TASK, tmp_path / "task")
    assert left(tmp_path) == []
