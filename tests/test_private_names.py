"""Private names of libraries that the package uses because there is no public one. Each was seen in the version named
here; an upgrade that moves one fails here, by name, and not in somebody's sweep."""

import inspect

import numpy as np
import optuna
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loops.progress import _Progress
from optuna._hypervolume import _solve_hssp
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation as Op
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import TrialState, create_trial
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


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


def test_optunas_storages_have_the_parts_that_signs_of_life_and_a_server_are_made_of():
    """`optuna.storages._heartbeat`, `._cached_storage`, `._grpc` and `optuna.artifacts._upload`, seen in Optuna 5.0."""
    assert {"record_heartbeat", "_get_stale_trial_ids", "get_heartbeat_interval"} <= BaseHeartbeat.__abstractmethods__
    assert list(inspect.signature(optuna.storages._CachedStorage).parameters) == ["backend"]
    assert ARTIFACTS_ATTR_PREFIX == "artifacts:"
    pytest.importorskip("grpc")
    from optuna.storages._grpc.client import GrpcClientCache
    from optuna.storages._grpc.servicer import OptunaStorageProxyService

    assert "_setup" in vars(optuna.storages.GrpcStorageProxy)
    assert list(inspect.signature(GrpcClientCache).parameters) == ["grpc_client"]
    assert list(inspect.signature(OptunaStorageProxyService).parameters) == ["storage"]


def test_optuna_ranks_by_dominance_and_keeps_the_points_with_most_volume():
    """`optuna.study._multi_objective` and `optuna._hypervolume`, seen in Optuna 5.0. Less is better."""
    points = np.array([[1.0, 1.0], [0.0, 0.5], [0.5, 0.0], [0.45, 0.06]])
    assert _fast_non_domination_rank(points, n_below=4).tolist() == [1, 0, 0, 0]
    assert _fast_non_domination_rank(points, n_below=1).tolist() == [1, 0, 0, 0]
    found = _solve_hssp(points[1:], np.array([1, 2, 3]), 2, np.array([1.1, 1.1]))
    assert found.tolist() == [3, 1]  # the knee first; beside it, 1 adds 0.45 x 0.6, and 2 only 0.06 x 0.6


def test_optuna_makes_a_running_trial_from_a_template_and_starts_a_waiting_one():
    """`study._storage.create_new_trial` and `set_trial_state_values`, seen in Optuna 5.0."""
    study = optuna.create_study()
    template = create_trial(state=TrialState.RUNNING, user_attrs={"mark": "1"})
    trial = optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))
    study.tell(trial, 2.0)
    assert (study.trials[0].value, study.trials[0].user_attrs) == (2.0, {"mark": "1"})
    study.enqueue_trial({}, user_attrs={"mark": "2"})
    waiting = study.trials[1]
    assert study._storage.set_trial_state_values(waiting._trial_id, state=TrialState.RUNNING)
    assert not study._storage.set_trial_state_values(waiting._trial_id, state=TrialState.RUNNING)


def test_optunas_samplers_ask_for_trials_in_one_of_two_ways():
    """`study._get_trials`, seen in Optuna 5.0: what samplers are not to see is left out there."""
    assert list(inspect.signature(optuna.Study._get_trials).parameters) == ["self", "deepcopy", "states", "use_cache"]


def test_lightnings_progress_has_the_counts_that_checkpoints_are_corrected_in():
    """State of `batch_progress` in a checkpoint, seen in Lightning 2.6."""
    loop = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_steps=1).fit_loop.epoch_loop
    for progress in (loop.batch_progress, loop.val_loop.batch_progress):
        assert isinstance(progress, _Progress)
        for counts in (progress.state_dict()["total"], progress.state_dict()["current"]):
            assert {"ready", "started", "processed", "completed"} <= counts.keys()


def test_torch_multiplies_bf16_by_int8_with_a_scale_a_row():
    """`torch._weight_int8pack_mm`, seen in torch 2.15: on CPUs no public operation reads int8 weights as they are and
    leaves the activations unquantised. It reads past the end of rows that are no multiple of 16, which is not checked."""
    x, held, scale = torch.ones(2, 32, dtype=torch.bfloat16), torch.full((3, 32), 2, dtype=torch.int8), torch.arange(3)
    y = torch._weight_int8pack_mm(x, held, scale.bfloat16())
    assert y.tolist() == [[0.0, 64.0, 128.0]] * 2


def test_torch_counts_what_is_written_to_a_tensor():
    """`Tensor._version`, seen in torch 2.15: what is kept between streamed tokens (`nn/ssm/kept.py`) asks for it."""
    t = torch.zeros(2)
    before = t._version
    t.detach().add_(1)
    assert t._version == before + 1


def test_torch_has_tensors_without_values_and_modes_that_see_every_operation():
    """`Tensor._make_wrapper_subclass` and `torch.utils._python_dispatch`, seen in torch 2.15: what tests/nn/pretend.py
    and benchmarks/operations.py are made of."""

    class Elsewhere(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            raise AssertionError("a mode comes first")

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append((func.overloadpacket, [type(a) for a in args]))
            return args[0]

    seen: list = []
    with Names():
        t = torch.Tensor._make_wrapper_subclass(Elsewhere, (2,), (1,), 0, dtype=torch.float32, device="meta")
        torch.exp(t)
    assert seen == [(torch.ops.aten.exp, [Elsewhere])]


def test_torch_says_who_else_goes_through_operations():
    """`torch._C._are_functorch_transforms_active` and `_len_torch_dispatch_stack`, seen in torch 2.15: what is in C
    (`native/library.py`) leaves tensors that are traced, transformed or counted to torch."""

    def seen() -> tuple[bool, int]:
        return torch._C._are_functorch_transforms_active(), torch._C._len_torch_dispatch_stack()

    found = []
    torch.func.vmap(lambda x: found.append(seen()) or x)(torch.zeros(2))
    with FlopCounterMode(display=False):
        found.append(seen())
    assert [*found, seen()] == [(True, 0), (False, 1), (False, 0)]
