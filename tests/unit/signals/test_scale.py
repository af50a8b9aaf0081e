"""Losses that a loop multiplies by a number of its own."""

import pytest

from neuraldbg.records.recording import LossCall
from neuraldbg.signals.scale import loss_series, unscaling
from tests import builders

RAW = [10.0, 20.0, 40.0]


def run(used, *, loss=None, value=None, backwards=1.0, raw=RAW):
    calls = (
        () if value is None else (LossCall(step=0, function="mse_loss", facts={"value": value}),)
    )
    return builders.recording(
        steps=3,
        step={
            "grad_norm_raw": raw,
            "grad_norm_used": used,
            "loss": loss or [1.0] * 3,
            "backwards": [backwards] * 3,
        },
        losses=calls,
    )


def divided(by):
    return [x / by for x in RAW]


@pytest.mark.parametrize(
    ("used", "facts", "factor"),
    [
        pytest.param(divided(100), {"loss": [200.0] * 3, "value": 2.0}, 0.01, id="a loss times a hundred"),
        pytest.param(divided(100), {"loss": [600.0] * 3, "value": 2.0}, 0.01, id="with another term in it"),
        pytest.param(divided(1024), {}, 1 / 1024, id="a power of two, and no known function"),
        pytest.param(divided(100), {"loss": [2.0] * 3, "value": 2.0}, 1.0, id="gradients are divided only"),
        pytest.param(divided(100), {}, 1.0, id="another number, and no known function"),
        pytest.param(divided(0.1), {"loss": [2.0] * 3, "value": 2.0}, 1.0, id="multiplied"),
        pytest.param([1.0] * 3, {}, 1.0, id="clipped"),
        pytest.param([1.0] * 3, {"raw": [1024.0] * 3}, 1.0, id="one norm says nothing"),
        pytest.param(RAW, {}, 1.0, id="left alone"),
        pytest.param([1.0, 2.0, 1.0], {}, 1.0, id="divided and clipped"),
        pytest.param([0.0] * 3, {}, 1.0, id="thrown away"),
    ],
)  # fmt: skip
def test_the_scale_of_a_loss_is_found_where_it_is_taken_out_of_its_gradients(used, facts, factor):
    found = run(used, **facts)
    assert unscaling(found) == pytest.approx(factor)
    assert loss_series(found).values.tolist() == pytest.approx(
        [factor * x for x in facts.get("loss", [1.0] * 3)]
    )


def test_a_mean_over_passes_stays_as_it_is():
    found = run(divided(1024), backwards=4.0)
    assert loss_series(found).values.tolist() == [1.0] * 3
