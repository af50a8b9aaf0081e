"""Reading a recording: owners, chains, folding of columns."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import Column, LayerInfo, ParamInfo, Topology
from neuraldbg.signals import view
from tests import builders


def layer(name, kind="linear", order=0, params=(), activation=None) -> LayerInfo:
    return LayerInfo(
        name=name, type="X", kind=kind, order=order, params=params, activation=activation
    )


def test_a_missing_column_was_observed_nowhere() -> None:
    values, observed = view.column({}, "loss", (3,))
    assert values.shape == (3,)
    assert not observed.any()


def test_a_column_of_another_shape_is_not_believed() -> None:
    odd = {"loss": Column(np.ones(2, np.float32), np.ones(2, bool))}
    assert not view.column(odd, "loss", (3,)).observed.any()


def test_an_activation_belongs_to_the_layer_that_feeds_it() -> None:
    topology = Topology(
        layers=(
            layer("fc", params=(0,)),
            layer("act", "activation", 1),
            layer("drop", "dropout", 2),
        ),
        edges=((0, 1), (1, 2)),
    )
    assert view.owners(topology).tolist() == [0, 0, 0]


def test_a_junction_of_two_layers_belongs_to_itself() -> None:
    topology = Topology(
        layers=(
            layer("a", params=(0,)),
            layer("b", params=(1,)),
            layer("act", "activation", 2),
        ),
        edges=((0, 2), (1, 2)),
    )
    assert view.owners(topology).tolist() == [0, 1, 2]


def test_a_layer_that_nothing_feeds_belongs_to_itself() -> None:
    topology = Topology(layers=(layer("pool", "other"), layer("fc", params=(0,))), edges=((0, 1),))
    assert view.owners(topology).tolist() == [0, 1]


def test_columns_of_one_owner_fold_to_their_largest_observed_value() -> None:
    values = np.array([[1.0, 5.0, 9.0], [7.0, 2.0, 9.0]])
    observed = np.array([[True, True, False], [True, False, False]])
    folded = view.layer_max(np.arange(2), values, observed, np.array([3, 3, 4]))
    assert folded.layers == (3, 4)
    assert folded.values.tolist() == [[5.0, 0.0], [7.0, 0.0]]
    assert folded.observed.tolist() == [[True, False], [True, False]]


def test_a_measured_nan_survives_the_folding() -> None:
    folded = view.layer_max(
        np.arange(1), np.array([[float("nan"), 1.0]]), np.ones((1, 2), bool), np.array([0, 0])
    )
    assert np.isnan(folded.values[0, 0])


def test_the_chain_leaves_out_embeddings_and_the_head() -> None:
    topology = Topology(
        layers=(
            layer("embed", "embedding", 0),
            layer("late", "linear", 3),
            layer("conv", "conv", 1),
            layer("norm", "norm", 2),
            layer("head", "linear", 4),
            layer("uncalled", "linear", -1),
        )
    )
    assert [topology.layers[i].name for i in view.chain_layers(topology)] == ["conv", "late"]


def test_a_network_of_two_layers_keeps_both_in_the_chain() -> None:
    assert view.chain_layers(builders.chain("a", "b")) == [0, 1]


def test_matrices_are_trainable_and_no_embeddings() -> None:
    params = (
        ParamInfo(name="w", layer=0, shape=(2, 2)),
        ParamInfo(name="b", layer=0, shape=(2,), kind="bias"),
        ParamInfo(name="e", layer=0, shape=(2, 2), kind="embedding"),
        ParamInfo(name="frozen", layer=0, shape=(2, 2), trainable=False),
    )
    topology = replace(builders.chain("a"), params=params)
    assert view.matrix_params(topology) == [0]


def test_a_run_wide_fact_is_one_observed_point() -> None:
    found = view.scalar_series(4, 2.5)
    assert (found.steps.tolist(), found.values.tolist(), found.layers) == ([4], [2.5], None)


def test_series_by_step_and_by_layer() -> None:
    run = builders.recording(
        steps=2, step={"loss": [1.0, None]}, layer={"dead_share": {"a": [0.5, None]}}
    )
    assert view.run_series(run, "loss").observed.tolist() == [True, False]
    by_layer = view.layer_series(run, "dead_share")
    assert by_layer.layers == (0, 1, 2)
    assert by_layer.observed.tolist() == [[True, False, False], [False, False, False]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, True)
            for name in ("weight", "weight_hh_l0", "W", "w1", "W_q", "wq", "w_in", "kernel")
        ),
        *(
            (name, False)
            for name in ("bias", "window", "width", "warp", "positions", "seeds", "kernels")
        ),
    ],
)
def test_a_weight_is_known_by_its_name(name: str, expected: bool) -> None:
    assert view.is_weight(name) is expected
