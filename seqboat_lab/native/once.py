"""Gradients that have none of their own."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def once_differentiable(backward: Callable[P, R]) -> Callable[P, R]:
    """Raises `RuntimeError` where a gradient of this gradient could be asked for. torch's decorator of that name lets
    `torch.autograd.grad` leave it out without a word: it goes no further than to the inputs that it is asked about."""

    @functools.wraps(backward)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError("this gradient has none of its own: leave out create_graph=True")
        return backward(*args, **kwargs)

    return checked
