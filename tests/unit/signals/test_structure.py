"""Places of a network that everything passes."""

from __future__ import annotations

import pytest

from neuraldbg.records.recording import LayerInfo, Topology
from neuraldbg.signals.structure import normalized_after, passed_by, sources, structure_signals
from tests import builders

Edges = tuple[tuple[int, int], ...]
STACK: Edges = ((0, 1), (1, 2), (2, 3))


def narrowest(widths: tuple[int, ...], edges: Edges, kinds: str = "") -> float | None:
    kind = {"l": "linear", "c": "conv", "r": "recurrent", "a": "activation"}
    layers = tuple(
        LayerInfo(
            name=f"l{i}",
            type="X",
            kind=kind[k],
            order=i,
            config={} if k in "ac" else {"hidden_size" if k == "r" else "out_features": width},
        )
        for i, (width, k) in enumerate(zip(widths, kinds or "l" * len(widths), strict=True))
    )
    found = structure_signals(builders.recording(Topology(layers=layers, edges=edges)))
    return float(found["narrowest_passage"].values[0]) if found else None


@pytest.mark.parametrize(
    ("widths", "edges", "kinds", "expected"),
    [
        pytest.param((32, 2, 16, 10), STACK, "", 2, id="a bottleneck in a stack"),
        pytest.param((2, 32, 16, 10), STACK, "", 2, id="the first layer is one"),
        pytest.param((32, 16, 16, 1), STACK, "", 16, id="the output is as wide as the task"),
        pytest.param((32, 2, 0, 10), STACK, "lrcl", 2, id="a recurrent layer has hidden units"),
        pytest.param((8, 0, 9, 10), STACK, "lcll", 8, id="a convolution has positions"),
        pytest.param((32, 1, 16, 10), (*STACK, (0, 2)), "", 16, id="a gate has a way around it"),
        pytest.param(
            (32, 1, 16, 10), ((0, 3), (1, 3), (2, 3)), "", None, id="side branches are no passage"
        ),
        pytest.param((32, 2, 0, 10), STACK, "llal", 2, id="an activation is passed through"),
        pytest.param((32, 1, 0, 0), STACK, "llaa", 32, id="activations after the output count not"),
        pytest.param((32, 2), (), "", None, id="no dataflow was seen"),
        pytest.param((), (), "", None, id="no layers"),
    ],
)
def test_the_narrowest_passage(widths, edges, kinds, expected) -> None:
    assert narrowest(widths, edges, kinds) == expected


def test_a_loop_in_the_dataflow_ends() -> None:
    assert narrowest((32, 2, 16, 10), (*STACK, (2, 1))) == 2


def drawn(edges: Edges, kinds: str) -> Topology:
    kind = {"l": "linear", "a": "activation", "n": "norm", "e": "embedding", "o": "other"}
    layers = tuple(
        LayerInfo(name=f"l{i}", type="X", kind=kind[k], order=i) for i, k in enumerate(kinds)
    )
    return Topology(layers=layers, edges=edges)


@pytest.mark.parametrize(
    ("edges", "kinds", "expected"),
    [
        pytest.param(STACK, "llll", set(), id="a plain stack has no branches"),
        pytest.param(((0, 1), (1, 2), (2, 3), (0, 3)), "llll", {2}, id="a residual branch ends"),
        pytest.param(
            ((0, 1), (1, 2), (2, 3), (0, 3), (3, 4)), "lllal", {2}, id="before an activation too"
        ),
        pytest.param(
            ((0, 1), (0, 2), (1, 3), (2, 3)), "llll", set(), id="neither of two paths feeds another"
        ),
        pytest.param(
            ((0, 1), (1, 2), (1, 3), (0, 3)), "llll", set(), id="one of its readers has only it"
        ),
        pytest.param(
            ((0, 1), (1, 2), (2, 3), (0, 3)), "elll", {2}, id="what it is added to is a table's"
        ),
        pytest.param(
            ((0, 1), (1, 2), (2, 3), (2, 4), (3, 4), (0, 4)),
            "lllol",
            {2},
            id="a module without weights hands it on",
        ),
        pytest.param((), "ll", set(), id="no dataflow was seen"),
    ],
)
def test_where_branches_end(edges: Edges, kinds: str, expected: set[int]) -> None:
    assert passed_by(drawn(edges, kinds)) == expected


def test_what_feeds_a_layer_is_looked_for_past_activations() -> None:
    found = sources(drawn(((0, 1), (1, 2), (2, 3)), "lala"))
    assert found == {1: {0}, 2: {0}, 3: {2}}


@pytest.mark.parametrize(
    ("edges", "kinds", "expected"),
    [
        pytest.param(((0, 1), (1, 2)), "lnl", {"l0"}, id="a normalization follows"),
        pytest.param(((0, 1), (1, 2), (0, 2)), "lnl", set(), id="and a way around it"),
        pytest.param(((0, 1), (0, 3), (1, 2), (2, 3)), "lnln", {"l2"}, id="a stream is added to"),
        pytest.param(((0, 1), (1, 2)), "lal", set(), id="none follows"),
    ],
)
def test_what_is_normalized_at_once(edges, kinds, expected) -> None:
    assert normalized_after(drawn(edges, kinds)) == expected
