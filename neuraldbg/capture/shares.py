"""Whether the backward passes of one step start from shares of one loss, or each from a loss of its own."""

from __future__ import annotations

from torch import Tensor

__all__ = ["Shares", "divisor"]


class Shares:
    """Tells the loss of a step that accumulates gradients: the sum of its shares, or the mean of its losses.

    Trainers divide every loss by the number of backward passes of a step before they start one, so that the
    gradients add up to those of the mean; a loop written by hand often does not.

    Parameters
    ----------
    told
        True if the caller knows that they are shares, False if that they are not, None to look.
    """

    def __init__(self, *, told: bool | None = None) -> None:
        self._told = told
        self._divisor = 1.0

    def look(self, root: Tensor | None, before: int) -> None:
        """Take what a backward pass starts from; ``before`` passes of the same step came earlier."""
        # A step with one pass needs no answer, and all passes of a step are divided alike.
        if before == 1 and root is not None:
            self._divisor = divisor(root)

    def add_up(self, backwards: int) -> bool:
        """A step ended: return whether the losses of its backward passes add up to the loss of the step."""
        found, self._divisor = self._divisor, 1.0
        if self._told is not None:
            return self._told
        return backwards > 1 and abs(found - backwards) < 1e-3


def divisor(root: Tensor) -> float:
    """Return the number by which a loss was divided last, 1.0 if by none that can be read without waiting."""
    node = root.grad_fn
    name = "" if node is None else node.name()
    if name not in {"DivBackward0", "MulBackward0"}:
        return 1.0
    other = getattr(node, "_saved_other", None)
    if not isinstance(other, Tensor) or other.numel() != 1 or other.is_cuda:
        return 1.0
    value = float(other.detach())
    if name == "DivBackward0":
        return value
    return 1.0 / value if value else 1.0
