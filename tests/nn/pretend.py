"""A CUDA device that is none: tensors that say they are on `cuda:0`, and whose values are on the CPU.

What is created without `device=` stays on the CPU, and an operation on tensors of both devices raises, as on a GPU. So
does a tensor that a module holds as a plain attribute, which `module.to` leaves behind. Unlike torch's FakeTensorMode
this has values, so shapes that depend on them, and decisions, are real ones.
"""

import traceback
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import seqboat_lab

PACKAGE = str(Path(seqboat_lab.__file__).parent)
aten = torch.ops.aten
CUDA, STAND_IN = torch.device("cuda:0"), torch.device("meta")
"""What Python sees, and what torch's core sees: a device without a driver, of which it asks nothing."""

WAITS = {
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.bincount, aten.repeat_interleave,
    aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.is_nonzero,
}  # fmt: skip
"""Operations whose result's shape or value must be known to the CPU, which waits for the device to get there."""
COPIES = {aten._to_copy, aten.copy_, aten._copy_from}


class OnCuda(torch.Tensor):
    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> "OnCuda":
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, host.shape, host.stride(), host.storage_offset(), dtype=host.dtype, device=STAND_IN
        )
        tensor.host = host
        return tensor

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError("a pretended CUDA tensor outside of `PretendCuda`")


class PretendCuda(TorchDispatchMode):
    """While it is active, `cuda` is there; `waits` says where the CPU would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        """Operations whose end the CPU waits for, each with the place in the package that asked for it."""
        self.driver = patch("torch.cuda._lazy_init")  # asked for where Python code says `device=cuda`
        self.numbers = _Numbers()

    def __enter__(self):
        self.driver.start()
        self.numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.numbers.__exit__(*error)
        self.driver.stop()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, given = kwargs or {}, []
        packet, device = func.overloadpacket, kwargs.get("device")
        args = _on_host(args, given)
        kwargs = {name: _on_host(value, given) for name, value in kwargs.items()}
        here = [t for t in given if isinstance(t, OnCuda)]
        elsewhere = [t for t in given if not isinstance(t, OnCuda)]
        copied = packet in COPIES
        if here and not copied and any(t.dim() for t in elsewhere):
            raise RuntimeError(f"{func} of tensors on {CUDA} and on cpu")
        out = func(*args, **kwargs)
        there = _is_device(device) if device is not None else isinstance(given[0], OnCuda) if copied else bool(here)
        if here or there:
            crosses = copied and (bool(elsewhere) or not there) and not _in_the_background(args, kwargs)
            if packet in WAITS or crosses or _by_mask(packet, args):
                self.waits.append(f"{packet} in {_asked_by()}")
        return _moved(out, {id(t.host): t for t in here}) if there else out


class _Numbers(TorchFunctionMode):
    """Python numbers that become tensors on the device, which torch's core brings there past all modes."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        numbers = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor)
        if numbers and _is_device(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": "cpu"}).to(STAND_IN)
        return func(*args, **kwargs)


def on_cuda(value: Any) -> Any:
    """A module, moved in place, or tensors in (named) tuples and lists, moved."""
    if isinstance(value, nn.Module):
        return value.to(STAND_IN)
    return tree_map(lambda t: t.to(STAND_IN) if isinstance(t, Tensor) else t, value)


def left_behind(value: Any) -> list[Tensor]:
    """Tensors of a result that are not on the device."""
    return [t for t in tree_leaves(value) if isinstance(t, Tensor) and not t.is_cuda]


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type in (CUDA.type, STAND_IN.type)


def _on_host(value: Any, given: list[Tensor]) -> Any:
    """An operation's argument as the CPU can compute with it; its tensors are added to `given`."""
    if isinstance(value, (tuple, list)):
        return type(value)(_on_host(v, given) for v in value)
    if isinstance(value, Tensor):
        given.append(value)
        return value.host if isinstance(value, OnCuda) else value
    return torch.device("cpu") if _is_device(value) else value


def _moved(value: Any, known: dict[int, OnCuda]) -> Any:
    """What came of it, on the device. What an operation in place returns is the tensor it was given."""
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(v, known) for v in value)
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else OnCuda(_plain(value))


def _in_the_background(args: tuple, kwargs: dict) -> bool:
    """A copy that was asked for with `non_blocking`."""
    return bool(kwargs.get("non_blocking") or (len(args) > 2 and args[2] is True))


def _plain(t: Tensor) -> Tensor:
    """The wrapper does not show that its values are lazily conjugated."""
    return t.resolve_conj().resolve_neg() if t.is_complex() or t.is_neg() else t


def _by_mask(packet: Any, args: tuple) -> bool:
    """Indexing by a mask counts it."""
    indices = args[1] if packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_) else ()
    return any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in indices)


def _asked_by() -> str:
    inside = [f for f in traceback.extract_stack(limit=40) if f.filename.startswith(PACKAGE)]
    return f"{Path(inside[-1].filename).name}:{inside[-1].name}" if inside else "autograd"
