"""Which GPUs each worker of a sweep uses: so many for each trial, and never two trials on one by accident."""

import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import IO, NamedTuple

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.sweep.definition.config import SweepConfig

SMI_LINE = re.compile(r"(?:GPU (?P<number>\d+):|\s+MIG ).*\(UUID: (?P<uuid>[\w/-]+)\)")


class Slot(NamedTuple):
    """Room for one trial on a GPU."""

    gpu: str
    """As CUDA_VISIBLE_DEVICES names it: a number, or the UUID of a GPU or of a part of one (MIG)."""
    number: int
    """0 to trials_per_gpu - 1."""


def assign(
    gpus: Sequence[str], workers: int, devices: int, trials_per_gpu: int = 1, taken: Collection[Slot] = ()
) -> list[tuple[Slot, ...]]:
    """The slots of each worker: `devices` GPUs each, no slot twice; nothing for anyone where there is no GPU.

    Neighbours work together, and every GPU gets one trial before any gets a second. Raises `ConfigError` if there is no
    room for all workers.
    """
    if not gpus:
        return [()] * workers
    doubled = sorted({gpu for gpu in gpus if gpus.count(gpu) > 1})
    if doubled:
        raise ConfigError("CUDA_VISIBLE_DEVICES", f"names {doubled[0]} twice; expected every GPU once")
    if devices > 1 and any(gpu.startswith("MIG") for gpu in gpus):
        why = "a process of CUDA sees one MIG device, and they cannot be joined"
        raise ConfigError("trainer.devices", f"{devices} is not possible here; expected 1: {why}")
    groups = [gpus[first : first + devices] for first in range(0, len(gpus) - devices + 1, devices)]
    rooms = [tuple(Slot(gpu, n) for gpu in group) for n in range(trials_per_gpu) for group in groups]
    free = [room for room in rooms if not set(room) & set(taken)]
    if workers > len(free):
        others = f", {len(rooms) - len(free)} of them in use by other sweeps" if len(free) < len(rooms) else ""
        room = f"{len(gpus)} GPUs have room for {len(rooms)} trials of {devices} each{others}"
        how = f"expected at most {len(free)}, or a larger --trials-per-gpu"
        raise ConfigError("--workers", f"{workers} is not possible here; {room}: {how}")
    return free[:workers]


def devices_of(sweep: SweepConfig) -> int:
    """The most GPUs that any run of the sweep uses; 0 if all stay on the CPU."""
    name = "trainer.devices"
    trainer = sweep.base().get("trainer") or {}
    searched = sweep.space[name].choices or [sweep.space[name].high] if name in sweep.space else []
    named = [values[name] for values in sweep.references.values() if name in values]
    devices = [int(n) for n in (trainer.get("devices", 1), *searched, *named) if n]
    return 0 if trainer.get("accelerator") == "cpu" else max(devices)


def visible_gpus() -> list[str]:
    """The CUDA devices this process may use, without waking them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1", "NoDevFiles")]
    if not glob("/dev/nvidia[0-9]*"):
        return []
    with suppress(OSError, subprocess.SubprocessError):
        found = listed(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout)
        if found:
            return found
    return [str(i) for i in range(len(glob("/dev/nvidia[0-9]*")))]


def listed(text: str) -> list[str]:
    """What `nvidia-smi -L` lists: the numbers of the GPUs, and of one that is divided (MIG) its parts instead."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if match := SMI_LINE.match(line):
            if match["number"] is not None:
                found.append((match["number"], []))
            elif found:
                found[-1][1].append(match["uuid"])
    return [name for number, parts in found for name in (parts or [number])]


class Held:
    """Slots that are kept from other sweeps of this user on this machine while the files of `locks` are open, here or
    in a worker that inherits them."""

    def __init__(self, gpus: Sequence[str], workers: int, devices: int, trials_per_gpu: int = 1):
        """Raises `ConfigError` if there is no room for all workers."""
        # inside a job of Slurm's, the numbers of the GPUs are the job's own
        place = Path(tempfile.gettempdir()) / f"seqboat-gpus-{os.getuid()}-{os.environ.get('SLURM_JOB_ID', 'here')}"
        held, taken = {}, set()
        for slot in (Slot(gpu, n) for gpu in gpus for n in range(trials_per_gpu)):
            with suppress(OSError):  # nowhere to write: then nobody is kept out
                place.mkdir(mode=0o700, exist_ok=True)
                file = (place / f"{re.sub(r'[^A-Za-z0-9-]', '_', slot.gpu)}.{slot.number}").open("w")
                if _lock(file):
                    held[slot] = file
                else:
                    taken.add(slot)
        self.slots = assign(gpus, workers, devices, trials_per_gpu, taken)
        self.locks = [[held[slot] for slot in slots if slot in held] for slots in self.slots]
        for slot in held.keys() - {slot for slots in self.slots for slot in slots}:
            held[slot].close()

    def environment(self, worker: int) -> dict[str, str]:
        slots = self.slots[worker]
        return {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpu for slot in slots)} if slots else {}

    def release(self) -> None:
        for files in self.locks:
            for file in files:
                file.close()


def _lock(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    return True
