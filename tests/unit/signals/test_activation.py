"""Dead and saturated units, growth, constants, attention, normalization, dropout."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import LayerInfo, Topology
from neuraldbg.signals.activation import activation_signals
from tests import builders

NAN = float("nan")
DEEP = builders.chain("a", "b", "c", "d", "head")


def derived(layer, *, topology=DEEP, sampled=None, steps=40, **more):
    rows = max(len(v) for q in layer.values() for v in q.values() if isinstance(v, list))
    at = list(range(rows)) if sampled is None else sampled
    return activation_signals(
        builders.recording(topology, steps=steps, sampled=at, layer=layer, **more)
    )


class TestUnits:
    def test_dead_units_are_told_of_the_layer_with_the_weights(self) -> None:
        fc = LayerInfo(name="fc", type="Linear", kind="linear", order=0, params=(0,))
        act = LayerInfo(name="act", type="ReLU", kind="activation", order=1)
        topology = Topology(layers=(fc, act), edges=((0, 1),))
        found = derived({"dead_share": {"act": [0.8]}}, topology=topology)["dead_share"]
        assert found.layers == (0,)
        assert found.values[0, 0] == pytest.approx(0.8)

    def test_a_layer_that_was_not_measured_is_not_alive(self) -> None:
        found = derived({"dead_share": {"a": [0.8]}})["dead_share"]
        assert found.observed[0].tolist() == [True, False, False, False, False]

    def test_the_output_layer_may_saturate(self) -> None:
        found = derived({"saturated_share": {"a": [0.9], "head": [0.9]}})["saturated_share"]
        assert found.observed[0].tolist() == [True, False, False, False, False]

    def test_gates_may_saturate(self) -> None:
        gates = replace(DEEP, layers=(replace(DEEP.layers[0], kind="recurrent"), *DEEP.layers[1:]))
        assert "saturated_share" not in derived({"saturated_share": {"a": [0.9]}}, topology=gates)

    def test_what_was_not_measured_at_all_is_absent(self) -> None:
        assert "dead_share" not in derived({"saturated_share": {"a": [0.1]}})


class TestDepth:
    def spread(self, *values):
        cells = {n: [v] for n, v in zip("abcd", values, strict=True)}
        return derived({"act_std": cells})

    def test_growth_is_the_fitted_rise_over_the_chain_in_nats(self) -> None:
        e = np.e
        found = self.spread(1.0, e, e**2, e**3)
        assert found["activation_growth_depth"].values[0] == pytest.approx(3.0)
        assert found["activation_decay_depth"].values[0] == pytest.approx(-3.0)

    def test_a_nan_layer_is_left_out_of_the_slope(self) -> None:
        e = np.e
        found = self.spread(1.0, NAN, e**2, e**3)
        assert found["activation_growth_depth"].values[0] == pytest.approx(3.0)

    def test_two_layers_have_no_slope(self) -> None:
        found = self.spread(1.0, 2.0, None, None)
        assert "activation_growth_depth" not in found

    def test_only_the_start_is_judged(self) -> None:
        cells = {n: [1.0, 1.0] for n in "abcd"}
        found = derived({"act_std": cells})["activation_growth_depth"]
        assert found.observed.tolist() == [True, False]


class TestConstant:
    def test_collapse_is_the_decades_by_which_samples_differ_less_than_their_size(self) -> None:
        found = derived({"act_std": {"head": [0.01]}, "act_rms": {"head": [10.0]}})
        assert found["output_constant"].values[0] == pytest.approx(3.0, abs=1e-5)

    def test_an_output_of_nan_is_not_called_constant(self) -> None:
        found = derived({"act_std": {"head": [NAN, 1.0]}, "act_rms": {"head": [NAN, 1.0]}})
        assert found["output_constant"].observed.tolist() == [False, True]

    def test_a_silent_output_is_large_in_the_inverse(self) -> None:
        found = derived({"act_std": {"head": [1e-4]}, "act_rms": {"head": [1.0]}})
        assert found["output_spread_initial"].values[0] == pytest.approx(1e4, rel=1e-3)


class TestAttention:
    def entropy(self, values, loss):
        return derived(
            {"attn_entropy_min": {"a": values}, "attn_entropy_median": {"a": values}},
            step={"loss": loss},
            steps=len(loss),
            sampled=[0, len(loss) - 1],
        )

    def test_sharp_heads_before_anything_is_learnt_are_collapsed(self) -> None:
        found = self.entropy([0.02, 0.02], [4.0] * 20)["attention_collapsed"]
        assert found.values[:, 0].tolist() == pytest.approx([0.99, 0.99], abs=1e-6)

    def test_sharp_heads_of_a_trained_model_are_healthy(self) -> None:
        found = self.entropy([0.02, 0.02], [4.0] * 8 + [1.0] * 12)["attention_collapsed"]
        assert found.values[:, 0].tolist() == pytest.approx([0.99, 0.0], abs=1e-6)

    @pytest.mark.parametrize(
        ("logit", "sharp"),
        [pytest.param(30.0, 0.9, id="by its logits"), pytest.param(0.9, 0.0, id="by a mask")],
    )
    def test_rows_that_are_one_hot_at_the_start_are_so_by_their_logits(self, logit, sharp) -> None:
        layer = {"attn_entropy_median": [0.1, 0.1], "attn_logit_max": [logit] * 2}
        found = derived({name: {"a": values} for name, values in layer.items()}, sampled=[0, 5])
        assert found["attention_sharp_initial"].steps.tolist() == [0]
        assert found["attention_sharp_initial"].values[0, 0] == pytest.approx(sharp)

    def test_a_typical_row_that_is_sharp_enough_makes_the_sharpest_so(self) -> None:
        found = derived({"attn_entropy_min": {"a": [0.15]}, "attn_entropy_median": {"a": [0.2]}})
        assert found["attention_collapsed"].values[0, 0] == pytest.approx(0.9)
        assert found["attention_uniformly_sharp"].values[0, 0] == pytest.approx(0.8)

    def test_without_a_loss_the_heads_are_judged_as_they_are(self) -> None:
        found = derived({"attn_entropy_min": {"a": [0.1]}})["attention_collapsed"]
        assert found.values[0, 0] == pytest.approx(0.9)


class TestNormalization:
    def test_the_gap_of_running_statistics_is_judged_when_they_have_settled(self) -> None:
        found = derived({"norm_stat_gap": {"a": [1.0, 1.0]}}, sampled=[10, 50], steps=60)
        assert found["norm_gap"].observed[:, 0].tolist() == [False, True]

    def test_few_values_are_many_in_the_inverse(self) -> None:
        found = derived({"norm_count": {"a": [2.0]}})["norm_few"]
        assert found.values[0, 0] == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("kind", "told"), [("norm", [50.0]), ("linear", None)], ids=["a norm", "no norm"]
    )
    def test_what_a_normalization_gives_at_first_is_told_by_its_size(self, kind, told) -> None:
        topology = Topology(layers=(LayerInfo(name="a", type="ActNorm", kind=kind, order=0),))
        found = derived({"act_rms": {"a": [50.0, 1.0]}}, topology=topology).get("norm_output")
        assert (None if found is None else found.values[:, 0].tolist()) == told

    @pytest.mark.parametrize(
        ("config", "memory"),
        [({"momentum": 1e-4}, 1e4), ({"momentum": 0.1}, 10.0), ({}, None)],
        ids=["hardly moves", "as usual", "without running statistics"],
    )
    def test_the_memory_of_running_statistics_is_in_steps(self, config, memory) -> None:
        norm = LayerInfo(name="a", type="BatchNorm1d", kind="norm", order=0, config=config)
        topology = Topology(layers=(norm,))
        found = derived({"norm_count": {"a": [32.0]}}, topology=topology).get("norm_memory")
        assert (None if found is None else found.values[0, 0]) == (
            None if memory is None else pytest.approx(memory)
        )

    @pytest.mark.parametrize(
        ("momentum", "count", "values"),
        [
            pytest.param(0.99, 8.0, 8.2, id="the last batch"),
            pytest.param(0.6, 8.0, 18.7, id="two batches"),
            pytest.param(0.1, 8.0, None, id="PyTorch's default"),
            pytest.param(None, 8.0, None, id="all batches alike"),
        ],
    )
    def test_running_statistics_that_forget_rest_on_few_values(
        self, momentum, count, values
    ) -> None:
        config = {} if momentum is None else {"momentum": momentum}
        norm = LayerInfo(name="a", type="BatchNorm1d", kind="norm", order=0, config=config)
        topology = Topology(layers=(norm,))
        found = derived({"norm_count": {"a": [count]}}, topology=topology)["norm_forgets"]
        wanted = 0.0 if values is None else 1.0 / values
        assert found.values[0, 0] == pytest.approx(wanted, rel=1e-2)


class TestDropout:
    DROP = Topology(
        layers=(
            LayerInfo(name="one", type="Dropout", kind="dropout", order=0, config={"p": 0.9}),
            LayerInfo(name="two", type="Dropout", kind="dropout", order=-1, config={"p": 0.5}),
        )
    )

    def test_the_configured_rate_of_an_active_dropout_is_told(self) -> None:
        found = derived({"drop_keep": {"one": [0.1]}}, topology=self.DROP)["dropped"]
        assert found.values[0].tolist() == [0.9, 0.5]
        assert found.observed[0].tolist() == [True, False]


class TestGrowth:
    def test_growth_is_in_decades_of_the_layer_that_grew_most(self) -> None:
        found = derived({"act_absmax": {"a": [1.0, 10.0], "b": [1.0, 1000.0]}})
        assert found["activation_growth_time"].values.tolist() == pytest.approx([0.0, 3.0])

    @pytest.mark.parametrize(
        ("gain", "grown"),
        [
            pytest.param(0.01, 0.5, id="drawn near zero"),
            pytest.param(0.2, 2.5, id="drawn somewhat small"),
            pytest.param(1.0, 2.5, id="drawn as usual"),
            pytest.param(0.0, 2.5, id="zero"),
        ],
    )
    def test_a_layer_drawn_near_zero_grows_from_where_it_would_have_begun(
        self, gain, grown
    ) -> None:
        cells = {"a": [1.0, 2.0], "head": [0.01, 0.01 * 10**2.5]}
        gains = {"a.weight": [1.0, None], "head.weight": [gain, None]}
        found = derived({"act_absmax": cells}, param={"init_gain": gains})
        assert found["activation_growth_time"].values[1] == pytest.approx(grown)

    def test_infinite_activations_are_not_a_growth_in_decades(self) -> None:
        found = derived({"act_absmax": {"a": [1.0, float("inf")]}})["activation_growth_time"]
        assert found.observed.tolist() == [True, False]

    def test_a_layer_that_begins_silent_has_nothing_to_grow_from(self) -> None:
        assert "activation_growth_time" not in derived({"act_absmax": {"a": [0.0, 5.0]}})


class TestNormsOfTheUser:
    """A norm whose statistics are not seen takes everything off, or does not."""

    def flat(self, spread, *, fed=0.5, size=1.0, own=None):
        plain = builders.chain("a", "n", "b")
        layers = (plain.layers[0], replace(plain.layers[1], kind="norm"), plain.layers[2])
        cells = {"act_std": {"a": [fed], "n": [spread]}, "act_rms": {"a": [1.0], "n": [size]}}
        if own is not None:
            cells["norm_var_min"] = {"n": [own]}
        found = derived(cells, topology=replace(plain, layers=layers)).get("norm_flat")
        return None if found is None else float(found.values[0, 1])

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            pytest.param({"spread": 0.0, "size": 0.0}, 1.0, id="nothing is left"),
            pytest.param({"spread": 1e-9}, 1.0, id="a shift is left"),
            pytest.param({"spread": 0.9}, 0.0, id="as it should be"),
            pytest.param({"spread": 0.0, "fed": 0.0}, 0.0, id="there was nothing to begin with"),
            pytest.param({"spread": 0.0, "fed": None}, None, id="what came before was not seen"),
            pytest.param({"spread": 0.0, "own": 0.25}, 0.25, id="its statistics were seen"),
        ],
    )
    def test_it_is_told_by_what_it_leaves(self, given, expected) -> None:
        assert self.flat(**given) == expected


@pytest.mark.parametrize(("fed", "told"), [({}, False), ({"input_mean": [0.0]}, True)])
def test_what_is_fed_nothing_has_no_examples_that_its_output_could_differ_in(fed, told) -> None:
    canvas = replace(builders.chain("canvas"), outputs=(0,))
    found = derived(
        {"act_std": {"canvas": [0.0]}, "act_rms": {"canvas": [1.0]}},
        topology=canvas,
        steps=1,
        step=fed,
    )
    assert ("output_constant" in found, "output_spread_initial" in found) == (told, told)
