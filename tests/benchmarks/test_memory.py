"""The benchmark's memory is counted, not guessed from the process."""

import pytest
import torch

from benchmarks.memory import peak_of_tensors

MB = 2**20


def test_the_peak_is_of_what_is_held_at_one_time():
    def run():
        kept = torch.empty(4 * MB, dtype=torch.uint8)
        torch.empty(8 * MB, dtype=torch.uint8)  # freed at once
        return kept, torch.empty(2 * MB, dtype=torch.uint8)

    before = torch.empty(64 * MB, dtype=torch.uint8)
    assert peak_of_tensors(run) == pytest.approx(12 * MB, rel=1e-3)
    assert len(before) == 64 * MB


def test_what_autograd_keeps_for_the_backward_pass_is_in_it():
    x = torch.ones(MB, requires_grad=True)
    with torch.no_grad():
        without = peak_of_tensors(lambda: x.exp().exp().exp())
    kept = peak_of_tensors(lambda: x.exp().exp().exp())
    assert kept / without == pytest.approx(3 / 2, rel=1e-2)  # three results instead of two at a time
