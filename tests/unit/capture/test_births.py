"""Where a NaN was born is told apart: in the target, on the way into the first layer, or in a layer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.capture.drawn import initial
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.topology import draw
from neuraldbg.records.recording import Occurrence, ParamInfo, Recording
from tests.loops import Batch, clusters, train


class Scaled(nn.Module):
    """Divides each sample by its length on the way into its first layer."""

    def __init__(self, eps: float = 0.0) -> None:
        super().__init__()
        self.first, self.last, self.eps = nn.Linear(8, 16), nn.Linear(16, 4), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x / (x.norm(dim=1, keepdim=True) + self.eps))))


class Pooled(nn.Module):
    """One pooling module for two places."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
        self.pool, self.head = nn.MaxPool1d(2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.one(x[:, None])))
        return self.head(self.pool(torch.relu(self.two(x))).flatten(1))


def blank(step: int) -> Batch:
    """Return a batch with an empty sample at step 5."""
    x, y = clusters(step)
    if step == 5:
        x[0] = 0.0
    return x, y


def watched(model: nn.Module, **options: Any) -> Recording:
    with NeuralDbg(model) as dbg:
        train(model, steps=12, **options)
    return dbg.recording


def birth(recording: Recording) -> tuple[int, str, str | None]:
    """Return step, kind and layer of the first occurrence of a non-finite value."""
    found: Occurrence = next(o for o in recording.occurrences if o.kind.startswith("nonfinite"))
    layer = recording.topology.layers[found.layer].name if found.layer >= 0 else None
    return found.step, found.kind, layer


def test_data_that_went_bad_on_their_way_into_a_layer_are_told_at_that_layer() -> None:
    assert birth(watched(Scaled(), batch=blank)) == (5, "nonfinite_forward", "first")


def test_its_twin_with_an_epsilon_has_no_birth() -> None:
    recording = watched(Scaled(eps=1e-3), batch=blank)
    assert not any(o.kind.startswith("nonfinite") for o in recording.occurrences)


@pytest.mark.parametrize("hidden", [0, 1], ids=["a single layer", "two layers"])
def test_a_bad_target_is_told_as_a_target(hidden: int) -> None:
    torch.manual_seed(0)
    body = [nn.Linear(8, 8), nn.Tanh()] * hidden
    model = nn.Sequential(*body, nn.Linear(8, 1))

    def batch(step: int) -> Batch:
        x, _ = clusters(step)
        return x, torch.full((len(x), 1), float("nan") if step == 5 else 1.0)

    step, kind, _ = birth(watched(model, batch=batch, loss=F.mse_loss, lr=0.01))
    assert (step, kind) == (5, "nonfinite_target")


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (output - target).square().sum(1).mean()


def _logarithmic(output: Tensor, target: Tensor) -> Tensor:
    return (0.5 * output.log() - target).square().mean()


@pytest.mark.parametrize(
    ("loss", "bad", "kind"),
    [(_squared, float("nan"), "nonfinite_target"), (_logarithmic, 1.0, "nonfinite_forward")],
    ids=["a bad target", "a logarithm of negative numbers"],
)
def test_a_loss_written_by_hand_tells_a_bad_target_from_a_singular_operation(
    loss, bad, kind
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    with torch.no_grad():
        model[2].bias.fill_(3.0 if loss is _logarithmic else 0.0)

    def batch(step: int) -> Batch:
        x, _ = clusters(step)
        if step == 5 and loss is _logarithmic:
            with torch.no_grad():
                model[2].bias.fill_(-3.0)
        return x, torch.full((len(x), 1), bad if step == 5 else 1.0)

    recording = watched(model, batch=batch, loss=loss, lr=0.01)
    first = next(o for o in recording.occurrences if o.kind.startswith("nonfinite"))
    assert (first.step, first.kind) == (5, kind)
    assert first.facts["op"] == ("LogBackward0" if loss is _logarithmic else "SubBackward0")


@pytest.mark.parametrize("rows", [1, 4], ids=["of a single value", "of several, its twin"])
def test_the_deviation_of_a_single_value_is_no_bad_target(rows: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))

    def batch(step: int) -> Batch:
        x, y = clusters(step)
        return (x[:rows], y[:rows]) if step == 5 else (x, y)

    def weighted(output: Tensor, target: Tensor) -> Tensor:
        gained = target.float() + torch.linspace(0.0, 1.0, len(target))
        centred = gained - gained.mean()
        advantage = centred / (centred.square().sum() / (len(centred) - 1)).sqrt()
        return -(F.logsigmoid(output[:, 0]) * advantage).mean()

    recording = watched(model, batch=batch, loss=weighted, lr=0.01)
    found = [(o.step, o.kind) for o in recording.occurrences if o.kind.startswith("nonfinite")]
    assert found[:1] == ([(5, "nonfinite_forward")] if rows == 1 else [])


@pytest.mark.parametrize(
    ("target", "told"),
    [
        pytest.param(lambda q, _: q.detach(), [True], id="a value that is held fixed"),
        pytest.param(lambda q, _: q.detach()[:, 0], [], id="its twin of the same shape"),
        pytest.param(lambda _, y: y.float()[:, None], [True], id="a target"),
        pytest.param(lambda _, y: y.float(), [None], id="its twin of the same shape as well"),
        pytest.param(lambda _, y: y.float()[:, None, None], [True], id="of one more dimension"),
    ],
)
def test_shapes_that_broadcast_in_a_difference_are_seen(target, told) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"value": nn.Linear(8, 1), "critic": nn.Linear(8, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = clusters(0)
    with NeuralDbg(model) as dbg:
        v, q = model["value"](x)[:, 0], model["critic"](x)
        (target(q, y) - v).square().mean().backward()
        optimizer.step()
    calls = dbg.recording.losses
    assert [c.facts.get("shape_mismatch") for c in calls] == told


@pytest.mark.parametrize("detached", [True, False])
def test_every_pair_on_purpose_is_no_broadcast(detached) -> None:
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(8, 3), clusters(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        out = model(x)
        given = out.detach() if detached else out
        every = given[:, :, None] - y.float()[:, None].expand(-1, 3)[:, None, :]
        (out.square().mean() + every.square().mean()).backward()
        optimizer.step()
    assert not any(c.facts.get("shape_mismatch") for c in dbg.recording.losses)


@pytest.mark.parametrize("tiny", [0.0, 1e-9], ids=["a probability of zero", "its guarded twin"])
def test_a_logarithm_of_zero_is_named_where_no_value_that_was_kept_is_bad(tiny: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))

    def shares(output: Tensor, target: Tensor) -> Tensor:
        wanted = F.one_hot(target, 4).float()
        # Shares of zero where none is wanted: zero times minus infinity.
        kept = output.softmax(1) * wanted
        return -((kept + tiny).log() * wanted).sum(1).mean()

    recording = watched(model, loss=shares, lr=0.01)
    found = [o for o in recording.occurrences if o.kind == "nonfinite_forward"]
    assert [o.facts["op"] for o in found] == ([] if tiny else ["LogBackward0"])


@pytest.mark.parametrize("at", [None, 5], ids=["clean", "one bad batch"])
def test_bad_data_of_a_second_entry_are_not_taken_for_a_layer(at: int | None) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"made": nn.Linear(4, 8), "judge": nn.Linear(8, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(8):
            optimizer.zero_grad()
            real, _ = clusters(step)
            if step == at:
                real[0, 0] = float("nan")
            fake = model["judge"](model["made"](torch.randn(len(real), 4)))
            (F.softplus(fake) + F.softplus(-model["judge"](real))).mean().backward()
            optimizer.step()
    found = [o for o in dbg.recording.occurrences if o.kind.startswith("nonfinite")]
    assert [(o.step, o.kind) for o in found[:1]] == (
        [] if at is None else [(5, "nonfinite_target")]
    )


def test_what_feeds_the_second_call_of_a_shared_module_feeds_what_comes_after_it() -> None:
    recording = watched(Pooled())
    names = [layer.name for layer in recording.topology.layers]
    edges = {(names[a], names[b]) for a, b in recording.topology.edges}
    assert ("two", "head") in edges
    assert ("one", "head") not in edges
    assert ("head", "two") not in edges


def test_initial_biases_are_measured_before_the_first_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].bias.fill_(-20.0)
        model[2].bias.zero_()
    column = watched(model).param["init_bias"]
    held = {p.name: i for i, p in enumerate(watched(model).topology.params)}
    assert column.values[0, held["0.bias"]] == pytest.approx(20.0)
    assert column.values[0, held["2.bias"]] == 0.0
    assert not column.observed[0, held["0.weight"]]


@pytest.mark.parametrize(
    ("cell", "gate", "expected"),
    [
        pytest.param(lambda: nn.LSTM(8, 16), 1, 72**0.5, id="half of a gate of an LSTM"),
        pytest.param(lambda: nn.GRU(8, 16), 2, 72**0.5, id="half of a gate of a GRU"),
        pytest.param(lambda: nn.LSTM(8, 16, proj_size=2), 3, 72**0.5, id="of a projected one"),
        pytest.param(lambda: nn.Linear(8, 64), 0, 18**0.5, id="an eighth of a bias without gates"),
    ],
)
def test_of_a_bias_of_several_gates_the_largest_is_measured(cell, gate, expected) -> None:
    model = cell()
    name, bias = next((n, p) for n, p in model.named_parameters() if n.startswith("bias"))
    with torch.no_grad():
        bias.zero_()
        bias[gate * 16 : gate * 16 + 8] = 12.0
    drawn = draw(model)
    assert initial_biases(drawn.params, drawn.tensors)[name] == pytest.approx(expected)
    # A part of a bias, as of one that is sharded, does not end where a gate does.
    parts = [replace(p, shard=p.shape[0]) for p in drawn.params]
    whole = (144 * 8 / bias.numel()) ** 0.5
    assert initial_biases(parts, drawn.tensors)[name] == pytest.approx(whole)


def initial_biases(params: list[ParamInfo], tensors: list[Tensor]) -> dict[str, float]:
    (rows,) = [r for r in initial(params, tensors, ()) if r.names == ("init_bias",)]
    return {params[i].name: float(x) for i, x in zip(rows.indices, rows.values[0], strict=True)}


class Neighbours(nn.Module):
    """Mixes samples by the inverse of their number of neighbours: infinite for one that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 4)
        self.alone = False

    def forward(self, x: Tensor) -> Tensor:
        near = (torch.cdist(x, x) < 3.0).float()
        if self.alone:
            near[0] = 0.0
        weights = near / near.sum(1, keepdim=True)
        return weights @ self.two(torch.relu(weights @ self.one(x)))


@pytest.mark.parametrize("alone", [True, False], ids=["nobody near", "its healthy twin"])
def test_a_constant_that_the_model_makes_is_no_target(alone: bool) -> None:
    model = Neighbours()

    def batch(step: int) -> Batch:
        model.alone = alone and step == 5
        return clusters(step)

    recording = watched(model, batch=batch, lr=0.01)
    found = [o for o in recording.occurrences if o.kind.startswith("nonfinite")]
    assert [(o.step, o.kind) for o in found[:1]] == ([(5, "nonfinite_forward")] if alone else [])
    # How it was made was not seen: nothing is said of the operation.
    assert [o.facts["op"] for o in found[:1]] == ([""] if alone else [])


@pytest.mark.parametrize(
    ("rows", "kind"),
    [(slice(None), "nonfinite_forward"), (slice(0, 1), "nonfinite_target")],
    ids=["all weights: a division in the loop", "one of them: a bad sample"],
)
def test_weights_of_a_loss_that_are_all_nan_were_divided_by_zero(rows: slice, kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(8):
            x, y = clusters(step)
            advantage = torch.randn(len(x))
            if step == 5:
                advantage[rows] = float("nan")
            optimizer.zero_grad()
            chosen = model(x).log_softmax(1).gather(1, y[:, None]).squeeze(1)
            (-chosen * advantage).mean().backward()
            optimizer.step()
    found = [o for o in dbg.recording.occurrences if o.kind.startswith("nonfinite")]
    assert [(o.step, o.kind) for o in found[:1]] == [(5, kind)]


@pytest.mark.parametrize(
    ("eps", "kind"),
    [
        pytest.param(1e-8, "nonfinite_parameter", id="an epsilon that is zero in half precision"),
        pytest.param(1e-4, None, id="one that is not"),
    ],
)
def test_weights_that_a_step_spoilt_though_gradients_were_finite_are_told_of_the_step(
    eps: float, kind: str | None
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(), nn.Linear(16, 4)).half()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=eps)
    with NeuralDbg(model) as dbg:
        for step in range(4):
            x, y = clusters(step)
            optimizer.zero_grad()
            # Most gradients are so small that their squares are zero, and none of them is infinite.
            (1e-3 * F.cross_entropy(model(x.half()).float(), y)).backward()
            optimizer.step()
    found = [o.kind for o in dbg.recording.occurrences if o.kind.startswith("nonfinite")]
    assert found[:1] == ([] if kind is None else [kind])


@pytest.mark.parametrize(
    ("measured", "kind"),
    [
        pytest.param(8, "nonfinite_parameter", id="in the step before"),
        pytest.param(5, "nonfinite_gradient", id="earlier"),
    ],
)
def test_a_finite_gradient_speaks_for_its_own_step_only(measured: int, kind: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    incidents = Incidents(draw(model))
    incidents.recent.values.append(1.0)
    incidents.judge_gradients(measured, dict.fromkeys(range(4), 1.0), (0, 1))
    with torch.no_grad():
        model[1].weight.fill_(math.nan)
    loss = model(torch.ones(1, 2)).sum()
    incidents.judge_loss(9, loss.item(), loss)
    assert incidents.occurrences[0].kind == kind
