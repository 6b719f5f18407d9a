"""Processes of a run that begin at the same place, and end where one of them is lost."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256

import lightning as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from seqboat_lab.config import ConfigError
from seqboat_lab.config.checks import UserError
from seqboat_lab.terminal import complain
from seqboat_lab.training.launch import launched

BEAT_SECONDS = 1.0
SILENT_SECONDS = 15.0
"""After which a process counts as lost, as torchrun has it. One that trains answers within a second or two, whatever it
computes: what waits for a device, a disk or the others lets other threads run."""
UNREACHABLE_SECONDS = 5.0
"""After which a store that refuses connections is not the end of a run that this process is about to see, too."""
LOST_STATUS = 75
"""Exit status: try again later (EX_TEMPFAIL of sysexits.h)."""
ENDED = 1 << 40
"""Added to the beats of a process that came to its end in order."""
GONE = ("closed by peer", "eset by peer", "gloo/transport", "remote process exited", "recvValue failed", "Broken pipe")
"""What gloo, NCCL and the store say, in a RuntimeError or one of torch's, where another process has gone."""


class LostProcessError(UserError):
    """Another process of this run is gone, and with it the run."""

    status = LOST_STATUS


class Beats:
    """What the processes of a run know of each other's lives: each counts up a number in a store. The first one watches
    all others, and they watch the first one, which tells them whom it has lost."""

    def __init__(self, store: dist.Store, session: str, rank: int, world: int):
        self.store, self.session, self.rank = store, session, rank
        now = time.monotonic()
        self.seen = dict.fromkeys(range(1, world) if rank == 0 else (0,), (0, now))

    def beat(self) -> int | None:
        """Counts up, and looks at the others: the rank of one that is lost."""
        self._add(self.rank, 1)
        told = self._add("lost", 0)
        if told:
            return told - 1
        for other, (before, since) in self.seen.items():
            count, now = self._add(other, 0), time.monotonic()
            if count != before:
                self.seen[other] = count, now
            elif count < ENDED and now - since > SILENT_SECONDS:
                if self.rank == 0:
                    self._add("lost", other + 1)
                return other
        return None

    def end(self) -> None:
        self._add(self.rank, ENDED)

    def _add(self, name: str | int, number: int) -> int:
        return self.store.add(f"seqboat/{self.session}/{name}", number)


class Together(Callback):
    """Sees to it that all processes train the same thing from the same step (`begins_at`, -1 = anew), and ends this one
    where another is lost, or torchrun.

    Sockets that a dying process closes are noticed by themselves. A node that lost its power or the network closes
    none, and NCCL would wait ten minutes for it: that is what `Beats` are for.
    """

    def __init__(self, config_text: str, begins_at: int, how_to_go_on: Callable[[], str]):
        self.plan = {"config": sha256(config_text.encode()).hexdigest(), "step": begins_at}
        self.how_to_go_on = how_to_go_on
        self.ended = threading.Event()
        self.parent = os.getppid()
        self.beats: Beats | None = None
        self.tells = True

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if trainer.world_size == 1 or self.beats is not None:
            return
        self._agree(trainer.world_size)
        self.tells = trainer.local_rank == 0  # one line a node
        session = trainer.strategy.broadcast(uuid.uuid4().hex)  # a store of torchrun's outlives a run's processes
        place, patience = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timedelta(seconds=SILENT_SECONDS)
        store = dist.TCPStore(*place, is_master=False, wait_for_workers=False, timeout=patience)
        self.beats = Beats(store, session, trainer.global_rank, trainer.world_size)

    def _agree(self, world: int) -> None:
        """Raises `ConfigError`, in all processes, if they are not about to do the same."""
        plans: list[dict] = [{}] * world
        dist.all_gather_object(plans, self.plan)
        for rank, plan in enumerate(plans):
            if plan != plans[0]:
                what = "train another experiment than process 0"
                if plan["config"] == plans[0]["config"]:
                    what = f"go on from step {plan['step']}, process 0 from {plans[0]['step']} (-1: the beginning)"
                raise ConfigError("fit", f"process {rank} would {what}; expected the same command and the same files "
                                  "on every node: a run directory that all of them see")  # fmt: skip

    def begin(self) -> None:
        """From here on this process ends with torchrun, and with the others once it has met them."""
        threading.Thread(target=self._live, daemon=True).start()

    def end(self) -> None:
        """This process comes to its end in order: from here on it watches nobody, and nobody it."""
        if not self.ended.is_set():
            self.ended.set()
            with suppress(RuntimeError):  # the first process was faster, and its store is gone
                if self.beats is not None:
                    self.beats.end()

    def _live(self) -> None:
        launch = launched()
        by_torchrun = launch is not None and launch.by == "torchrun"
        reached = orphaned = time.monotonic()
        while not self.ended.wait(BEAT_SECONDS):
            who, now = None, time.monotonic()
            try:
                rank = None if self.beats is None else self.beats.beat()
                reached = time.monotonic()
                who = None if rank is None else f"process {rank}"
            except RuntimeError:
                if now - reached > UNREACHABLE_SECONDS:
                    who = "the process that the others met at"
            if not by_torchrun or os.getppid() == self.parent:
                orphaned = now
            elif now - orphaned > UNREACHABLE_SECONDS:  # time to save: Linux tells orphans of torchrun's by a SIGTERM
                who = "torchrun"
            if who is not None and not self.ended.is_set():
                if self.tells:
                    complain(f"seqboat: {self._line(who)}")
                os._exit(LOST_STATUS)  # the main thread may wait for the lost one, for ever

    def lost(self, error: RuntimeError) -> BaseException | None:
        """What to raise for an error that came of another process's end; None if it did not."""
        if self.beats is None or not any(sign in str(error) for sign in GONE):
            return None
        reason = str(error).splitlines()[0][:120]
        told = f"{self._line('another process')} ({reason})"
        return LostProcessError(told) if self.tells else SystemExit(LOST_STATUS)

    def _line(self, who: str) -> str:
        return f"{who} of this run is gone, so this one ends: {self.how_to_go_on()}"
