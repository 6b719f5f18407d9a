"""Speech Commands: a tree of WAV files written here, the official lists, the exact split, and bad audio."""

import wave

import numpy as np
import pytest

from seqboat_lab.config.data import SpeechCommandsConfig
from seqboat_lab.data import DataError
from seqboat_lab.data.tasks.speech_commands import WORDS, SpeechCommandsDataModule, read_wav


def write_wav(path, samples, rate=16_000, channels=1, width=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


def clip(label: int, number: int) -> np.ndarray:
    """Every fifth clip is shorter than a second."""
    length = 12_000 if number % 5 == 4 else 16_000
    return np.random.default_rng([label, number]).integers(-3000, 3000, length).astype(np.int16)


def write_tree(root, clips=10):
    tree = root / "speech_commands_v0.02"
    for label, word in enumerate(WORDS):
        for number in range(clips):
            write_wav(tree / word / f"{number:02d}_nohash_0.wav", clip(label, number))
    write_wav(tree / "bed" / "00_nohash_0.wav", [0] * 100)
    (tree / "_background_noise_").mkdir()
    listed = {"validation_list.txt": (0, 4), "testing_list.txt": (1, 2)}
    for file, numbers in listed.items():
        lines = [f"{word}/{n:02d}_nohash_0.wav" for word in (*WORDS, "bed") for n in numbers if word != "bed" or n == 0]
        (tree / file).write_text("\n".join(lines) + "\n")
    return tree


def opened(root, **fields) -> SpeechCommandsDataModule:
    module = SpeechCommandsDataModule(SpeechCommandsConfig(root=str(root), **fields), seed=0, batch_size=4)
    module.prepare_data()
    module.setup()
    return module


def raw(module, split):
    rows, _ = module.stores[split].gather(np.arange(len(module.stores[split])), 16_000)
    return {row.tobytes(): int(label) for row, label in zip(rows, module.stores[split].labels, strict=True)}


def padded(label, number):
    samples = clip(label, number)
    return np.concatenate([samples, np.zeros(16_000 - len(samples), np.int16)])


def test_the_official_lists_decide_the_splits(tmp_path):
    write_tree(tmp_path)
    module = opened(tmp_path)
    numbers = {"val": (0, 4), "test": (1, 2), "train": (3, 5, 6, 7, 8, 9)}
    for split, chosen in numbers.items():
        assert raw(module, split) == {padded(k, n).tobytes(): k for k in range(10) for n in chosen}


def test_every_split_is_standardised_by_the_training_clips(tmp_path):
    write_tree(tmp_path)
    module = opened(tmp_path)
    train = np.concatenate([padded(k, n) for k in range(10) for n in (3, 5, 6, 7, 8, 9)]).astype(np.float64)
    batch = module.dataset("val")[[1]]
    expected = (module.stores["val"].gather([1], 16_000)[0].astype(np.float64) - train.mean()) / train.std()
    np.testing.assert_allclose(batch.inputs.numpy(), expected, atol=1e-5)
    assert batch.padding_mask is None
    assert batch.inputs.shape == (1, 16_000)
    assert module.spec.vocab_size is None


def test_the_exact_split_takes_full_clips_only_and_keeps_the_classes_balanced(tmp_path):
    write_tree(tmp_path, clips=25)  # 20 of them are full
    module = opened(tmp_path, split="exact")
    splits = {split: raw(module, split) for split in ("train", "val", "test")}
    for split, count in (("train", 14), ("val", 3), ("test", 3)):
        assert np.bincount(list(splits[split].values())).tolist() == [count] * 10
    everything = splits["train"] | splits["val"] | splits["test"]
    assert everything == {clip(k, n).tobytes(): k for k in range(10) for n in range(25) if n % 5 != 4}
    assert raw(opened(tmp_path, split="exact", split_seed=1), "val") != splits["val"]


def test_fewer_samples_can_be_asked_for(tmp_path):
    write_tree(tmp_path)
    assert opened(tmp_path, max_length=500).dataset("test")[[0, 1]].inputs.shape == (2, 500)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"rate": 8000}, "found 1 of 16 bits at 8000 Hz"),
        ({"channels": 2}, "found 2 of 16 bits"),
        ({"width": 1}, "found 1 of 8 bits"),
    ],
)
def test_audio_of_another_kind_is_named(tmp_path, kind, message):
    write_wav(tmp_path / "a.wav", [1] * 100, **kind)
    with pytest.raises(DataError, match=rf"a\.wav: expected 1 channel of 16 bits at 16000 Hz, {message}"):
        read_wav(tmp_path / "a.wav")


def test_a_long_an_empty_a_broken_and_a_missing_clip_are_named(tmp_path):
    write_wav(tmp_path / "long.wav", [0] * 16_001)
    write_wav(tmp_path / "none.wav", [])
    write_wav(tmp_path / "cut.wav", [0] * 1000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-100])
    (tmp_path / "text.wav").write_text("this is not a wave")
    (tmp_path / "empty.wav").write_bytes(b"")
    problems = {
        "long": "16001 samples; expected 1 to 16000",
        "none": "0 samples",
        "cut": "breaks off after 950 of 1000 samples",
        "text": "not a WAV file",
        "empty": "not a WAV file",
        "missing": "no such clip",
    }
    for name, problem in problems.items():
        with pytest.raises(DataError, match=rf"{name}\.wav: {problem}") as raised:
            read_wav(tmp_path / f"{name}.wav")
        assert "\n" not in str(raised.value)


def test_a_listed_clip_that_is_not_there_is_named_by_list_and_line(tmp_path):
    tree = write_tree(tmp_path)
    (tree / "yes" / "04_nohash_0.wav").unlink()
    with pytest.raises(DataError, match=r"validation_list\.txt, line 2: yes/04_nohash_0\.wav is not there"):
        opened(tmp_path)


def test_a_list_of_other_bytes_is_named(tmp_path):
    tree = write_tree(tmp_path)
    (tree / "testing_list.txt").write_bytes(b"\xff\xfe\x00yes")
    with pytest.raises(DataError, match=r"testing_list\.txt: lists no clip of the ten words; unpack the archive again"):
        opened(tmp_path)


def test_a_missing_tree_names_path_command_and_stand_in(tmp_path):
    with pytest.raises(DataError) as raised:
        opened(tmp_path)
    for part in ("speech_commands_v0.02", "seqboat data prepare speech_commands", "data.source=synthetic"):
        assert part in str(raised.value)
