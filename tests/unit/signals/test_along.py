"""Which layer is told to lose a gradient along a sequence: the one that carries it from position to position."""

from __future__ import annotations

import math

import pytest

from neuraldbg.records.recording import LayerInfo, Topology
from neuraldbg.signals.along import along_sequences
from tests import builders

Layers = tuple[tuple[str, str, str, bool], ...]


def topology(layers: Layers, edges: tuple[tuple[int, int], ...]) -> Topology:
    return Topology(
        layers=tuple(
            LayerInfo(name=name, type=made, kind=kind, order=i, params=(i,) if owns else ())
            for i, (name, made, kind, owns) in enumerate(layers)
        ),
        edges=edges,
    )


LIFT, HEAD = ("lift", "Linear", "linear", True), ("head", "Linear", "linear", True)
NORM = ("norm", "LayerNorm", "norm", True)
STATE = ("ssm", "Diagonal", "linear", True)


@pytest.mark.parametrize(
    ("layers", "edges", "told"),
    [
        pytest.param((LIFT, STATE, HEAD), ((0, 1), (1, 2)), {"ssm"}, id="what reads it"),
        pytest.param(
            (LIFT, NORM, STATE, HEAD),
            ((0, 1), (1, 2), (2, 3)),
            {"ssm"},
            id="past what treats positions alone",
        ),
        pytest.param(
            (LIFT, STATE, ("more", "LSTM", "recurrent", True)),
            ((0, 1), (1, 2)),
            {"ssm"},
            id="the first of two",
        ),
        pytest.param(
            (LIFT, STATE, ("more", "LSTM", "recurrent", True)),
            ((0, 1), (0, 2)),
            {"ssm", "more"},
            id="both that read it",
        ),
        pytest.param((LIFT, HEAD), ((0, 1),), {"lift"}, id="none known: where it was seen"),
        pytest.param(
            (("lift", "Linear", "linear", True), ("drop", "Dropout", "dropout", False)),
            ((0, 1), (1, 0)),
            {"lift"},
            id="a loop in the dataflow ends",
        ),
        pytest.param(
            (("mixer.in", "Linear", "linear", True), ("mixer", "Mamba", "other", True), STATE),
            ((0, 2),),
            {"mixer"},
            id="the module around it that has weights of its own",
        ),
    ],
)
def test_the_fall_is_told_at_what_carries_the_sequence(layers, edges, told) -> None:
    shape = topology(layers, edges)
    cells = {layers[0][0]: [5.0, None, 4.0]}
    run = builders.recording(shape, steps=3, layer={"time_grad_fall": cells})
    found = along_sequences(run)
    fade, swell = found["time_fade"], found["time_swell"]
    assert {shape.layers[i].name for i in fade.layers or ()} == told
    assert fade.values[:, 0].tolist() == [5.0, 0.0, 4.0]
    assert swell.values[2, 0] == -4.0
    assert swell.values[0, 0] == -5.0
    assert fade.observed[:, 0].tolist() == [True, False, True]


def test_of_several_that_feed_one_layer_the_worst_counts() -> None:
    layers = (LIFT, ("other", "Linear", "linear", True), STATE)
    run = builders.recording(
        topology(layers, ((0, 2), (1, 2))),
        steps=2,
        layer={"time_grad_fall": {"lift": [1.0, 1.0], "other": [6.0, float("nan")]}},
    )
    fade = along_sequences(run)["time_fade"]
    assert fade.layers == (2,)
    assert fade.values[:, 0].tolist() == [6.0, 1.0]


RNN = ("rnn", "LSTM", "recurrent", True)


def test_a_recurrence_that_is_fed_data_is_told_itself() -> None:
    shape = topology((RNN, HEAD), ((0, 1),))
    cells = {"time_grad_fall": {"rnn": [0.0, 0.0]}, "time_grad_fall_in": {"rnn": [9.0, 8.0]}}
    fade = along_sequences(builders.recording(shape, steps=2, layer=cells))["time_fade"]
    assert fade.layers == (0,)
    assert fade.values[:, 0].tolist() == [9.0, 8.0]


def test_a_fade_that_training_mends_is_none() -> None:
    shape = topology((RNN, HEAD), ((0, 1),))
    steps = [0, 10, 40, 50, 90, 100]
    cells = {"time_grad_fall_in": {"rnn": [9.0, 8.0, 0.5, 4.0, 0.1, 0.0]}}
    run = builders.recording(shape, steps=101, sampled=steps, layer=cells)
    fade = along_sequences(run)["time_fade"]
    # Until the middle of the run, and from then on for as long again as it went on.
    assert fade.values[:, 0].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.0, 0.0, 0.0])


def test_where_no_sequence_was_seen_nothing_is_told() -> None:
    assert along_sequences(builders.recording(steps=2)) == {}


def test_of_a_cell_that_is_called_for_every_step_the_whole_fall_counts() -> None:
    shape = topology((("cell", "Linear", "linear", True), HEAD), ((0, 1),))
    cells = {
        # Half a nat a step is little, and over fifty steps more than ten decades.
        "time_grad_slope": {"cell": [0.5, 0.5]},
        "time_grad_over": {"cell": [49.0, None]},
    }
    fade = along_sequences(builders.recording(shape, steps=2, layer=cells))["time_fade"]
    assert fade.values[0, 0] == pytest.approx(49 * 0.5 / math.log(10))
    assert fade.observed[:, 0].tolist() == [True, False]
