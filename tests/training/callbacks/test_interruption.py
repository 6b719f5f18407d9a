"""Signals end a run with a checkpoint of the step it is at, and a way to go on."""

import multiprocessing as mp
import os
import signal
import subprocess
import time
from functools import partial

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback

from seqboat_lab.training import experiment
from seqboat_lab.training.callbacks.interruption import SIGNALS
from seqboat_lab.training.checkpoints import read_checkpoint
from seqboat_lab.training.run_directory import resumable
from tests.training.same_run import assert_same_run


class CtrlC(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def test_ctrl_c_tells_how_to_go_on(tiny, tmp_path, request):
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))  # Lightning ignores it
    with pytest.raises(KeyboardInterrupt, match="no checkpoint yet to go on from"):
        experiment.fit(tiny(), tmp_path / "early", extra=[CtrlC(1)])
    with pytest.raises(KeyboardInterrupt, match=f"go on .* seqboat fit --resume {tmp_path / 'late'}"):
        experiment.fit(tiny(), tmp_path / "late", extra=[CtrlC(6)])
    assert experiment.resume(tmp_path / "late")["steps"] == 8


class Signal(Callback):
    """Has the process get a signal, as from the kernel, Slurm or a user, after the n-th call of a hook."""

    def __init__(self, number: int, hook: str, nth: int):
        self.number, self.nth, self.calls = number, nth, 0
        setattr(self, hook, self._count)

    def _count(self, *_) -> None:
        self.calls += 1
        if self.calls == self.nth:
            os.kill(os.getpid(), self.number)


ENDS = (SystemExit, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("hook", "nth", "step"),
    [
        ("on_train_batch_end", 3, 2),  # in the middle of the second update, before the first validation
        ("on_train_batch_end", 8, 4),  # before the validation of update 4
        ("on_validation_batch_end", 2, 4),
        ("on_validation_end", 1, 4),
        ("on_train_batch_end", 13, 7),
        ("on_validation_batch_end", 28, 10),  # in the last validation, of a step that is no multiple of val_every
    ],
)
def test_an_interrupted_run_loses_no_update_and_ends_as_if_there_had_been_no_signal(
    tiny, tmp_path, whole_run, hook, nth, step
):
    config = tiny(*INTERRUPTED)
    with pytest.raises(ENDS):
        experiment.fit(config, tmp_path / "cut", extra=[Signal(signal.SIGTERM, hook, nth)])
    assert read_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["global_step"] == step
    if step == 4:  # once more at the same place
        with pytest.raises(ENDS):
            resume_with(tmp_path / "cut", Signal(signal.SIGUSR1, "on_train_batch_end", 3))
    experiment.resume(tmp_path / "cut")
    assert_same_run(whole_run, tmp_path / "cut")


INTERRUPTED = ("model.dropout=0.3", "trainer.accumulate=2", "trainer.max_steps=10", "trainer.log_every=1")


@pytest.fixture
def whole_run(tiny, tmp_path):
    experiment.fit(tiny(*INTERRUPTED), tmp_path / "whole")
    return tmp_path / "whole"


def resume_with(run_dir, callback) -> None:
    config, checkpoint = resumable(run_dir, [])
    experiment.fit(config, run_dir, checkpoint, extra=[callback])


def test_a_language_model_carries_its_state_over_an_interruption(tiny_text, tmp_path):
    config = tiny_text("data.carry_state=true", "trainer.accumulate=2")
    experiment.fit(config, tmp_path / "whole")
    with pytest.raises(SystemExit):
        experiment.fit(config, tmp_path / "cut", extra=[Signal(signal.SIGTERM, "on_train_batch_end", 5)])
    experiment.resume(tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_validation_that_was_repeated_shows_once(tiny, tmp_path, whole_run):
    """Interrupted in a validation, and killed after the repeated one was logged, but before its checkpoint."""
    with pytest.raises(SystemExit):
        experiment.fit(
            tiny(*INTERRUPTED), tmp_path / "cut", extra=[Signal(signal.SIGTERM, "on_validation_batch_end", 1)]
        )

    class Killed(Callback):
        def on_validation_end(self, *_):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        resume_with(tmp_path / "cut", Killed())
    experiment.resume(tmp_path / "cut")
    assert_same_run(whole_run, tmp_path / "cut")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, None)])
def test_a_signal_ends_a_run_with_a_status_and_a_hint(tiny, tmp_path, capsys, number, status):
    before = [signal.getsignal(n) for n in SIGNALS]
    with pytest.raises(ENDS) as ended:
        experiment.fit(tiny("trainer.max_steps=50"), tmp_path, extra=[Signal(number, "on_train_batch_end", 5)])
    hint = f"go on from the last checkpoint with: seqboat fit --resume {tmp_path}"
    if status is None:
        assert str(ended.value) == hint  # the command line's status is 130
    else:
        assert ended.value.code == status
        assert capsys.readouterr().err == f"seqboat: ended by {signal.Signals(number).name}: {hint}\n"
    assert [signal.getsignal(n) for n in SIGNALS] == before
    assert experiment.resume(tmp_path, ["trainer.max_steps=6"])["steps"] == 6


def test_a_second_ctrl_c_does_not_wait_for_the_end_of_a_step(tiny, tmp_path):
    class Impatient(Callback):
        def on_before_optimizer_step(self, *_):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("went on")

    with pytest.raises(KeyboardInterrupt, match="no checkpoint yet"):
        experiment.fit(tiny(), tmp_path, extra=[Impatient()])


@pytest.mark.slow  # torch gives workers 5 s to end before it kills them, which a busy machine may need
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_all_of_a_job_leaves_the_workers_of_its_loaders_to_it(tiny, tmp_path, number):
    class ToWorkers(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 5:
                workers = mp.active_children()
                assert workers
                # from outside: a worker ends when its own run tells it to
                subprocess.run(["kill", f"-{number}", *(str(worker.pid) for worker in workers)], check=True)
                time.sleep(0.3)
                assert all(worker.is_alive() for worker in workers)

    config = tiny("data.num_workers=2")
    assert experiment.fit(config, tmp_path / "run", extra=[ToWorkers()])["steps"] == 8
    assert not mp.active_children()  # and they end with it


def test_checkpoints_by_minutes(tiny, tmp_path):
    class Crash(Callback):
        def on_train_batch_end(self, trainer, *_):
            time.sleep(0.02)
            if trainer.global_step == 7:
                raise RuntimeError("crash")

    config = tiny("trainer.checkpoint_minutes=0.0001", "trainer.max_steps=10", "trainer.val_every=100")
    with pytest.raises(RuntimeError, match="crash"):
        experiment.fit(config, tmp_path / "cut", extra=[Crash()])
    assert read_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["global_step"] == 6
    experiment.resume(tmp_path / "cut", ["trainer.checkpoint_minutes=null"])
    experiment.fit(config, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_what_interruptions_take_of_lightning_is_there():
    """Seen in Lightning 2.6.5: the places in a checkpoint that `Interruptible` writes."""
    trainer = L.Trainer(max_steps=1, logger=False, enable_checkpointing=False)
    loops = trainer.fit_loop.state_dict()
    for place in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"):
        assert loops[place]["total"].keys() == {"ready", "started", "processed", "completed"}, place
        assert loops[place]["current"].keys() == loops[place]["total"].keys()
    assert trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.ready == 0
