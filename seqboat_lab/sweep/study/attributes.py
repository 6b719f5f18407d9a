"""Names of what a sweep keeps with its study and trials."""

from typing import Any

import optuna
from optuna.trial import FrozenTrial

WORKER = "worker"
RUN, MEASURED, BROKEN, TABLE, KEY, JOB = "run", "measured", "broken", "row", "key", "job"
BY_SEED = "by_seed"
"""Attribute of trials: the objectives of each seed, in the order they ran."""
INSTEAD = "instead_of"
"""Attribute of trials: the number of the lost one that it was queued for."""
IDENTITY, DEFINITION, TOKEN, REFERENCE = "sweep", "definition", "token", "reference"
"""Attributes of the study: what it searches, the whole sweep, who it is, and the hypervolume's reference."""


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    study._storage.set_trial_user_attr(trial._trial_id, name, value)
