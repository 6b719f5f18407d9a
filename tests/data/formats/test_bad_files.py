"""What lies among data, changes behind our back, or is built to hurt: through the command line where it shows there."""

import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.config.data import CorpusConfig, TextConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.unpack import unpack
from seqboat_lab.data.files.unpack_file import unpack_file
from seqboat_lab.data.generators.pathfinder_files import read_image
from seqboat_lab.data.loading import base
from seqboat_lab.data.prepare import prepare
from seqboat_lab.data.tasks.image import read_batch
from seqboat_lab.data.tasks.language import CorpusDataModule
from seqboat_lab.data.tasks.listops import read_tsv
from seqboat_lab.data.tasks.speech_commands import WORDS, read_wav
from seqboat_lab.data.tasks.text import TextDataModule
from tests.data.tasks.test_image import batch_of
from tests.data.tasks.test_pathfinder import write_official
from tests.data.tasks.test_speech_commands import write_tree, write_wav

TASK = Official("x", ("task",), "task", ("a.txt",), r"\.txt$", largest=10_000, unpacked=1_000_000)


def write_reviews(root, each=20):
    for split in ("train", "test"):
        for name in ("pos", "neg"):
            folder = root / "aclImdb" / split / name
            folder.mkdir(parents=True)
            for i in range(each):
                (folder / f"{i:02d}_1.txt").write_text(f"{split} {name} {i:02d}")
    return root / "aclImdb"


def prepared(capsys, *arguments):
    """What the command line says about each split: `80 train, 10 val, 10 test`."""
    assert main(["data", "prepare", *arguments]) == 0
    return capsys.readouterr().out.rpartition(": ")[2].strip()


def refused(capsys, *arguments):
    try:
        status = main(["data", *arguments])
    except SystemExit as ended:  # how argparse refuses
        status = ended.code
    assert status == 2
    told = capsys.readouterr().err
    assert told.startswith("seqboat: ")
    assert told.count("\n") == 1
    return told


# Files that are not data -----------------------------------------------------------------------------------------------


def test_system_files_in_an_unpacked_tree_are_no_samples(tmp_path, capsys):
    tree = write_reviews(tmp_path)
    for folder in tree.glob("*/*"):
        for name in ("._00_1.txt", ".DS_Store", "Thumbs.db", ".hidden.txt"):
            (folder / name).write_bytes(b"\0\5\26\7")
    assert prepared(capsys, "text", f"root={tmp_path}") == "36 train, 4 val, 40 test"
    tree = write_tree(tmp_path)
    for word in WORDS:
        (tree / word / "._03_nohash_0.wav").write_bytes(b"\0\5\26\7")
    assert prepared(capsys, "speech_commands", f"root={tmp_path}") == "60 train, 20 val, 20 test"
    tree = write_official(tmp_path)
    (tree / "metadata/._0.npy").write_bytes(b"\0\5\26\7")
    (tree / "imgs/0/._sample_0.png").write_bytes(b"\0\5\26\7")
    assert prepared(capsys, "pathfinder", f"root={tmp_path}", "--processes", "1") == "24 train, 3 val, 3 test"
    texts = tmp_path / "texts"
    (texts / ".git").mkdir(parents=True)
    for name in ("a.txt", "._a.txt", "Thumbs.db", ".git/b.txt"):
        (texts / name).write_text(name * 20)
    assert prepared(capsys, "corpus", f"root={tmp_path / 'data'}", f"path={texts}") == "90 train, 5 val, 5 test"


def test_system_files_in_an_archive_are_not_unpacked(tmp_path):
    names = ("task/a.txt", "task/._a.txt", "task/__MACOSX/b.txt", "task/.hidden/c.txt", "._task/d.txt")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    unpack(tmp_path / "a.tar", TASK, tmp_path / "task")
    assert [path.name for path in (tmp_path / "task").rglob("*")] == ["a.txt"]


# Sources that change ---------------------------------------------------------------------------------------------------


def review(root):
    return write_reviews(root) / "train/pos/03_1.txt", ["text"], b"TRAIN POS 03"


def clip(root):
    file = write_tree(root) / "yes/03_nohash_0.wav"
    return file, ["speech_commands"], file.read_bytes()[:44] + b"\1\2" * 16_000


def image(root):
    directory = write_official(root)
    buffer = io.BytesIO()
    Image.new("L", (32, 32), 7).save(buffer, "PNG")
    return directory / "imgs/0/sample_3.png", ["pathfinder", "--processes", "1"], buffer.getvalue()


@pytest.mark.parametrize("kind", [review, clip, image])
@pytest.mark.parametrize("few", [True, False])
def test_a_source_rewritten_in_place_is_noticed(tmp_path, capsys, monkeypatch, kind, few):
    """Beyond `FEW` files by `data prepare`, which looks at each."""
    monkeypatch.setattr(base, "FEW", 60_000 if few else 0)
    file, arguments, changed = kind(tmp_path)
    prepared(capsys, *arguments, f"root={tmp_path}")
    before = {path: path.read_bytes() for path in (tmp_path / "prepared").rglob("values.npy")}
    file.write_bytes(changed)
    prepared(capsys, *arguments, f"root={tmp_path}")
    after = {path: path.read_bytes() for path in (tmp_path / "prepared").rglob("values.npy")}
    assert sum(before[path] != after[path] for path in before) == 1


def test_opening_notices_a_rewritten_review_too(tmp_path, monkeypatch):
    def opened():
        module = TextDataModule(TextConfig(root=str(tmp_path)), seed=0, batch_size=2)
        module.prepare_data()
        module.setup()
        return b"TRAIN POS 03" in module.stores["train"].values.tobytes() + module.stores["val"].values.tobytes()

    file, _, changed = review(tmp_path)
    assert not opened()
    file.write_bytes(changed)
    with monkeypatch.context() as many:
        many.setattr(base, "FEW", 10)
        assert not opened()  # too many to look at: `data prepare` does
    assert opened()


def test_a_store_with_other_bytes_of_the_same_size_is_made_again(tmp_path, capsys):
    """`data prepare` reads all of it, however large."""
    write_reviews(tmp_path)
    prepared(capsys, "text", f"root={tmp_path}")
    (file,) = (tmp_path / "prepared").glob("*/*/train/values.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    prepared(capsys, "text", f"root={tmp_path}")
    assert file.read_bytes() == whole


# Pictures --------------------------------------------------------------------------------------------------------------


def in_mode(mode, gray):
    if mode == "I;16":
        return Image.fromarray(gray.astype(np.uint16) * 257)
    return Image.fromarray(gray).convert(mode)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "P"])
def test_pictures_of_every_kind_keep_their_brightness(tmp_path, mode):
    gray = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    in_mode(mode, gray).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 32).tolist() == gray.ravel().tolist()


def test_one_bit_is_black_and_white_and_sixteen_are_rounded(tmp_path):
    gray = np.random.default_rng(0).integers(0, 2, (32, 32), np.uint8) * 255
    Image.fromarray(gray).convert("1").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 32).tolist() == gray.ravel().tolist()
    deep = np.random.default_rng(0).integers(0, 65536, (32, 32), np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png", 32).tolist() == np.round(deep / 65535 * 255).astype(int).ravel().tolist()


def test_a_transparent_picture_is_refused(tmp_path):
    Image.new("RGBA", (32, 32), (255, 255, 255, 0)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: has transparent pixels"):
        read_image(tmp_path / "a.png", 32)


# Sound -----------------------------------------------------------------------------------------------------------------

SAMPLES = np.arange(1, 101, dtype="<i2")
PLAIN = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
GUID = bytes.fromhex("0100000000001000800000aa00389b71")
EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 32_000, 2, 16, 22, 16, 4) + GUID


def chunk(name, data, size=None, pad=b"\0"):
    return name + struct.pack("<I", len(data) if size is None else size) + data + (pad if len(data) % 2 else b"")


def riff(*chunks, size=None):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


DATA = SAMPLES.tobytes()
STREAM = 0xFFFFFFFF


@pytest.mark.parametrize(
    "file",
    [
        riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA)),
        riff(chunk(b"fmt ", EXTENSIBLE), chunk(b"data", DATA)),
        riff(chunk(b"fmt ", PLAIN + b"\0\0"), chunk(b"LIST", b"INFOISFT\6\0\0\0Lavf\0\0"), chunk(b"data", DATA)),
        riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA), chunk(b"LIST", b"INFO later")),
        riff(chunk(b"odd ", b"123"), chunk(b"fmt ", PLAIN), chunk(b"data", DATA)),
        riff(chunk(b"odd ", b"123", pad=b""), chunk(b"fmt ", PLAIN), chunk(b"data", DATA)),
        riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA, STREAM), size=STREAM),
        riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA, 0), size=0),
        riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA, 0x7FFFFFFF - 36), size=0x7FFFFFFF),
    ],
)
def test_unusual_but_valid_sound_files_are_read(tmp_path, file):
    (tmp_path / "a.wav").write_bytes(file)
    assert read_wav(tmp_path / "a.wav").tolist() == SAMPLES.tolist()


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA))[:-3], "breaks off after 98 of 100 samples"),
        (riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA[:-1], pad=b"")), "ends in the middle of a sample"),
        (riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA[:-1], STREAM, b""), size=0), "ends in the middle of a sample"),
        (riff(chunk(b"fmt ", PLAIN), chunk(b"data", DATA, STREAM)), "breaks off"),
        (riff(chunk(b"fmt ", struct.pack("<H", 3) + PLAIN[2:]), chunk(b"data", DATA)), "samples of format 0x0003"),
        (riff(chunk(b"fmt ", EXTENSIBLE[:-16] + b"\3" * 16), chunk(b"data", DATA)), "samples of format 0xfffe"),
        (riff(chunk(b"data", DATA)), "samples before any description"),
        (riff(chunk(b"fmt ", PLAIN[:7])), "a format description of 7 bytes"),
        (riff(chunk(b"fmt ", PLAIN)), "breaks off before its samples"),
        (b"RIFX" + b"\0" * 60, "no RIFF WAVE header"),
    ],
)
def test_bad_sound_files_are_one_line(tmp_path, file, problem):
    (tmp_path / "a.wav").write_bytes(file)
    with pytest.raises(DataError, match=rf"a\.wav: .*{problem}"):
        read_wav(tmp_path / "a.wav")


def test_a_clip_of_gigabytes_is_not_read(tmp_path):
    write_wav(tmp_path / "a.wav", [0] * 100)
    os.truncate(tmp_path / "a.wav", 5_000_000_000)  # sparse
    with pytest.raises(DataError, match="too many for a clip"):
        read_wav(tmp_path / "a.wav")


# Bombs -----------------------------------------------------------------------------------------------------------------


class Zeros(io.RawIOBase):
    def __init__(self, size):
        self.left = size

    def read(self, size=-1):
        size = min(size, self.left)
        self.left -= size
        return b"\0" * size


@pytest.mark.parametrize("name", ["task/a.txt", "task/other.bin"])
def test_a_member_larger_than_the_task_can_have_is_refused_before_it_is_unpacked(tmp_path, name):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 30_000_000
        tar.addfile(info, Zeros(info.size))
    with pytest.raises(DataError, match=r"30,000,000 bytes; at most 10,000|unpacks to more than 1,000,000 bytes"):
        unpack(tmp_path / "a.tar", TASK, tmp_path / "task")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["a.tar"]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_name_of_gigabytes_is_not_held_in_memory(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        info = tarfile.TarInfo("task/a.txt")
        info.type, info.size = kind, 40_000_000
        tar.fileobj.write(info.tobuf())
        tar.fileobj.write(b"x" * info.size)
    tracemalloc.start()
    with pytest.raises(DataError, match="absurd size"):
        unpack(tmp_path / "a.tar", TASK, tmp_path / "task")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_zip_of_another_size_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("text", b"\0" * 20_000_000)
    with pytest.raises(DataError, match="holds 20,000,000 bytes of text, expected 500"):
        unpack_file(tmp_path / "a.zip", Official("x", (), "x", ("text",), single_file=True, size=500), tmp_path / "x")


def test_a_line_without_end_is_not_held_in_memory(tmp_path, capsys):
    folder = tmp_path / "lra_release/lra_release/listops-1000"
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (folder / f"basic_{split}.tsv").write_text("Source\tTarget\n1\t1\n")
    os.truncate(folder / "basic_train.tsv", 3_000_000_000)  # sparse: zeros without a line feed
    tracemalloc.start()
    assert "basic_train.tsv, line 3: longer than" in refused(capsys, "prepare", "listops", f"root={tmp_path}")
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_numbers_of_thousands_of_digits_are_one_short_line(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text(f"Source\tTarget\n1\t{'9' * 9000}\n")
    with pytest.raises(DataError, match="label '9999") as raised:
        list(read_tsv(tmp_path / "a.tsv"))
    assert len(str(raised.value)) < 300
    directory = write_official(tmp_path)
    file = directory / "metadata/0.npy"
    for row in (f"imgs/0 a.png 0 {'1' * 9000}\n", f"imgs/0 {'a' * 9000}.png 0 1\n", "imgs/0 a\0b.png 0 1\n"):
        file.write_text(row * 10)
        assert len(refused(capsys, "prepare", "pathfinder", f"root={tmp_path}", "--processes", "1")) < 2200
    file.rename(file.with_name("9" * 200 + ".npy"))  # no number that a folder has: left out
    assert prepared(capsys, "pathfinder", f"root={tmp_path}", "--processes", "1") == "16 train, 2 val, 2 test"


# CIFAR-10 --------------------------------------------------------------------------------------------------------------


def absurd_shape(data):
    return data.replace(b"K\x14M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86")


@pytest.mark.parametrize(
    "hostile",
    [
        absurd_shape(pickle.dumps(batch_of(0), 2)),
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a place in the memo table, which would grow to 32 GB
        b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
        b"\x80\x02}" + b"(" * 10_000 + b".",
        b"\x80\x02}K\x00" + b"2\x86" * 60 + b"K\x01s.",  # a key that takes 2^60 steps to hash
        b"\x80\x02I" + b"9" * 10_000 + b"\n.",
    ],
)
def test_a_pickle_of_absurd_sizes_is_one_line(tmp_path, hostile):
    (tmp_path / "data_batch_1").write_bytes(hostile)
    tracemalloc.start()
    with pytest.raises(DataError, match="not a CIFAR-10 batch") as raised:
        read_batch(tmp_path / "data_batch_1")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("label", [3.5, 3.0, True, "3", None, 10**400])
def test_a_label_that_is_not_a_whole_number_is_refused(tmp_path, label):
    (tmp_path / "b").write_bytes(pickle.dumps(batch_of(0) | {b"labels": [1] * 19 + [label]}))
    with pytest.raises(DataError, match=r"image 19: label .*; expected 0 to 9, a whole number"):
        read_batch(tmp_path / "b")


# Paths -----------------------------------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_directory(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "store")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("text " * 100)
    assert prepared(capsys, "text", "root=~/store") == "36 train, 4 val, 40 test"
    assert prepared(capsys, "corpus", "root=~/store", "path=~/texts") == "450 train, 25 val, 25 test"
    assert main(["data", "status", "--root", "~/store"]) == 0
    assert "36 / 4 / 40" in capsys.readouterr().out
    assert not (tmp_path / "~").exists()
    assert "/mine.gz: no such archive" in refused(capsys, "prepare", "image", "root=~/store", "--from", "~/mine.gz")


def test_files_whose_names_are_no_text_are_read(tmp_path):
    root = tmp_path / "root"
    write_reviews(root)
    (root / "texts").mkdir()
    (root / "texts" / os.fsdecode(b"\xff.txt")).write_text("text " * 100)
    for _ in range(2):
        assert prepare("text", TextConfig(root=str(root))) == {"train": 36, "val": 4, "test": 40}
        config = CorpusConfig(root=str(root / "d"), path=str(root / "texts"))
        assert prepare("corpus", config) == {"train": 450, "val": 25, "test": 25}
    (root / "texts" / os.fsdecode(b"\xff.txt")).unlink()
    with pytest.raises(DataError, match="no file here matches") as raised:
        prepare("corpus", config)
    assert str(raised.value).encode(errors="backslashreplace").count(b"\n") == 0
    with pytest.raises(ConfigError, match="expected a path in UTF-8; rename it"):  # no config.yaml could hold it
        TextConfig(root=os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("bad", ["a\0b", "x" * 300, "y/" * 3000])
def test_a_path_that_cannot_be_is_one_line(tmp_path, capsys, bad):
    write_reviews(tmp_path)
    refused(capsys, "prepare", "text", f"root={tmp_path}/{bad}", "source=synthetic", "synthetic_samples=8")
    refused(capsys, "prepare", "corpus", f"root={tmp_path}", f"path={tmp_path}/{bad}")
    refused(capsys, "prepare", "image", f"root={tmp_path}", "--from", f"{tmp_path}/{bad}")


def test_a_folder_of_ones_own_under_the_data_root_is_a_corpus(tmp_path, capsys):
    mine = tmp_path / "data/mine"
    mine.mkdir(parents=True)
    (mine / "a.txt").write_text("text " * 100)
    arguments = ("corpus", f"root={tmp_path / 'data'}", f"path={mine}")
    assert prepared(capsys, *arguments) == "450 train, 25 val, 25 test"
    assert prepared(capsys, *arguments) == "450 train, 25 val, 25 test"
    around = ("corpus", f"root={tmp_path / 'data'}", f"path={tmp_path}")
    assert "no file here matches" in refused(capsys, "prepare", *around)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe{", b"[" * 100_000, b"{}"])
def test_a_damaged_note_of_a_joined_corpus_makes_it_again(tmp_path, damage):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("text " * 100)

    def opened():
        config = CorpusConfig(root=str(tmp_path / "data"), path=str(tmp_path / "texts"))
        module = CorpusDataModule(config, seed=0, batch_size=1)
        module.prepare_data()
        return module

    place = opened().place
    (place / "made_from.json").write_bytes(damage)
    os.truncate(place / "text", 7)
    assert opened().sizes()["train"] == 450
    os.truncate(place / "text", 7)
    assert opened().sizes()["train"] == 450


def test_a_pipe_among_the_reviews_is_named_and_not_waited_for(tmp_path, capsys):
    os.mkfifo(write_reviews(tmp_path) / "train/pos/pipe.txt")
    assert "pipe.txt: a pipe or a device" in refused(capsys, "prepare", "text", f"root={tmp_path}")


def test_a_generated_file_that_was_deleted_is_made_again(tmp_path, capsys):
    small = ["source=generated", "min_length=5", "max_length=50", "train_size=9", "val_size=3", "test_size=3"]
    command = ["listops", *small, f"root={tmp_path}", "--processes", "1"]
    assert prepared(capsys, *command) == "9 train, 3 val, 3 test"
    (file,) = (tmp_path / "listops").glob("*/basic_val.tsv")
    before = file.read_bytes()
    file.unlink()
    assert prepared(capsys, *command) == "9 train, 3 val, 3 test"
    assert file.read_bytes() == before


class Refusing(torch.utils.data.Dataset):
    def __getitem__(self, _):
        raise DataError("one line")


def test_an_error_in_a_loader_process_stays_one_line():
    loader = torch.utils.data.DataLoader(Refusing(), sampler=[0], batch_size=None, num_workers=1)
    with pytest.raises(DataError) as raised:
        list(loader)
    assert str(raised.value) == "one line"
