"""The products of one token of some of the streams with what each of them holds."""

import pytest
import torch

from seqboat_lab.nn.attention import rows_times


@pytest.mark.parametrize("row", [[2], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("transposed", [False, True])
def test_each_row_is_multiplied_by_its_own_memory(row, transposed):
    torch.manual_seed(0)
    held = torch.randn(4, 5, 3, dtype=torch.double)
    held = held.mT if transposed else held
    x = torch.randn(len(row), held.shape[2], dtype=torch.double, requires_grad=True)
    y = rows_times(held, torch.tensor(row), x)
    expected = torch.tensor([[sum(a * b for a, b in zip(line, v, strict=True)) for line in held[r].tolist()]
                             for r, v in zip(row, x.tolist(), strict=True)], dtype=torch.double)  # fmt: skip
    torch.testing.assert_close(y.detach(), expected)
    y.sum().backward()
    torch.testing.assert_close(x.grad, held[row].sum(1))
