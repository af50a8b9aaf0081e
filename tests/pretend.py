"""A device where there is none: tensors say that they live on one, and what the package reads of them is seen."""

from __future__ import annotations

import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from neuraldbg.capture import guard, landing, peek, quiet

__all__ = ["Device"]

READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__")
# Where numbers are read that are on the host by then, or are brought there.
FETCHING = frozenset({"land", "write", "settled", "arrived"})


class _Event:
    """Happens a while after it was recorded."""

    def __init__(self, latency: int) -> None:
        self.asked, self.latency = 0, latency

    def record(self, _stream: Any) -> None:
        self.asked = 0

    def query(self) -> bool:
        self.asked += 1
        return self.asked > self.latency

    def synchronize(self) -> None:
        self.asked = self.latency


class Device:
    """Pretends for as long as a patch lasts.

    Parameters
    ----------
    patch
        Undoes it.
    latency
        So often an event is asked before what it stands for has happened.

    Attributes
    ----------
    waits
        Transfers to the host.
    strays
        Reads of a tensor outside of these, by the place in the package.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *, latency: int = 1) -> None:
        self.waits, self.strays = 0, Counter[str]()
        patch.setattr(torch.Tensor, "is_cuda", property(lambda _: True))
        for module in (guard, quiet):
            patch.setattr(module, "in_capture", lambda: False)
        patch.setattr(torch.cuda, "Event", lambda: _Event(latency))
        patch.setattr(torch.cuda, "current_stream", lambda _device: None)
        patch.setattr(peek, "torch", SimpleNamespace(**_unpinned()))
        for name in READS:
            patch.setattr(torch.Tensor, name, self._seen(getattr(torch.Tensor, name)))

    def _seen(self, inner: Any) -> Any:
        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if inner.__name__ == "cpu" and sys._getframe(1).f_code is landing.fetched.__code__:
                self.waits += 1
            if (place := _ours()) is not None:
                self.strays[place] += 1
            return inner(tensor, *args, **kwargs)

        return read


def _ours() -> str | None:
    """Return from where in the package something is read, None if the loop reads it or it is fetched."""
    frame, found = sys._getframe(2), None
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if module.startswith("neuraldbg.capture"):
            # The function mode only hands on what the loop asks for.
            if code.co_name in FETCHING or code.co_name == "__torch_function__":
                return None
            found = found or f"{module}:{code.co_name}"
        frame = frame.f_back
    return found


def _unpinned() -> dict[str, Any]:
    """Return what of PyTorch is used for numbers that are on their way, without the memory of a driver."""

    def empty(*shape: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        assert pin_memory
        return torch.empty(*shape, **kwargs)

    names = ("Tensor", "float32", "float64", "cuda", "stack")
    return {"empty": empty, **{name: getattr(torch, name) for name in names}}
