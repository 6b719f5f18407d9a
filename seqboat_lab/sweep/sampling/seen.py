"""A study as its samplers see it: one trial of each candidate."""

from collections.abc import Container
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

CONTINUES = "continues"
"""Attribute of a trial that goes on with a stopped one: that one's number. Together they are one candidate."""


def as_seen(study: optuna.Study) -> optuna.Study:
    """The study without the trials that others went on with: as stopped ones they would count against their values."""
    trials = study._get_trials(deepcopy=False, use_cache=True)  # as they were when the trial was asked for
    if not any(CONTINUES in t.user_attrs for t in trials):
        return study
    newest = {t.user_attrs.get(CONTINUES, t.number): t.number for t in trials if t.state != TrialState.FAIL}
    hidden = {t.number for t in trials if newest.get(t.user_attrs.get(CONTINUES, t.number), t.number) != t.number}
    return cast(optuna.Study, _Without(study, hidden)) if hidden else study


class _Without:
    def __init__(self, study: optuna.Study, hidden: Container[int]):
        self._whole, self._hidden = study, hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return [t for t in self._whole.get_trials(*args, **options) if t.number not in self._hidden]

    def _get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return [t for t in self._whole._get_trials(*args, **options) if t.number not in self._hidden]

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()
