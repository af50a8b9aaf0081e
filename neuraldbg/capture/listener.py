"""What a tracer of tensor functions tells of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from neuraldbg.capture.reduce import Numbers

__all__ = ["Listener"]


class Listener(Protocol):
    """What a tracer tells of."""

    inside: int

    @property
    def open(self) -> bool:
        """Whether a pass of the loop that trains is under way."""

    def latest(self, layers: frozenset[int]) -> int:
        """Return the layer among these that ran last."""

    def on_activation(self, layer: int, name: str, tensor: Tensor, *, direct: bool) -> None:
        """Take the input of a functional nonlinearity that a layer's output went into."""

    def on_loss(
        self,
        name: str,
        layer: int,
        prediction: Tensor,
        target: Tensor,
        reduction: str,
        *,
        maker: str = "",
        value: Tensor | None = None,
    ) -> None:
        """Take the call of a loss function.

        ``maker`` is what made the prediction, if its graph does not tell; ``value`` the result, if it is one number.
        """

    def on_attention(self, layer: int, numbers: Numbers) -> None:
        """Take attention numbers of one call."""

    def is_ours(self, tensor: Tensor) -> bool:
        """Return whether the graph of a tensor leads to parameters of the model."""

    def on_taken_out(self, parameter: Tensor) -> None:
        """Take a parameter that was taken out of the graph before it was used."""

    def on_cut(self, layers: frozenset[int]) -> None:
        """Take a cut of the graph behind some layers, inside the model or in the loop."""

    def on_meeting(self, layers: frozenset[int]) -> None:
        """Take layers whose output has no gradient and went into an operation with one that has."""

    def on_choice(self, layers: frozenset[int]) -> None:
        """Take layers by whose output it was chosen what an operation with a gradient works on."""

    def on_mixing(self, layers: frozenset[int]) -> None:
        """Take layers whose output has no gradient and went into what has one from elsewhere."""

    def on_dropped(self, layer: int, kept: Tensor) -> None:
        """Take the share of its units that a dropout keeps which is no module; -1 if no layer is known."""

    def on_norm(self, layer: int, name: str, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
        """Take a function that normalizes what it is given, or a statistic that a layer takes of its input."""

    def on_draw(self) -> None:
        """Take a draw of the loop from what the model gave out."""

    def on_risky(self, layer: int, name: str) -> None:
        """Take an operation at a point where its value or derivative is undefined."""

    def on_operation(self, name: str, args: Sequence[Any], result: object) -> None:
        """Take the result of an operation that has such a point; who called it stands on the stack."""

    def on_product(self, name: str, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
        """Take a product that a parameter may be a factor of."""

    def on_half(self, layer: int, name: str, args: Sequence[Any], out: Tensor) -> None:
        """Take a function whose result is in float16."""

    def guard(self, work: Callable[..., None], *args: Any) -> None:
        """Run work of ours; an error disarms capture and nothing else."""
