"""What is computed from frozen parameters alone, kept from one streamed token to the next."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Kept:
    """The last result of a computation, for as long as the tensors that it was made from stay as they are.

    Those must be frozen: none asks for gradients, so no optimiser writes to them (a fused one does so without
    counting; who trains in between calls `forget`). They count as changed where one was written to, replaced or
    moved; what is written through `.data` is not seen. Nothing is kept while gradients are enabled, under
    `torch.compile`, or of tensors that count no writes (made in inference mode, or of a type of their own). Copies
    and pickles start empty.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._of: tuple[list[tuple[int, int]], list[Tensor]] = ([], [])
        self._result: Any = None

    def __call__(self, tensors: Iterable[Tensor], compute: Callable[[], T]) -> T:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            self.forget()
            return compute()
        made_from = list(tensors)
        if not all(_counts_writes(t) for t in made_from):
            return compute()
        key = [(t.data_ptr(), t._version) for t in made_from]
        if key != self._of[0]:
            self._result = compute()
            self._of = (key, [t.detach() for t in made_from])  # held, so that no other tensor gets their addresses
        return self._result

    def __reduce__(self) -> tuple[type["Kept"], tuple[()]]:
        return Kept, ()


def _counts_writes(t: Tensor) -> bool:
    return not t.requires_grad and type(t) in (Tensor, nn.Parameter) and not t.is_inference()
