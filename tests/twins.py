"""Run a training program twice, plain and watched, and compare everything that training leaves behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from neuraldbg.capture import Capture, Schedule, attach, engine
from neuraldbg.records.recording import Recording

__all__ = ["Program", "digits_like", "is_untouched", "recorded", "run", "twins"]

# ``program(steps)`` builds everything, trains inside ``watch(model)`` and returns model and losses.
Program = Callable[[Callable[[nn.Module], Any]], tuple[nn.Module, list[float]]]


@dataclass
class Trace:
    """What one run left behind."""

    weights: dict[str, Tensor]
    losses: list[float]
    rng: tuple[Any, ...]


class _Plain:
    def __init__(self, _model: nn.Module) -> None:
        self.capture = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Watched:
    """A capture as a context, the way the public object uses it."""

    last: Capture

    def __init__(self, model: nn.Module, schedule: Schedule | None = None) -> None:
        self.capture = Watched.last = Capture(model, schedule=schedule)

    def __enter__(self) -> Self:
        self.capture.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.capture.stop(error)


def run(program: Program, watch: Callable[[nn.Module], Any]) -> Trace:
    """Seed everything, run, and keep what the run left behind."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state is what a user's code draws from
    model, losses = program(watch)
    state = np.random.get_state()  # noqa: NPY002 - likewise
    far = torch.cuda.get_rng_state().tolist() if torch.cuda.is_initialized() else []
    rng = (torch.get_rng_state().tolist(), far, random.getstate(), state[1].tolist(), state[2])
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Trace(weights, losses, rng)


def twins(program: Program, schedule: Schedule | None = None) -> tuple[Trace, Trace, Recording]:
    """Return the plain run, the watched run, and what was recorded."""
    plain = run(program, _Plain)
    watched = run(program, lambda model: Watched(model, schedule))
    return plain, watched, Watched.last.recording()


def recorded(program: Program, schedule: Schedule | None = None) -> Recording:
    """Return the recording of a watched run."""
    run(program, lambda model: Watched(model, schedule))
    return Watched.last.recording()


def assert_same(plain: Trace, watched: Trace) -> None:
    """Fail unless both runs ended bit for bit alike."""
    assert watched.losses == plain.losses
    assert watched.rng == plain.rng
    assert watched.weights.keys() == plain.weights.keys()
    for name, value in plain.weights.items():
        # A NaN is not equal to itself; the runs must have them in the same places.
        assert torch.allclose(watched.weights[name], value, rtol=0.0, atol=0.0, equal_nan=True), (
            name
        )


def digits_like(rows: int = 32, inputs: int = 16, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return learnable data: the class is where a random projection is largest."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(rows, inputs, generator=generator)
    projection = torch.randn(inputs, classes, generator=generator)
    return x, (x @ projection).argmax(1)


def _hook_tables() -> tuple[dict[Any, Any], ...]:
    from torch.nn.modules import module as modules
    from torch.optim import optimizer as optimizers

    return (
        modules._global_forward_hooks,
        modules._global_forward_hooks_always_called,
        modules._global_forward_pre_hooks,
        optimizers._global_optimizer_pre_hooks,
        optimizers._global_optimizer_post_hooks,
    )


# Everything that watching patches, as it was when the tests began.
PATCHED = {
    (owner, name): getattr(owner, name)
    for owner, name in (
        (torch.autograd, "_engine_run_backward"),
        (torch.amp.GradScaler, "scale"),
        (torch.amp.GradScaler, "step"),
        (torch, "compile"),
        (nn.Module, "compile"),
        (nn.Module, "__getstate__"),
        (torch.jit._recursive, "create_script_module"),
    )
}


def is_untouched() -> bool:
    """Return whether PyTorch is as it was: no function mode, no global hook, every patched object in its place."""
    return (
        torch._C._len_torch_function_stack() == 0
        and not any(_hook_tables())
        and all(getattr(owner, name) is found for (owner, name), found in PATCHED.items())
    )


def wipe() -> None:
    """Make PyTorch as it was, for the tests that come after one that left something behind."""
    from torch.overrides import _pop_mode

    while torch._C._len_torch_function_stack():
        _pop_mode()
    for hooks in _hook_tables():
        hooks.clear()
    for (owner, name), found in PATCHED.items():
        setattr(owner, name, found)
    for ours in (engine._listeners, engine._patches, attach._watched):
        ours.clear()
    for ours in (engine._listeners, engine._patches, attach._watched):
        ours.clear()
