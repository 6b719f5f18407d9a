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


def test_optuna_draws_one_value_of_a_trial_and_knows_what_a_distribution_contains():
    """`trial._suggest` and `distribution._contains`, seen in Optuna 5.0: `study.ask` draws all values or none, and
    the public `suggest_...` take a distribution apart."""
    trial = optuna.create_study().ask()
    stepped = optuna.distributions.IntDistribution(8, 64, step=8)
    assert trial._suggest("size", stepped) == trial.params["size"]
    assert trial.distributions == {"size": stepped}
    assert [stepped._contains(stepped.to_internal_repr(n)) for n in (8, 12, 64, 72)] == [True, False, True, False]


def test_optunas_qmc_sampler_asks_one_method_for_the_number_of_its_point():
    """`QMCSampler._find_sample_id`, seen in Optuna 5.0; it is overridden."""
    assert list(inspect.signature(optuna.samplers.QMCSampler._find_sample_id).parameters) == [
        "self", "study", "search_space",
    ]  # fmt: skip


def test_optuna_keeps_the_values_of_a_queued_trial_where_they_are_read():
    study = optuna.create_study()
    study.enqueue_trial({"x": 1})
    assert study.trials[0].system_attrs == {"fixed_params": {"x": 1}}


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
