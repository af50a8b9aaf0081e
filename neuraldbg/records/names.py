"""What a layer is called in text: the watched model has parameters of its own too, and no name but the empty one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["and_others", "clause", "common", "holds", "in_words", "label", "quoted"]

MODEL = "(the model)"
MODEL_IN_WORDS = "the model itself"


def label(layer: str | None, outside: str = "") -> str:
    """Return what stands in a cell of a table, in a row of a picture, in a node of a graph.

    Parameters
    ----------
    layer
        As records have it.
    outside
        What stands there for what is in no layer.
    """
    return outside if layer is None else layer or MODEL


def common(layers: Iterable[str]) -> str:
    """Return the dotted name of the innermost module that holds all of these; empty for the model."""
    shared: list[str] = []
    for parts in zip(*(name.split(".") for name in layers), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def holds(module: str, name: str) -> bool:
    """Return whether a dotted name is that of a module or of something in it; the model itself is not asked."""
    return f"{name}.".startswith(f"{module}.")


def quoted(layer: str) -> str:
    """Return a layer within a sentence."""
    return f"'{layer}'" if layer else MODEL_IN_WORDS


def in_words(layer: str, others: Sequence[str] = ()) -> str:
    """Return a layer within a sentence that has not said yet that it speaks of one.

    Parameters
    ----------
    layer
        As records have it.
    others
        Further layers; they are counted.
    """
    return (f"layer {quoted(layer)}" if layer else MODEL_IN_WORDS) + and_others(len(others))


def and_others(count: int) -> str:
    """Return how many further layers something is true of, to follow the one that was named."""
    if count == 0:
        return ""
    return f" and {count} other layer{'s' if count > 1 else ''}"


def clause(layer: str | None) -> str:
    """Return where something is, to follow what it is; empty for what is in no layer."""
    return "" if layer is None else f" in {quoted(layer)}"
