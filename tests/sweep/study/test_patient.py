"""A storage that goes away: what is asked of it comes to pass once, whatever was lost of question and answer."""

import threading

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.storages._base import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from seqboat_lab.sweep.study import patient
from seqboat_lab.sweep.study.patient import Patient, is_away


def away(text: str = "server closed the connection") -> Exception:
    error = StorageInternalError("An exception is raised during the commit")
    error.__cause__ = OperationalError("SELECT 1", {}, Exception(text))
    return error


class Restarting(InMemoryStorage):
    """Fails so many calls, before or after it did what was asked."""

    failures, after = 0, False

    def __getattribute__(self, name: str):
        found = super().__getattribute__(name)
        if name not in vars(BaseStorage) or not callable(found):
            return found

        def call(*arguments, **options):
            failing, self.failures = self.failures > 0, self.failures - 1
            if failing and not self.after:
                raise away()
            result = found(*arguments, **options)
            if failing:
                raise away()
            return result

        return call


@pytest.fixture
def storage(monkeypatch) -> Patient:
    monkeypatch.setattr(patient, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(patient, "LONGEST_WAIT", 0.002)
    lock = threading.Lock()
    return Patient(Restarting(), lambda name: lock, 5.0)


def test_every_method_of_a_storage_is_asked_again(storage):
    assert (
        not {n for n in BaseStorage.__abstractmethods__ if n not in vars(Patient.__mro__[2])}
        - vars(patient._Patient).keys()
    )
    storage.storage.failures = 3
    study = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    storage.storage.failures = 3
    assert storage.get_study_name_from_id(study) == "a"


@pytest.mark.parametrize("after", [False, True])
def test_a_trial_whose_end_was_told_when_the_storage_went_away_has_ended_once(storage, after):
    study = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    trial = storage.create_new_trial(study)
    storage.storage.failures, storage.storage.after = 1, after
    assert storage.set_trial_state_values(trial, TrialState.COMPLETE, [1.5])
    assert storage.get_trial(trial).values == [1.5]
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial, TrialState.COMPLETE, [1.5])  # by another one, who has to know


def test_who_loses_the_storage_in_its_turn_begins_the_turn_anew(storage):
    turns = []

    def do() -> int:
        turns.append(0)
        if len(turns) == 1:
            storage.storage.failures = 1
        storage.get_all_studies()
        return len(turns)

    assert storage.alone("a", do) == 2


def test_one_that_stays_away_is_given_up(storage):
    storage.patience, storage.storage.failures = 0.05, 10**6
    with pytest.raises(StorageInternalError):
        storage.get_all_studies()


def test_what_trying_again_cannot_mend_is_told_at_once(storage):
    assert not is_away(away("no such table: studies"))
    assert is_away(away("database is locked"))
    assert not is_away(ValueError())
    with pytest.raises(KeyError):
        storage.get_trial(7)


def test_nobody_is_silent_before_one_has_listened_for_long_enough(storage, monkeypatch):
    monkeypatch.setattr(Restarting, "_get_stale_trial_ids", lambda self, study: [3], raising=False)
    now = patient.time.monotonic()
    assert storage._get_stale_trial_ids(0) == []
    monkeypatch.setattr(patient.time, "monotonic", lambda: now + patient.GRACE_SECONDS + 1)
    assert storage._get_stale_trial_ids(0) == [3]


def test_optuna_takes_it_for_a_storage_with_heartbeats(storage):
    storage.storage.get_heartbeat_interval = lambda: None
    study = optuna.create_study(storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert len(study.trials) == 2
