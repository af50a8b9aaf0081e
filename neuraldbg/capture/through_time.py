"""What a recurrence of PyTorch passes back through time to its input, where that is data and asks for no gradient.

Layers that are fed by others show by the gradient of what they are fed how it fades, position by position. Data has
none: a few examples go through the recurrence once more, outside of the loop, from what it was called with.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neuraldbg.capture.along import LEAST, gradual_fall
from neuraldbg.capture.bank import Rows
from neuraldbg.capture.compiled import is_transformed
from neuraldbg.capture.fed import is_data
from neuraldbg.capture.reduce import in_full_precision, is_batched, own_gradients
from neuraldbg.capture.shards import is_sharded

__all__ = ["ThroughTime"]

EXAMPLES, LONGEST = 4, 1024
# What a recurrence keeps hardly changes from one step to the next: the first sampled steps, then one in so many.
DENSE, SPARSE = 4, 8
KINDS = (nn.RNN, nn.LSTM, nn.GRU)


class _Call(NamedTuple):
    """What a recurrence was called with, and what came back to its output and its last state; examples along one axis."""

    module: nn.RNNBase
    x: Tensor
    state: tuple[Tensor, ...]
    gradients: dict[int, Tensor]


class ThroughTime:
    """Gradients of the inputs of recurrences, in some of the sampled steps.

    Parameters
    ----------
    guard
        Runs work of ours; an error disarms capture.
    """

    def __init__(self, guard: Callable[..., None]) -> None:
        self._guard = guard
        self._calls: dict[int, _Call] = {}
        self._steps = 0

    def begin(self) -> None:
        """Forget what the step before left."""
        self._calls = {}

    def take(self, layer: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Take what a recurrence was called with, and await its gradients; of several calls the last one counts.

        Parameters
        ----------
        layer, module, args, output
            The call.
        """
        due = self._steps < DENSE or self._steps % SPARSE == 0
        if not (due and type(module) in KINDS and isinstance(module, nn.RNNBase)):
            return
        if not (args and _is_sequence(args[0], module) and isinstance(output, tuple)):
            return
        batch = 0 if module.batch_first else 1
        x = _some(args[0], batch).float()
        state = args[1] if len(args) > 1 and args[1] is not None else ()
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        call = _Call(module, x, tuple(_some(s, 1).float() for s in parts), {})
        self._calls[layer] = call
        last = output[1][0] if isinstance(output[1], tuple) else output[1]
        for place, (tensor, axis) in enumerate(((output[0], batch), (last, 1))):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(partial(self._on_gradient, call, place, axis))

    def _on_gradient(self, call: _Call, place: int, axis: int, gradient: Tensor | None) -> None:
        # Of several outputs of one operation those that nobody used have none.
        if not (gradient is None or is_transformed() or is_batched(gradient)):
            self._guard(self._came_back, call, place, axis, gradient)

    @staticmethod
    def _came_back(call: _Call, place: int, axis: int, gradient: Tensor) -> None:
        call.gradients[place] = _some(gradient, axis).float()

    def finish(self) -> list[Rows]:
        """Return the decades by which gradients fall on their way back to the data."""
        self._steps += 1
        calls = {layer: call for layer, call in self._calls.items() if call.gradients}
        if not calls:
            return []
        falls = [_fall(call) for call in calls.values()]
        return [Rows(list(calls), ("time_grad_fall_in",), torch.stack(falls)[None])]


def _is_sequence(x: object, module: nn.RNNBase) -> bool:
    """Return whether a recurrence was called with a batch of sequences that no parameter has touched."""
    if type(x) is not Tensor or x.dim() != 3 or not is_data(x, leaves=False):
        return False
    long = x.shape[1 if module.batch_first else 0]
    return LEAST <= long <= LONGEST and not any(map(is_sharded, module.parameters()))


def _some(tensor: Tensor, axis: int) -> Tensor:
    """Return a copy of a few examples."""
    return tensor.detach().narrow(axis, 0, min(EXAMPLES, tensor.shape[axis])).clone()


def _fall(call: _Call) -> Tensor:
    """Return the decades by which the gradient of the input falls along time."""
    module = call.module
    x = call.x.requires_grad_()
    with torch.enable_grad(), in_full_precision(x.device):
        outputs = _again(module, x, call.state)
        pairs = [(outputs[place], g) for place, g in call.gradients.items()]
        roots, gradients = zip(*pairs, strict=True)
        (found,) = own_gradients(roots, (x,), gradients)
    if found is None:
        return x.new_zeros(())
    along = found if not module.batch_first else found.transpose(0, 1)
    return gradual_fall(along.abs().amax((1, 2))[None])[0]


def _again(module: nn.RNNBase, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Run a recurrence on its present weights, without its hooks and without dropout: no random number is drawn."""
    weights = [weight.detach().float() for layer in module.all_weights for weight in layer]
    run = getattr(torch, module.mode.lower())
    hidden = state or _zeros(module, x)
    how = (module.bias, module.num_layers, 0.0, True, module.bidirectional, module.batch_first)
    # Weights that were converted are not in one piece, of which that of a device would warn.
    whole = all(weight.dtype is torch.float32 for layer in module.all_weights for weight in layer)
    with nullcontext() if whole else torch.backends.cudnn.flags(enabled=False):
        found = run(x, hidden if isinstance(module, nn.LSTM) else hidden[0], weights, *how)
    return found[0], found[1]


def _zeros(module: nn.RNNBase, x: Tensor) -> tuple[Tensor, ...]:
    """Return the states that a recurrence begins with: of its output, and of the memory of an LSTM."""
    count = module.num_layers * (2 if module.bidirectional else 1)
    batch = x.shape[0 if module.batch_first else 1]
    return tuple(
        x.new_zeros(count, batch, width)
        for width in (module.proj_size or module.hidden_size, module.hidden_size)
    )
