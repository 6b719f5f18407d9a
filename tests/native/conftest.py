import os
import shlex
import shutil

import pytest

from tests.nn.conftest import make_layer, one_thread

__all__ = ["make_layer", "one_thread"]


@pytest.fixture(autouse=True)
def _needs_a_compiler():
    if shutil.which(shlex.split(os.environ.get("CC") or "cc")[0]) is None:
        pytest.skip("no C compiler")
