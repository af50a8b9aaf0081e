"""Tensors to a few numbers on their own device; nothing here waits for the device or touches an RNG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from threading import local
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from neuraldbg.capture.shards import local_gradient

__all__ = [
    "PROBES",
    "UNTRACED",
    "Numbers",
    "all_of",
    "are_cleared",
    "autocast_dtype",
    "dispatch_modes",
    "do_unseen",
    "first_float",
    "float_tensors",
    "function_modes",
    "given",
    "in_backward",
    "in_capture",
    "in_full_precision",
    "is_batched",
    "is_dense",
    "is_own_gradient",
    "is_pretended",
    "on_one_device",
    "once",
    "own_gradients",
    "scalar",
    "stack_together",
    "strided",
    "unless",
    "unseen",
]

Numbers = list[tuple[str, Tensor]]

# Our own operations must not be traced.
UNTRACED = torch._C.DisableTorchFunction  # noqa: SLF001 - there is no public name
# Whether a tensor stands for a batch of them in a backward pass over many vectors at once.
is_batched = torch._C._functorch.is_legacy_batchedtensor  # noqa: SLF001 - there is no public name
# How many dispatch modes of the user's there are: they would see our operations, too.
dispatch_modes = torch._C._len_torch_dispatch_stack  # noqa: SLF001 - there is no public name
# The same for functions: ours in traced steps, or the user's.
function_modes = torch._C._len_torch_function_stack  # noqa: SLF001 - as above
# Whether a CUDA graph is captured: asked at every hook, where the public function is one more call, and raises if
# PyTorch was built without CUDA.
in_capture = getattr(torch._C, "_cuda_isCurrentStreamCapturing", bool)  # noqa: SLF001 - as above
# Asks for a mode that PyTorch itself knows, and the one in which tensors hold no numbers.
_mode_of_torch = torch._C._get_dispatch_mode  # noqa: SLF001 - as above
FAKE = torch._C._TorchDispatchModeKey.FAKE  # type: ignore[attr-defined] # noqa: SLF001 - as above
MAX_SAMPLE = 4096
# So many parameters say whether gradients were cleared.
PROBES = 2


def unseen() -> AbstractContextManager[object]:
    """Return a context in which neither modes of the user's nor ours see calls of PyTorch."""
    if not dispatch_modes():
        return UNTRACED()
    stack = ExitStack()
    stack.enter_context(UNTRACED())
    stack.enter_context(_disable_current_modes())
    return stack


def is_pretended() -> bool:
    """Return whether tensors hold no numbers here, as in PyTorch's fake tensor mode."""
    return dispatch_modes() > 0 and _mode_of_torch(FAKE) is not None


def do_unseen(
    work: Callable[..., None], args: tuple[object, ...], short: Callable[..., bool] | None
) -> None:
    """Do work of ours where modes of the user's would see it, unless the short way of it has done it."""
    if is_pretended():
        return
    with unseen():
        if short is None or not short(*args):
            work(*args)


class _Own(local):
    """Whether a thread is at work on gradients of ours."""

    busy = False


_own = _Own()


def is_own_gradient() -> bool:
    """Return whether this thread is at work in ``own_gradients``."""
    return _own.busy


def own_gradients(
    roots: Sequence[Tensor], inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Return gradients that only we ask for: the loop did not differentiate, and a NaN in them is a number.

    Parameters
    ----------
    roots, inputs
        Ends of the graph; those of ``inputs`` that no root depends on have no gradient.
    gradients
        Of the roots.
    """
    _own.busy = True
    try:
        with torch.autograd.set_detect_anomaly(False):
            return torch.autograd.grad(roots, inputs, gradients, allow_unused=True)
    finally:
        _own.busy = False


def in_full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast; entering one costs microseconds, so only where it is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def float_tensors(value: object, depth: float = 2) -> Iterator[Tensor]:
    """Yield the tensors inside tuples, lists, dicts and dataclass-like outputs, outermost first."""
    if isinstance(value, Tensor):
        yield value
    elif depth > 0 and isinstance(value, (tuple, list)):
        for item in value:
            yield from float_tensors(item, depth - 1)
    elif depth > 0 and isinstance(value, dict):
        for item in value.values():
            yield from float_tensors(item, depth - 1)


def given(names: Sequence[str], args: Sequence[Any], kw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function was called with by name; the first arguments have these names in order."""
    return dict(zip(names, args, strict=False)) | dict(kw)


def first_float(value: object) -> Tensor | None:
    """Return the first floating-point tensor inside a value, None if there is none."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    return next((t for t in float_tensors(value) if t.is_floating_point()), None)


def strided(tensor: Tensor, limit: int = MAX_SAMPLE) -> Tensor:
    """Return at most ``limit`` entries of a tensor as a flat view or copy, evenly spread.

    The stride is odd, so that it does not fall on one column of a power-of-two layout again and again.
    """
    flat = tensor.detach().reshape(-1)
    if flat.numel() <= limit:
        return flat
    return flat[:: (flat.numel() // limit) | 1]


def is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor has units and a batch: the loss of a model that works it out itself has none.

    Nor have those that are sparse, complex, or of rows of several lengths.
    """
    plain = tensor.layout is torch.strided and not tensor.is_nested
    return plain and tensor.dim() > 0 and not tensor.is_complex()


def in_backward() -> bool:
    """Return whether autograd's engine is at work on this thread."""
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001 - there is no public way to ask


def on_one_device(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return small tensors on the device of the first: parts of a model may live on several."""
    device = tensors[0].device
    if all(tensor.device == device for tensor in tensors):
        return tensors
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


def stack_together(tensors: Sequence[Tensor]) -> Tensor:
    """Return small tensors as one, on the device of the first."""
    return torch.stack(tuple(on_one_device(tensors)))


def scalar(tensors: object) -> Tensor | None:
    """Return the loss among what a backward pass starts from; None if no entry is a single number.

    A meta tensor holds none.
    """
    found = (t for t in float_tensors(tensors) if t.numel() == 1 and not t.is_meta)
    return next(found, None)


def autocast_dtype(device: str) -> str:
    """Return the number format that autocast uses here and now, empty where it is off."""
    if not torch.is_autocast_enabled(device):
        return ""
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")


def are_cleared(
    params: Sequence[Tensor], before: dict[int, tuple[int, int]] | None = None
) -> bool | Tensor:
    """Return whether the first trainable parameters hold no gradient, or zeros; for a device a flag on it.

    Parameters
    ----------
    params
        Parameters of an optimizer.
    before
        What the gradients were at the last look, by ``id`` of their parameter, and kept for the next: one that no
        backward pass has touched since is that of a parameter out of use, and nothing is added to it.
    """
    looked = 0
    far: list[Tensor] = []
    for parameter in params:
        if parameter.requires_grad:
            gradient = local_gradient(parameter)
            if before is not None and gradient is not None:
                state = id(gradient), gradient._version  # noqa: SLF001 - there is no public way to ask
                if before.get(id(parameter)) == state:
                    continue
                before[id(parameter)] = state
            if gradient is not None and gradient.is_cuda:
                # Reading a device would stall it.
                far.append(gradient.detach().any())
            elif gradient is not None and bool(gradient.detach().any().item()):
                return False
            looked += 1
            if looked == PROBES:
                break
    return all_of(~flag for flag in far)


def all_of(flags: Iterable[bool | Tensor]) -> bool | Tensor:
    """Return whether all flags hold; a flag on a device if only that knows."""
    far = []
    for flag in flags:
        if flag is False:
            return False
        if isinstance(flag, Tensor):
            far.append(flag)
    return stack_together(far).all() if far else True


def once(before: bool | Tensor, ask: Callable[[], bool | Tensor]) -> bool | Tensor:  # noqa: FBT001 - a flag like that which is returned
    """Return whether a flag holds or did before; asked for only where it is not known to have."""
    if before is True:
        return True
    now = ask()
    if now is True or before is False:
        return now
    return before if now is False else before | now


def unless(flag: bool | Tensor) -> Tensor | float:  # noqa: FBT001 - the value itself
    """Return 0.0 where a flag holds and 1.0 where it does not, on the device of the flag."""
    return 1.0 - flag.float() if isinstance(flag, Tensor) else float(not flag)
