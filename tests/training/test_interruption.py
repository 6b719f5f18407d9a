"""Ctrl-C and SIGTERM end a run with a way to go on."""

import os
import signal
from functools import partial

import pytest
from lightning.pytorch.callbacks import Callback

from seqboat_lab.training import experiment


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


class Terminate(Callback):
    """Has the process end as the kernel, Slurm or a user would end it."""

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_run_with_a_status_and_a_hint(tiny, tmp_path, capsys, request):
    request.addfinalizer(partial(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM)))
    with pytest.raises(SystemExit) as ended:
        experiment.fit(tiny("trainer.max_steps=50"), tmp_path, extra=[Terminate()])
    assert ended.value.code == 128 + signal.SIGTERM
    assert (
        f"ended by SIGTERM: go on from the last checkpoint with: seqboat fit --resume {tmp_path}"
        in capsys.readouterr().err
    )
    assert experiment.resume(tmp_path, ["trainer.max_steps=6"])["steps"] == 6
