"""Whether the backward passes of one step start from shares of one loss, or each from a loss of its own."""

from __future__ import annotations

from torch import Tensor

__all__ = ["Shares", "divisors"]

# Trainers wrap one another: so many divisions in a row are looked at.
DEPTH = 4


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
        self._divisors: list[float] = []

    def look(self, root: Tensor | None) -> None:
        """Take what the second backward pass of a step starts from.

        A step with one pass needs no answer, and all passes of a step are divided alike.
        """
        if root is not None:
            self._divisors = divisors(root)

    def add_up(self, backwards: int) -> bool:
        """A step ended: return whether the losses of its backward passes add up to the loss of the step."""
        found, self._divisors = self._divisors, []
        if self._told is not None:
            return self._told
        return backwards > 1 and any(abs(value - backwards) < 1e-3 for value in found)


def divisors(root: Tensor) -> list[float]:
    """Return by what a loss was divided last, and with the division before, and so on; the nearest first."""
    found: list[float] = []
    node, value = root.grad_fn, 1.0
    while node is not None and len(found) < DEPTH and node.name() in {DIVISION, PRODUCT}:
        other = getattr(node, "_saved_other", None)
        if not isinstance(other, Tensor) or other.numel() != 1 or other.is_cuda:
            break
        number = float(other.detach()) or float("nan")
        value *= number if node.name() == DIVISION else 1.0 / number
        found.append(value)
        node = node.next_functions[0][0]
    return found


DIVISION, PRODUCT = "DivBackward0", "MulBackward0"
