"""The scale of untouched weights: that of the rows as most of them are."""

import math

import pytest
import torch

from neuraldbg.capture.drawn import initial_gains


def gain(weight: torch.Tensor) -> float:
    (rows,) = initial_gains([(0, weight, weight.shape[1])])
    return rows.values.item()


def drawn(scale: float, shape=(64, 32)) -> torch.Tensor:
    torch.manual_seed(0)
    return scale * torch.randn(shape) / math.sqrt(shape[1])


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_what_was_drawn_at_random_has_the_scale_of_its_draw(scale) -> None:
    weight = drawn(scale)
    assert gain(weight) == pytest.approx(
        weight.square().mean().sqrt().item() * math.sqrt(32), rel=1e-4
    )
    assert gain(weight) == pytest.approx(scale, rel=0.05)


def test_a_few_channels_of_outliers_say_nothing_of_the_others() -> None:
    weight = drawn(1.0)
    weight[3] *= 300.0
    assert gain(weight) == pytest.approx(1.0, rel=0.1)


def test_a_matrix_of_which_most_rows_are_zero_is_measured_whole() -> None:
    weight = drawn(1.0)
    weight[4:] = 0.0
    assert gain(weight) == pytest.approx(1.0 / 4.0, rel=0.2)


@pytest.mark.parametrize(
    "weight",
    [drawn(1.0).double(), drawn(1.0).half(), drawn(1.0).bfloat16(), drawn(1.0, (16, 4, 3, 3))],
    ids=["double", "half", "bfloat16", "kernel"],
)
def test_any_kind_of_weight_is_measured(weight) -> None:
    assert math.isfinite(gain(weight))


def test_an_empty_weight_has_none() -> None:
    assert gain(torch.empty(0, 4)) == 0.0
