"""Gradients behind weights that are zero at first: not judged until these have grown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from neuraldbg.records.recording import LayerInfo, Topology
from neuraldbg.signals.gradient import gradient_signals
from neuraldbg.signals.newborn import behind_newborns
from tests import builders

Edges = tuple[tuple[int, int], ...]
STACK: Edges = ((0, 1), (1, 2), (2, 3))
GROWS = (0.0, 0.05, 0.2, 1.0)


def run(names: str, edges: Edges, norms: dict[str, Sequence[float]], **layer):
    """Return a run of four sampled steps in which these weights were zero at first."""
    plain = builders.chain(*names)
    topology = Topology(
        layers=plain.layers,
        params=plain.params,
        edges=edges,
        inputs=plain.inputs,
        outputs=plain.outputs,
    )
    gains = {f"{n}.weight": [0.0 if n in norms else 1.0] * 4 for n in names}
    sizes = {f"{n}.weight": norms.get(n, [1.0] * 4) for n in names}
    return builders.recording(
        topology,
        sampled=[0, 1, 2, 3],
        param={"init_gain": gains, "weight_norm": sizes},
        layer=layer,
    )


@pytest.mark.parametrize(
    ("edges", "norms", "expected"),
    [
        pytest.param(STACK, {}, {}, id="none is zero"),
        pytest.param(STACK, {"c": GROWS}, {"a": 2, "b": 2}, id="what is before it, and not itself"),
        pytest.param(STACK, {"d": GROWS}, {"a": 2, "b": 2, "c": 2}, id="a head"),
        pytest.param(STACK, {"c": [0.0] * 4}, {}, id="one that never grows is no newborn"),
        pytest.param((*STACK, (1, 3)), {"c": GROWS}, {}, id="with a way around"),
        pytest.param((*STACK, (2, 0)), {"c": GROWS}, {"a": 2, "b": 2}, id="what comes back does not help"),
        pytest.param(STACK, {"b": GROWS, "c": (0.0, 0.0, 0.0, 1.0)}, {"a": 3, "b": 3}, id="the last of two to grow"),
        pytest.param(((0, 1), (0, 2), (1, 3), (2, 3)), {"b": GROWS, "c": (0.0, 1.0, 1.0, 1.0)}, {"a": 1}, id="the first of two ways"),
        pytest.param((), {"c": GROWS}, {}, id="no dataflow was seen"),
    ],
)  # fmt: skip
def test_a_layer_is_behind_newborns_until_a_row(edges, norms, expected) -> None:
    masked = behind_newborns(run("abcd", edges, norms))
    assert masked.sum(axis=0).tolist() == [expected.get(n, 0) for n in "abcd"]
    # From the first row on without a gap.
    assert (np.diff(masked.astype(int), axis=0) <= 0).all()


@pytest.mark.parametrize(
    ("born", "judged"), [pytest.param({"c": GROWS}, [2, 3], id="zero"), pytest.param({}, [0, 1, 2, 3], id="not zero")]
)  # fmt: skip
def test_a_small_gradient_is_judged_once_it_can_be_large(born, judged) -> None:
    gradients = {"a": [1e-9] * 4, "b": [1e-9] * 4, "c": [1.0] * 4, "d": [1.0] * 4}
    found = gradient_signals(run("abcd", STACK, born, out_grad_norm=gradients))
    below = found["gradient_decades_below"]
    assert np.flatnonzero(below.observed[:, 0]).tolist() == judged
    assert below.observed[:, 2].all()


def test_a_run_without_sampled_steps_has_none_behind() -> None:
    assert behind_newborns(builders.recording(sampled=[])).shape == (0, 3)


def test_what_a_loss_is_made_of_is_a_way_out() -> None:
    plain = builders.chain("a", "b", "c")
    told = LayerInfo(name="told", type="Softmax", kind="activation", order=3)
    topology = Topology(
        layers=(*plain.layers, told),
        params=plain.params,
        edges=((0, 1), (1, 2), (0, 3)),
        inputs=(0,),
        outputs=(2, 3),
    )
    gains = {"a.weight": [1.0] * 4, "b.weight": [0.0] * 4, "c.weight": [1.0] * 4}
    norms = {"a.weight": [1.0] * 4, "b.weight": list(GROWS), "c.weight": [1.0] * 4}
    found = builders.recording(
        topology, sampled=[0, 1, 2, 3], param={"init_gain": gains, "weight_norm": norms}
    )
    assert not behind_newborns(found).any()
