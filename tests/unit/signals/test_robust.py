"""Robust statistics over time against slow walks and known numbers."""

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from neuraldbg.signals.robust import any_row, robust_z, trailing_median

NAN, INF = float("nan"), float("inf")


def test_the_trailing_median_looks_back_only() -> None:
    values = np.array([5.0, 1.0, 3.0, 9.0, 2.0])
    assert trailing_median(values, 3).tolist() == [5.0, 3.0, 3.0, 3.0, 3.0]


def test_the_trailing_median_of_one_is_the_series() -> None:
    assert trailing_median(np.array([2.0, 7.0]), 1).tolist() == [2.0, 7.0]


def test_non_finite_values_are_left_out_of_the_window() -> None:
    assert trailing_median(np.array([1.0, NAN, 3.0, INF]), 4).tolist() == [1.0, 1.0, 2.0, 2.0]


def test_a_window_without_a_number_is_unknown() -> None:
    assert np.isnan(trailing_median(np.array([NAN, NAN, 4.0]), 2)).tolist() == [True, True, False]


def test_the_trailing_median_of_nothing_is_nothing() -> None:
    assert trailing_median(np.zeros(0), 4).size == 0


def test_z_is_the_distance_from_the_history_in_robust_deviations() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 20.0])
    history = values[:8]
    expected = (20.0 - np.median(history)) / median_abs_deviation(history, scale="normal")
    assert robust_z(values, floor=1e-9)[8] == pytest.approx(expected)


def test_the_tested_point_is_not_in_its_own_window() -> None:
    quiet = np.zeros(20)
    quiet[15] = 1.0
    assert robust_z(quiet, floor=0.5)[15] == pytest.approx(2.0)


def test_the_first_points_are_never_judged() -> None:
    assert robust_z(np.array([1.0, 100.0, -50.0, 7.0]), warmup=4).tolist() == [0.0] * 4


def test_a_perfectly_quiet_history_does_not_turn_rounding_into_an_alarm() -> None:
    values = np.full(20, 3.0)
    values[-1] += 1e-9
    assert abs(robust_z(values)[-1]) < 1e-6


def test_a_measured_nan_is_no_deviation_and_does_not_poison_its_neighbours() -> None:
    values = np.r_[np.arange(10.0), NAN, 5.0]
    z = robust_z(values)
    assert z[10] == 0.0
    assert np.isfinite(z).all()


def test_rows_that_hold_a_true() -> None:
    assert any_row(np.array([[False, True], [False, False]])).tolist() == [True, False]
