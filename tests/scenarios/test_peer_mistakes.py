"""What other tools get wrong, as small real trainings: none of it may happen here."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import Diagnosis, NeuralDbg
from tests import loops


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def watched(model: nn.Module, **options) -> NeuralDbg:
    torch.manual_seed(0)
    with NeuralDbg(model) as dbg:
        loops.train(model, **options)
    return dbg


def names(diagnosis: Diagnosis) -> set[str]:
    return {e.name for e in diagnosis.events}


def failures(diagnosis: Diagnosis) -> set[str | None]:
    return {e.failure for e in diagnosis.events}


def one_nan_at_30(step: int) -> tuple[Tensor, Tensor]:
    x, y = loops.clusters(step)
    if step == 30:
        x[0, 0] = float("nan")
    return x, y


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    """A NaN in one sample at step 30."""
    return watched(loops.mlp(), steps=60, batch=one_nan_at_30).diagnose()


@pytest.fixture(scope="module")
def dbg() -> NeuralDbg:
    """Steps that are far too large."""
    return watched(loops.mlp(width=32, depth=3), steps=80, lr=3.0)


class TestSaturation:
    """Peers call |output| near or above 1 saturated on any layer."""

    def test_growing_logits_of_a_healthy_relu_net_are_not_saturation(self) -> None:
        model = loops.mlp()
        found = watched(model, steps=120).diagnose()
        logits = model(loops.clusters(0)[0])
        assert logits.abs().max() > 4
        assert "saturated_activations" not in failures(found)
        assert found.healthy

    def test_a_tanh_layer_on_its_flat_part_is(self) -> None:
        model = loops.mlp(activation=nn.Tanh)
        with torch.no_grad():
            model[2].weight.mul_(60.0)
        found = watched(model, steps=60).diagnose()
        assert "saturated_activations" in failures(found)


class TestFromTheStart:
    """Tools that look for transitions never see a fault that was there at step 0."""

    def test_a_dead_layer_present_from_step_0_is_found(self) -> None:
        model = loops.mlp()
        with torch.no_grad():
            model[2].bias.fill_(-50.0)
        first = watched(model, steps=60).diagnose().hypotheses[0]
        assert (first.mechanism, first.layer, first.step) == ("dead_units", "2", 0)

    def test_its_event_says_that_the_run_began_in_it(self) -> None:
        model = loops.mlp()
        with torch.no_grad():
            model[2].bias.fill_(-50.0)
        events = watched(model, steps=30).events
        assert {e.before for e in events if e.name == "layer_dead"} == {"start"}

    def test_the_same_net_without_it_is_healthy(self) -> None:
        assert watched(loops.mlp(), steps=60).diagnose().healthy


class TestNaN:
    """NaN falls through comparisons: four peers call it healthy or vanishing."""

    def test_it_is_never_healthy(self, found) -> None:
        assert found.p_healthy < 0.01

    def test_it_is_never_vanishing(self, found) -> None:
        assert "vanishing_gradients" not in failures(found)
        assert "dead_units" not in failures(found)

    def test_it_is_the_data_at_its_step(self, found) -> None:
        first = found.hypotheses[0]
        assert (first.mechanism, first.layer, first.step) == ("nonfinite_data", None, 30)

    def test_its_sentence_says_so(self, found) -> None:
        assert str(found.explanations[0]).startswith(
            "Non-finite values originated in the data at step 30, likely due to NaN or infinity in the data"
        )

    def test_a_run_that_is_nan_from_its_first_step_is_not_healthy_either(self) -> None:
        model = loops.mlp()
        with torch.no_grad():
            model[0].weight[0, 0] = float("nan")
        found = watched(model, steps=30).diagnose()
        assert found.p_healthy < 0.05
        assert "nonfinite_values" in failures(found)
        assert "vanishing_gradients" not in failures(found)


class Sequence(nn.Module):
    """A classifier that reads eight numbers one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(1, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x[..., None])
        return self.head(out[:, -1])


class Attentive(nn.Module):
    """A classifier that attends over eight embedded numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 16)
        self.places = nn.Parameter(torch.randn(8, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x[..., None]) + self.places
        mixed, _ = self.attention(tokens, tokens, tokens)
        return self.head(mixed.mean(1))


class TestTuplesAndFunctions:
    """An LSTM returns tuples, MultiheadAttention never calls its out_proj: peers see nothing, or a stall."""

    def gradients_seen(self, dbg: NeuralDbg, layer: str) -> bool:
        run = dbg.recording
        params = [i for i, p in enumerate(run.topology.params) if p.name.startswith(layer)]
        return bool(run.grad["grad_norm"].observed[:, params].any())

    def layer_quantities(self, dbg: NeuralDbg, layer: str) -> set[str]:
        run = dbg.recording
        index = [i for i, x in enumerate(run.topology.layers) if x.name == layer]
        return {q for q, c in run.layer.items() if c.observed[:, index].any()}

    def test_an_lstm_has_numbers(self) -> None:
        torch.manual_seed(0)
        dbg = watched(Sequence(), steps=40, lr=0.5)
        assert {"act_std", "out_grad_norm"} <= self.layer_quantities(dbg, "rnn")
        assert self.gradients_seen(dbg, "rnn")

    def test_multihead_attention_has_numbers(self) -> None:
        torch.manual_seed(0)
        dbg = watched(Attentive(), steps=40, lr=0.2)
        assert self.layer_quantities(dbg, "attention")
        assert self.gradients_seen(dbg, "attention")

    @pytest.mark.parametrize("kind", [Sequence, Attentive])
    def test_nobody_is_accused_of_stalling(self, kind) -> None:
        torch.manual_seed(0)
        model = kind()
        found = watched(
            model, steps=120, optimizer=torch.optim.Adam(model.parameters(), lr=1e-2)
        ).diagnose()
        assert [h.mechanism for h in found.hypotheses if h.p_mechanism >= 0.5] == []


class TestNoFixedThresholds:
    """1e-7 is not a small gradient by itself, and 100 is not a large one."""

    @pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
    def test_the_scale_of_the_loss_does_not_matter_to_adam(self, scale: float) -> None:
        model = loops.mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-12)
        found = watched(
            model,
            steps=100,
            optimizer=optimizer,
            loss=lambda o, y: scale * F.cross_entropy(o, y),
        ).diagnose()
        assert found.healthy
        assert not {"vanishing_gradients", "exploding_gradients"} & failures(found)


class TestOptimizerIsRead:
    """Nobody compares the update with the rate, or looks whether gradients were cleared."""

    def test_a_rate_that_is_too_low_is_read_off_the_updates(self) -> None:
        first = watched(loops.mlp(), steps=80, lr=1e-7).diagnose().hypotheses[0]
        assert first.mechanism == "learning_rate_too_low"
        assert "from 1e-07 to" in first.remedy

    def test_gradients_that_are_never_cleared_are_seen_as_such(self) -> None:
        model = loops.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        with NeuralDbg(model) as dbg:
            for step in range(60):
                x, y = loops.clusters(step)
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        assert dbg.diagnose().hypotheses[0].mechanism == "gradients_not_cleared"


class TestOneFailureOneExplanation:
    """One run of symptoms becomes thirteen warnings elsewhere."""

    def test_many_events_are_folded_into_one_explanation(self, dbg) -> None:
        assert len(dbg.events) >= 5
        assert len(dbg.explain_failure()) == 1

    def test_a_regime_that_flaps_is_one_event_per_layer(self, dbg) -> None:
        places = [(e.name, e.layer) for e in dbg.events]
        assert len(places) == len(set(places))

    def test_the_causes_do_not_contradict_one_another(self, dbg) -> None:
        likely = {h.mechanism for h in dbg.get_causal_hypotheses(0.5)}
        assert not {"learning_rate_too_high", "learning_rate_too_low"} <= likely

    def test_confidence_is_no_constant(self, dbg) -> None:
        found = dbg.get_causal_hypotheses(0.0)
        assert len({round(h.p_mechanism, 6) for h in found}) == len(found) >= 3


def test_input_and_output_of_a_layer_are_not_mixed_up() -> None:
    """A peer compares each output with its own input: 4002 shifts in 200 steps of a healthy net."""
    found = watched(loops.mlp(depth=4), steps=100).diagnose()
    assert "data_anomaly" not in failures(found)
    assert len(found.events) <= 8


def test_in_place_operations_do_not_break_the_training() -> None:
    """Full backward hooks raise on in-place views: two peers crash the run."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
            self.act = nn.ReLU(inplace=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.second(self.act(self.first(x)))
            y += x
            return self.head(F.relu(y, inplace=True))

    found = watched(Block(), steps=60).diagnose()
    assert found.healthy
    assert not re.search("disarmed|stopped", repr(found.coverage.unobserved))
