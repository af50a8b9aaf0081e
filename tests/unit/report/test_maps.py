"""Numbers made small for a page: spikes survive, NaN is told from not measured, values can be read back."""

from __future__ import annotations

import base64
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from benchmarks.recording import topology
from neuraldbg.records.recording import Column, LayerInfo, ParamInfo, Recording, Topology
from neuraldbg.report.maps import MOST_COLUMNS, MOST_POINTS, Curve, curves, heat_maps
from neuraldbg.report.plot import plot_svg


def parsed(text):
    return ET.fromstring(text)  # noqa: S314 - our own text


def run(values, observed=None, **fields):
    values = np.array(values, np.float32)
    seen = np.ones(values.shape, bool) if observed is None else np.array(observed, bool)
    fields = {
        "layer": {"act_rms": Column(values, seen)},
        "topology": topology(values.shape[1]),
    } | fields
    return Recording(
        sampled=np.arange(len(values)) * 10, steps=np.arange(len(values)) * 10, **fields
    )


def cells(found):
    codes = np.frombuffer(base64.b64decode(found["cells"]), np.uint8)
    return codes.reshape(len(found["layers"]), len(found["steps"]))


def values(found):
    codes = cells(found).astype(float)
    numbers = found["low"] + (codes - 1) / 252 * (found["high"] - found["low"])
    return 10**numbers if found["log"] else numbers


def test_a_map_can_be_read_back_within_its_precision():
    rng = np.random.default_rng(0)
    numbers = np.exp(rng.normal(size=(20, 6)))
    (found,) = heat_maps(run(numbers))
    assert found["layers"] == list(range(6))
    assert found["steps"] == [i * 10 for i in range(20)]
    np.testing.assert_allclose(values(found), numbers.T, rtol=0.02)


def test_not_measured_and_not_finite_are_told_apart():
    (found,) = heat_maps(run([[1.0, math.nan], [2.0, 30.0]], [[1, 1], [0, 1]]))
    assert cells(found).tolist() == [[1, 0], [255, 253]]


@pytest.mark.parametrize("spike", [1e4, 1e-4, math.nan, math.inf])
def test_a_spike_of_one_step_survives_in_a_long_run(spike):
    numbers = np.ones((5000, 3))
    numbers[:, 1] += 0.1 * np.arange(5000) / 5000
    numbers[3217, 2] = spike
    (found,) = heat_maps(run(numbers))
    assert len(found["steps"]) <= MOST_COLUMNS
    column = np.searchsorted(found["steps"], 32170, side="right") - 1
    if math.isfinite(spike):
        assert values(found)[2, column] == pytest.approx(spike, rel=0.1)
    else:
        assert cells(found)[2, column] == 255


def test_zero_is_at_the_bottom_of_a_logarithmic_map():
    (found,) = heat_maps(run([[0.0, 1e-3], [1.0, 10.0]]))
    assert cells(found)[0, 0] == cells(found)[1, 0] == 1


def test_rows_follow_the_execution_and_skip_what_never_ran():
    layers = tuple(
        LayerInfo(name=n, type="Linear", kind="linear", order=o)
        for n, o in (("late", 1), ("never", -1), ("early", 0))
    )
    (found,) = heat_maps(run([[1.0, 2.0, 3.0]], topology=Topology(layers=layers)))
    assert found["layers"] == [2, 0]


def test_of_several_parameters_of_a_layer_the_largest_is_shown():
    layer = LayerInfo(name="a", type="Linear", kind="linear", order=0, params=(0, 1))
    params = tuple(ParamInfo(name=n, layer=0, shape=(1,)) for n in "wb")
    ratio = Column(np.array([[0.1, 0.4], [0.5, 0.2]], np.float32), np.ones((2, 2), bool))
    graph = Topology(layers=(layer,), params=params)
    (found,) = heat_maps(
        run([[1.0], [1.0]], layer={}, param={"update_ratio": ratio}, topology=graph)
    )
    np.testing.assert_allclose(values(found), [[0.4, 0.5]], rtol=0.02)


def test_the_layers_that_move_the_most_are_shown_when_there_are_too_many():
    numbers = np.ones((4, 400))
    numbers[2, 399] = 1e6
    (found,) = heat_maps(run(numbers))
    assert len(found["layers"]) < 400
    assert 399 in found["layers"]


def test_a_curve_keeps_every_spike():
    loss = np.ones(10_000, np.float32)
    loss[4321], loss[8765] = 50.0, np.nan
    step = {"loss": Column(loss, np.ones(10_000, bool))}
    (found,) = curves(Recording(steps=np.arange(10_000), step=step))
    assert len(found.steps) <= 2 * MOST_POINTS
    assert found.values[found.steps.index(4321)] == 50.0
    assert math.isnan(found.values[found.steps.index(8765)])
    assert (found.steps[0], found.steps[-1]) == (0, 9999)


def test_the_learning_rate_curve_is_that_of_the_fastest_group():
    rate = Column(np.array([[0.1, 0.3], [0.2, 0.1]], np.float32), np.array([[1, 1], [1, 0]], bool))
    loss = Column(np.ones(2, np.float32), np.ones(2, bool))
    found = curves(Recording(steps=np.arange(2), step={"loss": loss}, group={"lr": rate}))
    assert found[1] == Curve("learning rate", [0, 1], [0.3, 0.2])


@pytest.mark.parametrize(
    "curve",
    [
        Curve("flat", [0, 1, 2], [1.0, 1.0, 1.0]),
        Curve("zero", [0, 1], [0.0, 0.0]),
        Curve("decades", [0, 5], [1e-9, 1e9]),
        Curve("bad", [0, 1, 2], [math.nan, 1.0, math.nan]),
        Curve("all-bad", [0, 1], [math.nan, math.nan]),
        Curve("one", [7], [3.0]),
        Curve("<b>", [0, 1], [-1.0, 1.0]),
    ],
    ids=lambda c: c.title,
)
def test_every_curve_is_a_well_formed_picture_within_its_frame(curve):
    root = parsed(plot_svg([curve], [1]))
    path = root.findall("{http://www.w3.org/2000/svg}path")[0].get("d")
    numbers = [float(n) for n in path.replace("M", " ").replace("L", " ").split()]
    assert all(0 <= y <= 140 for y in numbers[1::2])
    assert all(0 <= x <= 960 for x in numbers[::2])


def test_the_onset_is_marked_once_for_all_curves():
    drawn = plot_svg([Curve("a", [0, 9], [1.0, 2.0]), Curve("b", [0, 9], [1.0, 2.0])], [5, 99])
    assert drawn.count("onset at step") == 1
    assert "onset at step 5" in drawn


def test_without_curves_nothing_is_drawn():
    assert plot_svg([], []) == ""


def test_a_curve_that_never_moves_tells_its_one_value():
    drawn = plot_svg([Curve("rate", [0, 5], [0.003, 0.003])], [])
    assert "0.003 throughout" in drawn
    assert "throughout" not in plot_svg([Curve("rate", [0, 5], [0.003, 0.004])], [])


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_an_axis_in_decades_says_so(narrow):
    far, near = Curve("far", [0, 5], [1e-3, 1.0]), Curve("near", [0, 5], [0.5, 1.0])
    assert "log scale" in plot_svg([far], [], narrow=narrow)
    assert "log scale" not in plot_svg([near], [], narrow=narrow)


def test_the_plot_of_a_narrow_window_stays_within_it_and_names_its_curves():
    root = parsed(plot_svg([Curve("loss", [0, 900], [1.0, 2.0])], [450], narrow=True))
    width = float(root.get("viewBox").split()[2])
    path = root.find("{http://www.w3.org/2000/svg}path").get("d")
    assert max(float(p.split()[0]) for p in path[1:].split("L")) <= width <= 420
    assert "loss" in [t.text for t in root.findall("{http://www.w3.org/2000/svg}text")]


def test_a_quiet_signal_does_not_fill_the_whole_scale():
    (quiet,) = heat_maps(run([[1.0, 1.1], [0.9, 1.0]], [[1, 1], [1, 1]]))
    assert quiet["high"] - quiet["low"] == pytest.approx(1.0)
    assert np.ptp(cells(quiet)) < 30
    (loud,) = heat_maps(run([[1.0, 1e3], [0.9, 1.0]], [[1, 1], [1, 1]]))
    assert np.ptp(cells(loud)) == 252
