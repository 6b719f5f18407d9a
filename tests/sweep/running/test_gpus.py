"""Workers and GPUs: every worker has as many as a trial uses, and no GPU has more trials than it may."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import parse_sweep
from seqboat_lab.sweep.running.gpus import Held, Slot, assign, devices_of, listed, visible_gpus

SMI = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-96a2aaaa-1b2c-4c5d-8e9f-0a1b2c3d4e5f)
"""  # as the MIG user guide shows it


@given(gpus=st.integers(1, 16), workers=st.integers(1, 40), devices=st.integers(1, 8), share=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_everyone_has_enough_and_nobody_has_what_another_has(gpus, workers, devices, share):
    names = [str(n) for n in range(gpus)]
    room = gpus // devices * share
    if workers > room:
        with pytest.raises(ConfigError, match=f"--workers: {workers} is not possible here; .* at most {room}"):
            assign(names, workers, devices, share)
        return
    found = assign(names, workers, devices, share)
    assert [len(slots) for slots in found] == [devices] * workers
    assert all(len({slot.gpu for slot in slots}) == devices for slots in found)
    assert max(Counter(slot for slots in found for slot in slots).values()) == 1
    trials = Counter(slot.gpu for slots in found for slot in slots)
    assert max(trials.values()) == -(-workers // (gpus // devices)) <= share  # spread, not heaped


def test_without_gpus_any_number_of_workers_shares_the_cpu():
    assert assign([], 5, 2) == [()] * 5


def test_slots_of_other_sweeps_are_left_alone():
    assert assign(["0", "1", "2"], 2, 1, taken={Slot("1", 0)}) == [(Slot("0", 0),), (Slot("2", 0),)]
    with pytest.raises(
        ConfigError, match="room for 3 trials of 1 each, 1 of them in use by other sweeps: expected at most 2"
    ):
        assign(["0", "1", "2"], 3, 1, taken={Slot("1", 0)})
    assert assign(["0", "1", "2", "3"], 1, 2, taken={Slot("1", 0)}) == [(Slot("2", 0), Slot("3", 0))]


def test_parts_of_a_gpu_are_not_joined_and_no_gpu_is_named_twice():
    parts = listed(SMI)
    assert len(assign(parts, 3, 1)) == 3
    with pytest.raises(ConfigError, match=r"trainer.devices: 2 is not possible here; expected 1: .* MIG"):
        assign(parts, 1, 2)
    with pytest.raises(ConfigError, match="names 0 twice"):
        assign(["0", "1", "0"], 1, 1)


def test_a_divided_gpu_is_its_parts():
    assert listed(SMI) == ["MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb", "1"]
    assert listed("No devices found.\n") == []


@pytest.mark.parametrize(
    ("variable", "gpus"), [("", []), ("-1", []), ("2, 3", ["2", "3"]), ("MIG-a,GPU-b", ["MIG-a", "GPU-b"])]
)
def test_what_is_visible_is_what_the_variable_says(monkeypatch, variable, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == gpus


def test_two_sweeps_on_one_machine_do_not_take_the_same_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, two = Held(["0", "1", "2"], 2, 1), Held(["0", "1", "2"], 1, 1)
    assert [one.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(2)] == ["0", "1"]
    assert two.environment(0) == {"CUDA_VISIBLE_DEVICES": "2"}
    with pytest.raises(ConfigError, match="in use by other sweeps"):
        Held(["0", "1", "2"], 1, 1)
    one.release()
    assert Held(["0", "1", "2"], 2, 1).environment(1) == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # where numbers are the job's own
    assert Held(["0"], 1, 1).environment(0) == {"CUDA_VISIBLE_DEVICES": "0"}


def test_devices_are_what_the_largest_run_uses(tiny_sweep):
    path = tiny_sweep()
    assert devices_of(parse_sweep(path)) == 1
    assert devices_of(parse_sweep(path, ["overrides.trainer.devices=2"])) == 2
    assert devices_of(parse_sweep(path, ["overrides.trainer.accelerator=cpu"])) == 0
    searched = ["space={trainer.devices: {choices: [1, 4]}}", "references={big: {trainer.devices: 8}}"]
    assert devices_of(parse_sweep(path, searched)) == 8
    assert devices_of(parse_sweep(path, searched[:1])) == 4
