"""Where the signal ends: functions of the user's own that give the same whatever they are fed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import neuraldbg
from neuraldbg.records.recording import LayerInfo, ParamInfo, Topology
from neuraldbg.signals.lost import signal_lost
from tests import builders

KINDS = {"l": "linear", "o": "other", "n": "norm", "a": "activation"}
Edges = tuple[tuple[int, int], ...]


def drawn(kinds: str, edges: Edges | None = None) -> Topology:
    """Return layers of these kinds, those with weights with a matrix each, one after the other if nothing else is said."""
    weights = [i for i, k in enumerate(kinds) if k == "l"]
    layers = tuple(
        LayerInfo(
            name=f"l{i}",
            type="X",
            kind=KINDS[k],
            order=i,
            params=(weights.index(i),) if k == "l" else (),
        )
        for i, k in enumerate(kinds)
    )
    params = tuple(
        ParamInfo(name=f"l{i}.weight", layer=i, shape=(4, 4), kind="matrix", fan_in=4)
        for i in weights
    )
    chain = tuple((i, i + 1) for i in range(len(kinds) - 1))
    return Topology(layers=layers, params=params, edges=chain if edges is None else edges)


def lost(
    kinds: str,
    spreads: Sequence[float | None],
    *,
    edges: Edges | None = None,
    norms: Sequence[float] = (),
    **read: dict[str, list[float]],
) -> dict[str, float] | None:
    """Return what is told of one sampled step in which layers with weights have these spreads and size 1."""
    topology = drawn(kinds, edges)
    weighted = [x.name for x in topology.layers if x.params]
    given = {n: [s] for n, s in zip(weighted, spreads, strict=True)}
    sizes = {n: [1.0] for n in weighted}
    weights = norms or [1.0] * len(weighted)
    run = builders.recording(
        topology,
        sampled=[0],
        layer={"act_std": given, "act_rms": sizes, **read},
        param={"weight_norm": {f"{n}.weight": [x] for n, x in zip(weighted, weights, strict=True)}},
    )
    found = signal_lost(run).get("signal_lost")
    if found is None or found.layers is None:
        return None
    seen = zip(found.layers, found.values[0], found.observed[0], strict=True)
    return {topology.layers[i].name: round(float(v), 3) for i, v, known in seen if known}


@pytest.mark.parametrize(
    ("kinds", "spreads", "more", "expected"),
    [
        pytest.param("lol", (1.0, 1e-6), {}, {"l0": 6.0}, id="a module of the user's own"),
        pytest.param("ll", (1.0, 1e-6), {}, {"l0": 6.0}, id="a function of the user's own"),
        pytest.param("lool", (0.1, 0.0), {}, {"l0": 8.0}, id="two modules, nothing left"),
        pytest.param("lol", (1.0, 0.5), {}, {"l0": 0.301}, id="a signal that goes on"),
        pytest.param("lol", (1e-5, 1e-9), {}, {"l0": 0.0}, id="what was hardly there cannot be lost"),
        pytest.param("lol", (2e-3, 1e-9), {}, {"l0": 6.301}, id="what was little can"),
        pytest.param("lol", (0.0, 0.0), {}, {"l0": 0.0}, id="a batch of one row"),
        pytest.param("lololl", (1.0, 1.0, 1e-6, 1e-6), {}, {"l0": 0.0, "l2": 6.0, "l4": 0.0}, id="told where it ends"),
        pytest.param("lnl", (1.0, 1e-6), {}, None, id="a norm between has causes of its own"),
        pytest.param("lal", (1.0, 1e-6), {}, None, id="an activation between is known"),
        pytest.param("lol", (1.0, 1e-6), {"dead_share": {"l0": [1.0]}}, None, id="a function that is read"),
        pytest.param("lol", (1.0, 1e-6), {"norms": (1.0, 0.0)}, None, id="weights that are zero give the same"),
        pytest.param("lol", (None, 1e-6), {}, {}, id="what came before was not seen"),
        pytest.param("ol", (1e-6,), {}, None, id="nothing came before"),
        pytest.param(
            "llol", (1.0, 1e-5, 1e-6), {"edges": ((0, 2), (1, 2), (2, 3))}, None, id="two that are added up are not judged"
        ),
        pytest.param("lol", (1.0, 1e-6), {"edges": ((0, 1), (1, 2), (2, 2))}, None, id="a layer that feeds itself"),
        pytest.param("lol", (1.0, 1e-6), {"edges": ()}, None, id="no dataflow was seen"),
    ],
)  # fmt: skip
def test_a_signal_is_lost(kinds, spreads, more, expected) -> None:
    assert lost(kinds, spreads, **more) == expected


@pytest.mark.parametrize(
    ("last", "seen"),
    [pytest.param(0.05, [True, False], id="a twentieth is left"), pytest.param(0.5, [True, True], id="half is left")],
)  # fmt: skip
def test_weights_that_have_shrunk_lose_what_they_are_fed_by_themselves(last, seen) -> None:
    spread = {"l0": [1.0, 1.0], "l2": [1.0, 1e-6]}
    run = builders.recording(
        drawn("lol"),
        sampled=[0, 9],
        layer={"act_std": spread, "act_rms": {"l0": [1.0] * 2, "l2": [1.0] * 2}},
        param={"weight_norm": {"l0.weight": [1.0, 1.0], "l2.weight": [1.0, last]}},
    )
    assert signal_lost(run)["signal_lost"].observed[:, 0].tolist() == seen


def test_without_sampled_steps_nothing_is_known() -> None:
    assert signal_lost(builders.recording(drawn("lol"), sampled=[])) == {}


class Step(torch.autograd.Function):
    """A spike, with a derivative close to the threshold only."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() < 1.0)


class Fires(nn.Module):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return Step.apply(x - self.threshold)


@pytest.mark.parametrize(
    "threshold", [pytest.param(50.0, id="never fires"), pytest.param(0.0, id="fires")]
)
def test_units_of_the_users_own_that_never_fire_are_told_by_the_module_with_the_threshold(
    threshold,
) -> None:
    torch.manual_seed(0)
    data, labels = torch.randn(256, 12), torch.randint(0, 3, (256,))
    data += 2.0 * nn.functional.one_hot(labels, 12)
    model = nn.Sequential(
        nn.Linear(12, 32), Fires(0.0), nn.Linear(32, 32), Fires(threshold), nn.Linear(32, 3)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with neuraldbg.NeuralDbg(model) as dbg:
        for step in range(120):
            rows = torch.arange(32 * step, 32 * step + 32) % 256
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data[rows]), labels[rows]).backward()
            optimizer.step()
    found = [(h.mechanism, h.layer) for h in dbg.get_causal_hypotheses()]
    assert found[:1] == ([("dead_units", "3")] if threshold else [])


class Folds(nn.Module):
    """A rectifier in a function, and a module behind it that has nothing to do with that."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fold, self.head = nn.Linear(12, 32), nn.Flatten(), nn.Linear(32, 3)
        nn.init.constant_(self.first.bias, -50.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fold(torch.relu(self.first(x))))


def test_units_of_a_rectifier_are_told_by_their_layer_whatever_comes_behind_it() -> None:
    torch.manual_seed(0)
    data, labels, model = torch.randn(64, 12), torch.randint(0, 3, (64,)), Folds()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with neuraldbg.NeuralDbg(model) as dbg:
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data), labels).backward()
            optimizer.step()
    first = dbg.get_causal_hypotheses()[0]
    assert (first.mechanism, first.layer) == ("dead_units", "first")
