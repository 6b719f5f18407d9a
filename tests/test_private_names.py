"""Private names of libraries that the package uses because there is no public one. Each was seen in the version named
here; an upgrade that moves one fails here, by name, and not in somebody's sweep."""

import inspect

import optuna
from lightning.pytorch import Trainer
from lightning.pytorch.loops.progress import _Progress
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation as Op


def test_optuna_lets_a_sampler_mark_a_trial_before_its_values_are_drawn():
    """`study._storage` and `trial._trial_id`, seen in Optuna 5.0: `before_trial` is given a FrozenTrial, whose public
    `set_user_attr` writes nothing to the storage."""
    study = optuna.create_study()
    trial = study.ask()
    study._storage.set_trial_user_attr(trial._trial_id, "mark", "1")
    assert study.trials[0].user_attrs == {"mark": "1"}
    assert list(inspect.signature(study._storage.set_trial_user_attr).parameters) == ["trial_id", "key", "value"]


def test_optunas_journal_has_the_lock_and_the_operations_that_a_mended_one_needs():
    """`optuna.storages.journal._file` and `._storage`, seen in Optuna 5.0."""
    assert {"acquire", "release"} <= set(dir(BaseJournalFileLock))
    assert {"CREATE_STUDY", "CREATE_TRIAL", "SET_TRIAL_STATE_VALUES", "SET_TRIAL_PARAM"} <= set(Op.__members__)


def test_lightnings_progress_has_the_counts_that_checkpoints_are_corrected_in():
    """State of `batch_progress` in a checkpoint, seen in Lightning 2.6."""
    loop = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_steps=1).fit_loop.epoch_loop
    for progress in (loop.batch_progress, loop.val_loop.batch_progress):
        assert isinstance(progress, _Progress)
        for counts in (progress.state_dict()["total"], progress.state_dict()["current"]):
            assert {"ready", "started", "processed", "completed"} <= counts.keys()
