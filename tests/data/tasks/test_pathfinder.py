"""Pathfinder's directories, written by the generator or here by hand, read back; and what can be wrong in them."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from seqboat_lab.cli import main
from seqboat_lab.config.data import PathfinderConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.generators.pathfinder import draw_image
from seqboat_lab.data.generators.pathfinder_files import generate, read_metadata
from seqboat_lab.data.generators.pathfinder_sheet import save_sheet
from seqboat_lab.data.tasks.pathfinder import PathfinderDataModule

PLACE = "lra_release/lra_release/pathfinder32/curv_contour_length_14"


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)


def columns(k: int, i: int, label: int) -> list[str]:
    return [f"imgs/{k}", f"sample_{i}.png", str(i), str(label), "1.8", "14", "4", "2", "0.5", "1", "1"]


def write_official(root, form="text", folders=(0, 1, 10), each=10):
    """Folder 10 comes after 2 in number, before it in the alphabet."""
    directory = root / PLACE
    for k in folders:
        (directory / "imgs" / str(k)).mkdir(parents=True)
        rows = []
        for i in range(each):
            Image.fromarray(picture(100 * k + i)).save(directory / f"imgs/{k}/sample_{i}.png")
            rows.append(columns(k, i, (i + k) % 2))
        (directory / "metadata").mkdir(exist_ok=True)
        write_metadata(directory / f"metadata/{k}.npy", rows, form)
    return directory


def write_metadata(path, rows, form):
    if form == "text":
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    else:
        buffer = io.BytesIO()
        np.save(buffer, np.array(rows, dtype="S" if form == "bytes" else "U"))
        path.write_bytes(buffer.getvalue())


def opened(root, **fields) -> PathfinderDataModule:
    module = PathfinderDataModule(PathfinderConfig(root=str(root), **fields), seed=0, batch_size=2)
    module.processes = 1
    module.prepare_data()
    module.setup()
    return module


def contents(module):
    return {
        split: [(bytes(store.gather([i], 10**6)[0][0]), int(store.labels[i])) for i in range(len(module.stores[split]))]
        for split, store in module.stores.items()
    }


@pytest.mark.parametrize("form", ["text", "unicode", "bytes"])
def test_every_image_arrives_pixel_for_pixel_in_torchs_random_split(tmp_path, form):
    write_official(tmp_path, form)
    everything = [(bytes(picture(100 * k + i)), (i + k) % 2) for k in (0, 1, 10) for i in range(10)]
    parts = torch.utils.data.random_split(everything, [24, 3, 3], generator=torch.Generator().manual_seed(42))
    assert contents(opened(tmp_path)) == {
        split: list(part) for split, part in zip(("train", "val", "test"), parts, strict=True)
    }


def test_pixels_are_normalised_or_bytes(tmp_path):
    write_official(tmp_path)
    stored = opened(tmp_path).stores["val"].gather([0], 1024)[0][0].astype(np.float64)
    batch = opened(tmp_path).dataset("val")[[0]]
    np.testing.assert_allclose(batch.inputs[0].numpy(), (stored / 255 - 0.5) / 0.5, atol=1e-6)
    assert batch.padding_mask is None
    module = opened(tmp_path, pixels="bytes")
    assert module.dataset("val")[[0]].inputs[0].tolist() == (stored + 1).tolist()
    assert (module.spec.vocab_size, module.spec.max_length, module.spec.num_classes) == (257, 1024, 2)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda p: p.write_bytes(b""), "it is empty"),
        (lambda p: p.write_bytes(p.read_bytes()[:200]), "broken image"),
        (lambda p: p.write_text("no picture"), "broken image"),
        (lambda p: p.unlink(), "listed in the metadata but not there"),
        (lambda p: Image.new("L", (31, 32)).save(p), "31 x 32 pixels; expected 32 x 32"),
    ],
)
def test_a_broken_image_is_named_and_can_be_skipped(tmp_path, damage, problem):
    whole = contents(opened(tmp_path / "a")) if write_official(tmp_path / "a") else None
    directory = write_official(tmp_path / "b")
    damage(directory / "imgs/1/sample_3.png")
    with pytest.raises(DataError, match=problem) as raised:
        opened(tmp_path / "b")
    assert "imgs/1/sample_3.png" in str(raised.value)
    assert "data.skip_broken=true" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.warns(UserWarning, match=r"imgs/1/sample_3\.png.*left out"):
        left = contents(opened(tmp_path / "b", skip_broken=True))
    bad = (bytes(picture(103)), 0)
    assert left == {split: [row for row in rows if row != bad] for split, rows in whole.items()}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["imgs/0", "sample_0.png", "0", "2"], "line 2: label '2'; expected 0 or 1"),
        (["imgs/0", "sample_0.png", "0"], "line 2: expected folder, file name, index, label"),
        (["../..", "secret.png", "0", "1"], "line 2: .* leads out of the directory"),
        (["/etc", "secret.png", "0", "1"], "line 2: .* leads out of the directory"),
    ],
)
def test_a_bad_metadata_line_is_named(tmp_path, row, message):
    directory = write_official(tmp_path, folders=(0,))
    write_metadata(directory / "metadata/0.npy", [columns(0, 0, 1), row], "text")
    with pytest.raises(DataError, match=message) as raised:
        read_metadata(directory)
    assert "metadata/0.npy" in str(raised.value)


def test_a_name_that_no_file_can_have_is_a_broken_image(tmp_path):
    directory = write_official(tmp_path, folders=(0,))
    rows = [columns(0, i, 1) for i in range(10)]
    rows[4][1] = "sample_4\0.png"
    write_metadata(directory / "metadata/0.npy", rows, "text")
    with pytest.raises(DataError, match=r"cannot be read \(.*null.*\); replace it, or leave such images out"):
        opened(tmp_path)


def test_metadata_that_cannot_be_read_are_not_taken_for_an_unwritable_root(tmp_path):
    directory = write_official(tmp_path, folders=(0,))
    (directory / "metadata/1.npy").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"metadata/1\.npy: cannot be read \(No such file or directory\)"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"metadata/0\.npy: it is empty"),
        ("imgs/0 sample_0.png 0 1\n", "metadata: lists 1 images; expected at least 10"),
    ],
)
def test_metadata_with_too_little_in_it_are_named(tmp_path, content, message):
    directory = write_official(tmp_path, folders=(0,))
    (directory / "metadata/0.npy").write_text(content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_metadata_that_would_need_a_pickle_are_refused(tmp_path):
    directory = write_official(tmp_path, folders=(0,))
    buffer = io.BytesIO()
    np.save(buffer, np.array([columns(0, 0, 1)], dtype=object), allow_pickle=True)
    (directory / "metadata/0.npy").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"0\.npy: cannot be read as an array of strings"):
        read_metadata(directory)


def test_missing_files_name_path_command_and_generator(tmp_path):
    with pytest.raises(DataError) as raised:
        opened(tmp_path, size=128)
    message = str(raised.value)
    for part in (
        "pathfinder128/curv_contour_length_14", "prepare pathfinder", "--from", "data.source=generated",
    ):  # fmt: skip
        assert part in message


def test_generated_files_are_the_pictures_in_the_official_format(tmp_path):
    config = PathfinderConfig(root=str(tmp_path), source="generated", size=16, images=30, generator_seed=4)
    directory = generate(config, processes=1)
    assert directory.parts[-2:] == ("pathfinder16", "curv_contour_length_4")
    lines = (directory / "metadata/0.npy").read_text().splitlines()
    for number, line in enumerate(lines):
        pixels, label = draw_image(4, 16, number)
        assert line.split()[:4] == ["imgs/0", f"sample_{number}.png", str(number), str(label)]
        assert len(line.split()) == 11
        np.testing.assert_array_equal(np.asarray(Image.open(directory / f"imgs/0/sample_{number}.png")), pixels)
    assert len(lines) == 30
    module = opened(tmp_path, source="generated", size=16, images=30, generator_seed=4)
    expected = sorted((bytes(draw_image(4, 16, i)[0]), draw_image(4, 16, i)[1]) for i in range(30))
    assert sorted(row for rows in contents(module).values() for row in rows) == expected
    assert [len(store) for store in module.stores.values()] == [24, 3, 3]


def test_generated_files_are_the_same_for_any_number_of_processes(tmp_path):
    trees = []
    for processes in (1, 2, 3):
        config = PathfinderConfig(root=str(tmp_path / str(processes)), source="generated", size=16, images=70)
        directory = generate(config, processes)
        trees.append({str(f.relative_to(directory)): f.read_bytes() for f in directory.rglob("*") if f.is_file()})
        trees[-1] = {name: data for name, data in trees[-1].items() if not name.endswith(".lock")}
    assert trees[0] == trees[1] == trees[2]
    assert len(trees[0]) == 71


def test_an_interrupted_generation_continues(tmp_path):
    config = PathfinderConfig(root=str(tmp_path), source="generated", size=16, images=1030)
    directory = generate(config, processes=1)
    first, last = directory / "imgs/0/sample_5.png", directory / "imgs/1/sample_29.png"
    before, expected = first.stat().st_mtime_ns, last.read_bytes()
    (directory / "metadata/1.npy").unlink()  # as if stopped after the pictures of the last folder
    last.unlink()
    generate(config, processes=1)
    assert first.stat().st_mtime_ns == before
    assert last.read_bytes() == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_metadata(directory)) == 1030


def test_the_sheet_shows_as_many_of_both_labels(tmp_path):
    path = save_sheet(tmp_path / "sheet.png", 16, count=32)
    with Image.open(path) as sheet:
        assert sheet.size == (8 * 258, 2 * (16 + 2 * 258))
        cells = np.asarray(sheet)
    by_label = {label: [p for p, y in (draw_image(0, 16, i) for i in range(60)) if y == label] for label in (1, 0)}
    for top, label in ((16, 1), (16 + 2 * 258 + 16, 0)):
        for place in range(16):
            row, column = top + place // 8 * 258, place % 8 * 258
            cell = cells[row : row + 256, column : column + 256]
            np.testing.assert_array_equal(cell[8::16, 8::16], by_label[label][place])


def test_the_sheet_needs_no_suffix_and_says_where_it_cannot_be(tmp_path):
    with Image.open(save_sheet(tmp_path / "sheet", 16, count=4)) as sheet:
        assert sheet.format == "PNG"
    with pytest.raises(DataError, match=r"sheet: .*; check its permissions, or choose another path"):
        save_sheet(tmp_path / "sheet" / "below.png", 16, count=4)


def test_images_drawn_by_former_rules_are_not_mistaken_for_these(tmp_path, capsys):
    """Former versions wrote to these two directories; what lies there is left alone and never read."""
    old = tmp_path / "pathfinder/size16_images20_seed0/pathfinder16/curv_contour_length_4"
    (old / "metadata").mkdir(parents=True)
    (old / "metadata/0.npy").write_text("not to be read")
    (tmp_path / "prepared/pathfinder/size16_images20_seed0_split-seed42/train").mkdir(parents=True)
    arguments = ["source=generated", "size=16", "images=20", f"root={tmp_path}", "--processes", "1"]
    assert main(["data", "prepare", "pathfinder", *arguments]) == 0
    assert (old / "metadata/0.npy").read_text() == "not to be read"
    (drawn,) = {path.name for path in (tmp_path / "pathfinder").iterdir()} - {"size16_images20_seed0"}
    assert drawn.startswith("size16_images20_seed0_v")
