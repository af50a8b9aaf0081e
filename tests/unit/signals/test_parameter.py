"""Update ratios, initial scales, symmetry, and what never moves."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import LayerInfo, OptimizerInfo, ParamInfo, Topology
from neuraldbg.signals.parameter import parameter_signals
from tests import builders

NAN = float("nan")
TWO = builders.chain("a", "b", activation=None)


def derived(param, *, topology=TWO, sampled=None, steps=40, **more):
    rows = len(next(v for q in param.values() for v in q.values() if isinstance(v, list)))
    at = list(range(rows)) if sampled is None else sampled
    return parameter_signals(
        builders.recording(topology, steps=steps, sampled=at, param=param, **more)
    )


def ratio(*values, norm=1.0, **more):
    rows = len(values)
    return derived(
        {
            "update_ratio": {"a.weight": list(values), "b.weight": list(values)},
            "weight_norm": {"a.weight": [norm] * rows, "b.weight": [norm] * rows},
        },
        **more,
    )


class TestUpdateRatio:
    def test_the_median_is_over_layers(self) -> None:
        three = builders.chain("a", "b", "c", activation=None)
        found = derived(
            {
                "update_ratio": {"a.weight": [0.1], "b.weight": [0.2], "c.weight": [0.9]},
                "weight_norm": {n: [1.0] for n in ("a.weight", "b.weight", "c.weight")},
            },
            topology=three,
        )
        assert found["update_ratio_median"].values[0] == pytest.approx(0.2)
        assert found["update_ratio"].values[0].tolist() == pytest.approx([0.1, 0.2, 0.9])

    def test_a_matrix_born_at_zero_is_left_out_until_it_has_a_size(self) -> None:
        found = derived(
            {
                "update_ratio": {"a.weight": [50.0, 5.0, 0.1]},
                "weight_norm": {"a.weight": [1e-9, 0.1, 1.0]},
            }
        )
        assert found["update_ratio"].observed[:, 0].tolist() == [False, False, True]

    def test_a_nan_is_not_an_update_ratio(self) -> None:
        found = ratio(0.01, NAN, 0.01)["update_ratio_median"]
        assert found.observed.tolist() == [True, False, True]

    def test_a_quasi_newton_step_has_no_healthy_range(self) -> None:
        lbfgs = OptimizerInfo(type="LBFGS", family="lbfgs", groups=(0,))
        assert "update_ratio" not in ratio(0.5, 0.5, optimizers=(lbfgs,))

    def test_the_early_level_leaves_out_the_very_first_step(self) -> None:
        found = ratio(1.0, 0.1, 0.1, 0.1, 0.1, 0.1)["update_ratio_early"]
        assert found.values[0] == pytest.approx(0.1)

    def test_the_best_level_is_that_of_a_window_and_not_of_one_step(self) -> None:
        found = ratio(0.0001, 0.4, 0.0001, 0.0001, 0.0001)["update_ratio_best"]
        assert found.values[0] == pytest.approx((0.4 + 3 * 0.0001) / 4)

    def test_without_samples_nothing_is_said(self) -> None:
        assert parameter_signals(builders.recording(TWO, sampled=[])) == {}

    def test_without_matrices_nothing_is_said(self) -> None:
        assert parameter_signals(builders.recording(Topology())) == {}


class TestNorms:
    def norms(self, *values):
        return derived({"weight_norm": {"a.weight": list(values), "b.weight": list(values)}})

    def test_growth_and_shrinking_are_factors_since_the_start(self) -> None:
        found = self.norms(2.0, 3.0, 6.0)
        assert found["weight_growth"].values.tolist() == pytest.approx([1.0, 1.5, 3.0])
        assert found["weight_shrink"].values.tolist() == pytest.approx([1.0, 2 / 3, 1 / 3])

    def test_weights_that_became_nan_are_not_judged(self) -> None:
        assert self.norms(1.0, NAN)["weight_growth"].observed.tolist() == [True, False]

    def test_weights_that_begin_at_zero_have_no_factor(self) -> None:
        assert "weight_growth" not in self.norms(0.0, 1.0)

    def test_a_zero_matrix_is_exact(self) -> None:
        found = self.norms(0.0, 0.0)["weights_zero"]
        assert found.values.tolist() == [[1.0, 1.0], [1.0, 1.0]]


class TestBiases:
    def bias(self, size, *, activation="relu", kind="linear"):
        topology = builders.chain("a", "b", activation=[activation, None])
        layers = (replace(topology.layers[0], kind=kind), topology.layers[1])
        biases = tuple(
            ParamInfo(name=f"{n}.bias", layer=i, shape=(4,), dtype="float32", kind="bias")
            for i, n in enumerate("ab")
        )
        topology = replace(topology, layers=layers, params=(*topology.params, *biases))
        cells = {"a.bias": [size, None], "b.bias": [300.0, None]}
        return derived({"init_bias": cells}, topology=topology)

    def test_only_biases_that_can_hold_a_nonlinearity_at_one_end_count(self) -> None:
        # The last layer has none: its bias may be anything, such as the mean of a target.
        found = self.bias(20.0)["init_bias"]
        assert found.values.tolist() == [[20.0]]
        assert found.layers == (0,)

    def test_those_of_recurrent_gates_count_too(self) -> None:
        assert self.bias(20.0, activation=None, kind="recurrent")["init_bias"].values[0, 0] == 20.0

    def test_a_nonlinearity_without_a_flat_end_is_left_out(self) -> None:
        assert "init_bias" not in self.bias(20.0, activation="gelu")


class TestEpsilon:
    def share(self, *values):
        cells = {"a.weight": list(values), "b.weight": list(values)}
        steps = [0, 2, 5, 10, 20][: len(values)]
        more = {"weight_norm": {"a.weight": [1.0] * len(values)}}
        return derived({"eps_share": cells, **more}, sampled=steps)["eps_dominance"]

    def test_a_share_that_was_there_before_the_tenth_step_is_as_old_as_it_looks(self) -> None:
        assert self.share(0.0, 0.9, 0.9, 0.9, 0.9).observed.tolist() == [False, *[True] * 4]

    def test_early_shares_that_went_away_do_not_count(self) -> None:
        assert self.share(0.9, 0.9, 0.1, 0.0, 0.0).observed.tolist() == [
            *[False] * 3,
            *[True] * 2,
        ]


class TestInitialScale:
    def gain(self, *, activation="relu", kinds=("linear", "linear"), edges=None, **gains):
        names = ("a", "b", "c")[: len(kinds)]
        topology = builders.chain(*names, activation=[activation, None, None][: len(kinds)])
        layers = tuple(replace(x, kind=k) for x, k in zip(topology.layers, kinds, strict=True))
        topology = replace(topology, layers=layers)
        topology = topology if edges is None else replace(topology, edges=edges)
        cells = {f"{n}.weight": [g, g] for n, g in gains.items()}
        return derived({"init_gain": cells}, topology=topology)

    @pytest.mark.parametrize(
        ("activation", "recommended"),
        [
            pytest.param("relu", 2**0.5, id="He"),
            pytest.param("tanh", 5 / 3, id="Xavier tanh"),
            pytest.param(None, 1.0, id="linear"),
            pytest.param("softsign", 1.0, id="not in the table"),
        ],
    )
    def test_a_recommended_gain_is_one(self, activation, recommended) -> None:
        found = self.gain(activation=activation, a=recommended, b=1.0)["init_gain"]
        assert found.values[0].tolist() == pytest.approx([1.0, 1.0])

    def test_only_the_untouched_weights_are_judged(self) -> None:
        found = self.gain(a=1.0, b=1.0)["init_gain"]
        assert found.steps.tolist() == [0]

    def test_small_is_the_inverse(self) -> None:
        found = self.gain(activation=None, a=0.01, b=1.0)["init_gain_small"]
        assert found.values[0, 0] == pytest.approx(100.0)

    def test_a_last_layer_may_be_as_small_as_it_likes(self) -> None:
        found = self.gain(activation=None, a=1.0, b=1e-3)
        for name in ("init_gain_small", "init_outlier_small"):
            assert found[name].observed[0].tolist() == [True, False]
        assert found["init_gain"].observed[0].tolist() == [True, True]

    def test_where_it_is_not_known_what_is_last_every_layer_is_judged(self) -> None:
        found = self.gain(activation=None, edges=(), a=1.0, b=1e-3)["init_gain_small"]
        assert found.values[0, 1] == pytest.approx(1000.0)

    def test_a_layer_unlike_its_peers_stands_out_against_their_median(self) -> None:
        three = builders.chain("a", "b", "c", activation=None)
        found = derived(
            {"init_gain": {"a.weight": [1.0], "b.weight": [50.0], "c.weight": [1.0]}},
            topology=three,
        )
        assert found["init_outlier_large"].values[0].tolist() == pytest.approx([1.0, 50.0, 1.0])
        assert found["init_outlier_small"].values[0, 1] == pytest.approx(1 / 50)

    @pytest.mark.parametrize(
        ("kind", "shape", "judged"),
        [
            pytest.param("SpectralConv", (8, 8, 4, 2), False, id="a kernel of one's own"),
            pytest.param("WSConv2d", (8, 8, 3, 3), True, id="somebody's kind of a convolution"),
            pytest.param("SpectralConv", (8, 8), True, id="a matrix"),
            pytest.param("SpectralConv1d", (8, 8, 4, 2), False, id="modes are no taps"),
        ],
    )
    def test_what_a_unit_adds_up_is_known_of_matrices_and_convolutions(
        self, kind, shape, judged
    ) -> None:
        plain = builders.chain("a", "b", "c", activation=None)
        layers = tuple(replace(x, type=kind, kind="conv") for x in plain.layers)
        params = tuple(replace(p, shape=shape) for p in plain.params)
        gains = {"a.weight": [0.01], "b.weight": [1.0], "c.weight": [1.0]}
        found = derived({"init_gain": gains}, topology=replace(plain, layers=layers, params=params))
        assert ("init_gain_small" in found) is judged
        assert "init_gain" in found

    @pytest.mark.parametrize(
        ("kind", "expected"), [("Conv2d", 4.0), ("Spectral", 1.0)], ids=["known", "not known"]
    )
    def test_a_fan_in_that_is_not_known_is_not_overrated(self, kind, expected) -> None:
        layers = tuple(replace(x, type=kind, kind="conv") for x in TWO.layers)
        params = tuple(replace(p, shape=(8, 8, 4, 4), fan_in=128) for p in TWO.params)
        gains = {"a.weight": [4.0], "b.weight": [4.0]}
        found = derived({"init_gain": gains}, topology=replace(TWO, layers=layers, params=params))
        assert found["init_gain"].values[0, 0] == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("shape", "gain", "expected"),
        [
            pytest.param((1, 16), 32**0.5, 2**0.5, id="drawn by its fan-out, as He et al. have it"),
            pytest.param((1, 16), 10 * 32**0.5, 10 * 32**0.5, id="ten times that"),
            pytest.param((1, 16), 16**0.5, 1.0, id="drawn by its fan-out for a linear layer"),
            pytest.param((16, 16), 32**0.5, 32**0.5, id="as many outputs as inputs"),
            pytest.param((64, 16), 2**0.5, 2**0.5, id="more outputs than inputs"),
            pytest.param((1, 512), 512**0.5, 512**0.5, id="a signal that grows by a decade"),
            pytest.param((10, 512), 512**0.5, 512**0.5, id="of variance one, by ten outputs"),
        ],
    )
    def test_a_weight_may_be_drawn_by_its_fan_out(self, shape, gain, expected) -> None:
        plain = builders.chain("a", "b", activation=None)
        params = (plain.params[0], replace(plain.params[1], shape=shape, fan_in=shape[1]))
        gains = {"a.weight": [1.0], "b.weight": [gain]}
        found = derived({"init_gain": gains}, topology=replace(plain, params=params))
        assert found["init_gain"].values[0, 1] == pytest.approx(expected)

    def test_the_end_of_a_residual_branch_may_be_small(self) -> None:
        edges, kinds = ((0, 1), (1, 2), (0, 2)), ("linear",) * 3
        found = self.gain(activation=None, edges=edges, kinds=kinds, a=1.0, b=0.01, c=1.0)[
            "init_gain_small"
        ]
        assert found.observed[0].tolist()[:2] == [True, False]

    def test_in_front_of_a_normalization_a_small_scale_does_not_matter(self) -> None:
        kinds = ("linear", "norm", "linear")
        found = self.gain(activation=None, kinds=kinds, a=0.01, b=1.0, c=1.0)
        small = found["init_gain_small"]
        assert small.values[0, small.layers.index(0)] == 0.0

    def test_an_embedding_has_no_recommended_scale(self) -> None:
        found = self.gain(kinds=("embedding", "linear"), a=0.01, b=1.0)["init_gain"]
        assert found.observed[0].tolist() == [False, True]


class TestTables:
    def tables(self, **kinds):
        topology = builders.chain("a", "b")
        params = tuple(replace(p, kind=kinds.get(p.name[0], "embedding")) for p in topology.params)
        names = ("a.weight", "b.weight")
        columns = {"weight_norm": [8.0, 1.0], "update_cos_weight": [0.9, 0.9]}
        return derived(
            {key: dict.fromkeys(names, values) for key, values in columns.items()},
            topology=replace(topology, params=params),
        )

    def test_tables_that_fade_show_where_there_are_no_other_weights(self) -> None:
        found = self.tables()
        assert found["weight_shrink"].values.tolist() == pytest.approx([1.0, 8.0])
        assert found["update_toward_zero"].values.tolist() == pytest.approx([0.9, 0.9])

    def test_that_they_grow_and_how_fast_they_move_says_nothing(self) -> None:
        assert not {"weight_growth", "update_ratio", "update_ratio_median"} & self.tables().keys()

    def test_beside_matrices_they_do_not_count(self) -> None:
        assert "weight_growth" in self.tables(a="matrix")


class TestTableScale:
    def tables(self, norm: float, *, kind: str = "linear", shard: int = -1):
        params = tuple(
            replace(p, kind="embedding", shape=(50, 8), shard=shard) if p.name == "a.weight" else p
            for p in TWO.params
        )
        layers = (TWO.layers[0], replace(TWO.layers[1], kind=kind))
        return derived(
            {"weight_norm": {"a.weight": [norm] * 2}},
            topology=replace(TWO, params=params, layers=layers),
            sampled=[0, 5],
        )

    def test_entries_of_a_table_are_measured_at_the_first_step(self) -> None:
        # Twenty is the root of the number of entries.
        found = self.tables(20 * 0.002)["table_small"]
        assert found.values.tolist() == [[pytest.approx(500.0)]]
        assert found.layers == (0,)

    def test_of_a_sharded_table_the_entries_that_were_measured_count(self) -> None:
        found = self.tables(10 * 0.002, shard=100)["table_small"]
        assert found.values.tolist() == [[pytest.approx(500.0)]]

    def test_a_table_that_is_zero_is_not_judged(self) -> None:
        assert "table_small" not in self.tables(0.0)

    def test_of_a_table_that_is_normalized_the_scale_does_not_matter(self) -> None:
        assert self.tables(20 * 0.002, kind="norm")["table_small"].values.tolist() == [[0.0]]

    def test_where_tables_are_all_there_is_their_scale_is_known_as_well(self) -> None:
        params = tuple(
            replace(p, kind="embedding", shape=(50, 8)) for p in TWO.params if "weight" in p.name
        )
        found = derived(
            {"weight_norm": {p.name: [20 * 0.002] * 2 for p in params}},
            topology=replace(TWO, params=params),
            sampled=[0, 5],
        )
        assert found["table_small"].values.tolist() == [[pytest.approx(500.0)] * 2]


class TestSymmetry:
    def similar(self, weights, gradients, sampled):
        return derived(
            {
                "unit_weight_similarity": {"a.weight": weights},
                "unit_grad_similarity": {"a.weight": gradients},
            },
            sampled=sampled,
        )

    def test_units_with_equal_weights_and_gradients_are_alike(self) -> None:
        found = self.similar([1.0, 1.0], [1.0, 1.0], [0, 5])
        assert found["unit_similarity"].values[:, 0].tolist() == [1.0, 1.0]
        assert found["unit_similarity_late"].steps.tolist() == [5]

    def test_units_with_different_gradients_are_about_to_part(self) -> None:
        found = self.similar([1.0, 1.0], [0.2, 0.2], [0, 5])
        assert found["unit_similarity"].values[:, 0].tolist() == [0.0, 0.0]

    @pytest.mark.parametrize(
        ("twins", "start", "late"),
        [
            pytest.param([1.0, 1.0], 1.0, 1.0, id="copies in groups stay"),
            pytest.param([1.0, 0.0], 0.0, 0.0, id="copies that part"),
            pytest.param([0.0, 0.5], 0.3, 0.5, id="half of them are copies later on"),
        ],
    )
    def test_units_that_are_copied_in_groups_are_alike_if_they_stay_so(
        self, twins, start, late
    ) -> None:
        found = derived(
            {
                "unit_weight_similarity": {"a.weight": [0.3, 0.0]},
                "unit_grad_similarity": {"a.weight": [0.95, 0.2]},
                "unit_twins": {"a.weight": twins},
            },
            sampled=[0, 5],
        )
        assert found["unit_similarity"].values[0, 0] == pytest.approx(max(start, 0.3))
        assert found["unit_similarity_late"].values[0, 0] == late

    def test_copies_are_known_where_directions_say_nothing(self) -> None:
        found = derived({"unit_twins": {"a.weight": [1.0, 1.0]}}, sampled=[0, 5])
        assert found["unit_similarity_late"].values[0, 0] == 1.0

    def test_without_a_gradient_the_weights_decide(self) -> None:
        found = self.similar([1.0, 1.0], [None, None], [0, 5])
        assert found["unit_similarity"].values[:, 0].tolist() == [1.0, 1.0]

    @pytest.mark.parametrize(
        ("gradients", "judged"),
        [([None, None], False), ([1.0, 1.0], True)],
        ids=["no gradient came to part them", "they get the same"],
    )
    def test_what_is_no_weight_may_be_laid_out_alike(self, gradients, judged: bool) -> None:
        params = tuple(replace(p, name=p.name.replace("weight", "A_log")) for p in TWO.params)
        found = derived(
            {
                "unit_weight_similarity": {"a.A_log": [1.0, 1.0]},
                "unit_grad_similarity": {"a.A_log": gradients},
            },
            topology=replace(TWO, params=params),
            sampled=[0, 5],
        )
        assert ("unit_similarity_late" in found) == judged

    @pytest.mark.parametrize(
        ("first", "second", "judged"),
        [(1.0, 0.0, False), (0.0, 0.0, True), (0.0, 1.0, True), (1.0, 1.0, True)],
        ids=["a gate", "both are zero", "nothing feeds it", "neither is zero"],
    )
    def test_a_weight_born_at_zero_behind_others_is_not_judged(self, first, second, judged) -> None:
        zero_last = {"a.weight": [first, None], "b.weight": [second, None]}
        name = "b.weight" if second <= first else "a.weight"
        found = derived(
            {"init_gain": zero_last, "unit_weight_similarity": {name: [None, 1.0]}},
            sampled=[0, 20],
        )
        assert ("unit_similarity_late" in found) == judged

    def copies(self, a, b, *, norm=1.0, shape=(8, 8)):
        names = ("a.weight", "b.weight")
        params = tuple(replace(p, shape=shape if i else (8, 8)) for i, p in enumerate(TWO.params))
        return derived(
            {"weight_norm": {"a.weight": [1.0] * 2, "b.weight": [norm] * 2}},
            grad=dict(zip(names, (a, b), strict=True)),
            topology=replace(TWO, params=params),
            sampled=[0, 5],
        )

    GRADIENT = (0.5, 0.4, 0.3, 0.2, 0.3, 0.4, 0.3, 0.2, *[0.1] * 32)

    def test_weights_that_get_the_same_gradients_from_the_start_are_copies(self) -> None:
        found = self.copies(self.GRADIENT, self.GRADIENT)
        assert found["unit_similarity_late"].values[0].tolist() == [1.0, 1.0]

    @pytest.mark.parametrize(
        ("other", "more"),
        [
            pytest.param((*GRADIENT[:7], 0.21, *GRADIENT[8:]), {}, id="one gradient differs"),
            pytest.param(GRADIENT, {"shape": (8, 4)}, id="another shape"),
        ],
    )
    def test_weights_that_part_are_none(self, other, more) -> None:
        found = self.copies(self.GRADIENT, other, **more)
        assert "unit_similarity_late" not in found

    def test_gradients_that_were_clipped_to_one_length_say_nothing(self) -> None:
        assert "unit_similarity_late" not in self.copies([1.0] * 40, [1.0] * 40)


class TestAdaptive:
    def test_the_second_moment_needs_time_to_settle(self) -> None:
        found = derived({"grad_rms_over_v": {"a.weight": [9.0, 9.0]}}, sampled=[9, 10])
        assert found["second_moment_surprise"].observed[:, 0].tolist() == [False, True]

    @pytest.mark.parametrize(
        ("loss", "excess"),
        [([8.0] * 10 + [2.0] * 15 + [0.5] * 15, 20.0 / 16), ([800.0] * 20 + [0.5] * 20, 20.0)],
        ids=["a solved loss explains small gradients", "a loss scaled down does not"],
    )
    def test_a_second_moment_is_too_large_beyond_what_was_learned(self, loss, excess) -> None:
        found = derived(
            {"grad_rms_over_v": {"a.weight": [0.05]}}, sampled=[39], step={"loss": loss}, steps=40
        )
        assert found["second_moment_excess"].values.tolist() == pytest.approx([excess])

    def test_steps_against_the_gradient_are_a_share_of_the_layers(self) -> None:
        found = derived({"update_cos_grad": {"a.weight": [-0.5, 0.5], "b.weight": [-0.1, 0.1]}})
        assert found["update_against_gradient"].values.tolist() == [1.0, 0.0]


class TestStillness:
    def still(
        self,
        *,
        trainable=True,
        group=0,
        dtype="float32",
        gradient=1.0,
        unchanged=1.0,
        steps=8,
        order=0,
        severed=True,
    ):
        param = ParamInfo(
            name="a.weight",
            layer=0,
            shape=(2, 2),
            trainable=trainable,
            group=group,
            dtype=dtype,
        )
        other = ParamInfo(name="b.weight", layer=1, shape=(2, 2), group=0)
        first = replace(TWO.layers[0], order=order, config={"severed": severed})
        topology = replace(TWO, params=(param, other), layers=(first, *TWO.layers[1:]))
        run = builders.recording(
            topology,
            steps=steps,
            sampled=[0, 1],
            param={"unchanged_share": {"a.weight": [unchanged, unchanged]}},
            grad={"a.weight": gradient, "b.weight": 1.0},
        )
        found = parameter_signals(run)
        return {
            name: float(found[name].values[0, found[name].layers.index(0)])
            for name in ("orphan", "no_gradient", "cut_off", "frozen", "unmoved", "rounded_away")
            if name in found and found[name].observed[0, found[name].layers.index(0)]
        }

    def test_a_trainable_weight_with_a_gradient_that_no_optimizer_owns_is_an_orphan(self) -> None:
        assert self.still(group=-1)["orphan"] == 1.0
        assert self.still(group=0)["orphan"] == 0.0

    def test_an_unused_weight_that_no_optimizer_owns_is_no_orphan(self) -> None:
        assert self.still(group=-1, gradient=0.0)["orphan"] == 0.0

    @pytest.mark.parametrize(
        ("gradient", "orphan"),
        [([0.7, None, None], 0.0), ([0.7] * 8, 0.0), ([0.7, 0.9, 1.4], 1.0)],
        ids=["cleared since", "never cleared", "new ones come"],
    )
    def test_what_did_not_run_is_an_orphan_only_if_its_gradient_is_new(
        self, gradient, orphan
    ) -> None:
        steps = len(gradient)
        assert self.still(group=-1, order=-1, gradient=gradient, steps=steps)["orphan"] == orphan

    def test_a_weight_without_any_gradient_is_silent(self) -> None:
        assert self.still(gradient=0.0)["no_gradient"] == 1.0
        assert self.still(gradient=None)["no_gradient"] == 1.0
        assert self.still(gradient=0.5)["no_gradient"] == 0.0

    @pytest.mark.parametrize("gradient", [None, 0.0])
    def test_what_was_taken_out_of_the_graph_before_a_layer_that_learns_is_cut_off(
        self, gradient
    ) -> None:
        assert self.still(gradient=gradient)["cut_off"] == 1.0

    def test_of_a_gradient_of_zero_it_is_not_known_otherwise_whether_it_came(self) -> None:
        assert "cut_off" not in self.still(gradient=0.0, severed=False)

    def test_a_part_that_never_ran_lacks_no_gradient(self) -> None:
        assert self.still(gradient=0.0, order=-1).get("no_gradient") is None

    def test_a_few_steps_do_not_show_that_a_gradient_is_missing(self) -> None:
        assert self.still(gradient=0.0, steps=3)["no_gradient"] == 0.0

    def test_a_frozen_weight_is_frozen_and_nothing_else(self) -> None:
        found = {k: v for k, v in self.still(trainable=False, gradient=None).items() if v}
        assert found == {"frozen": 1.0}

    @pytest.mark.parametrize("trainable", [True, False])
    def test_a_model_in_which_nothing_is_trainable_is_told(self, trainable) -> None:
        params = tuple(replace(p, trainable=trainable) for p in TWO.params)
        run = builders.recording(replace(TWO, params=params), steps=8, sampled=[0, 1])
        assert parameter_signals(run)["nothing_trained"].values[0] == float(not trainable)

    @pytest.mark.parametrize(
        ("number", "group", "told"),
        [(3, 0, 3.0), (0, 0, 0.0), (None, 0, None), (3, -1, None)],
        ids=["some", "none", "not looked for", "no optimizer known"],
    )
    def test_parameters_that_nobody_holds_are_counted(self, number, group, told) -> None:
        params = tuple(replace(p, group=group) for p in TWO.params)
        facts = {} if number is None else {"strangers": number}
        run = builders.recording(replace(TWO, params=params), steps=8, sampled=[0, 1], facts=facts)
        found = parameter_signals(run).get("strangers")
        assert (None if found is None else found.values[0]) == told

    def test_a_gradient_of_nan_is_a_gradient(self) -> None:
        assert self.still(gradient=NAN)["no_gradient"] == 0.0

    def test_a_full_precision_weight_that_does_not_change_is_unmoved(self) -> None:
        found = self.still()
        assert found["unmoved"] == 1.0
        assert "rounded_away" not in found

    @pytest.mark.parametrize(
        ("shares", "lasting"),
        [
            pytest.param(
                {0: 0.9, 10: 0.7, 20: 0.3, 64: 0.1}, {0: 0.3, 20: 0.3}, id="only at first"
            ),
            pytest.param({0: 0.9, 10: 0.7, 40: 0.8, 64: 0.7}, {0: 0.7, 40: 0.7}, id="all the time"),
            pytest.param(
                {0: 0.1, 10: 0.1, 40: 0.9, 64: 0.8}, {0: 0.1, 40: 0.8}, id="from a step on"
            ),
        ],
    )
    def test_updates_that_are_rounded_away_for_a_while_are_not(self, shares, lasting) -> None:
        params = tuple(replace(p, dtype="bfloat16") for p in TWO.params)
        run = builders.recording(
            replace(TWO, params=params),
            steps=70,
            sampled=list(shares),
            param={"unchanged_share": {"a.weight": list(shares.values())}},
            grad={"a.weight": 1.0, "b.weight": 1.0},
        )
        found = parameter_signals(run)["rounded_away"]
        told = dict(zip(found.steps.tolist(), found.values[:, 0], strict=True))
        assert {step: told[step] for step in lasting} == pytest.approx(lasting)

    def test_an_average_that_is_kept_for_a_while_is_not(self) -> None:
        run = builders.recording(
            TWO,
            steps=70,
            sampled=[0, 10, 40, 64],
            param={
                "average_kept": {
                    "a.weight": [1.0, 0.9, 0.95, 1.0],
                    "b.weight": [1.0, 0.1, 0.9, 0.9],
                }
            },
        )
        found = parameter_signals(run)["average_rounded_away"]
        assert found.values[0].tolist() == pytest.approx([0.9, 0.1])

    def test_a_half_precision_weight_that_does_not_change_is_rounded(self) -> None:
        found = self.still(dtype="bfloat16", unchanged=0.9)
        assert found["rounded_away"] == pytest.approx(0.9, abs=1e-6)
        assert "unmoved" not in found


def test_matrices_of_one_layer_fold_into_it() -> None:
    params = (
        ParamInfo(name="rnn.ih", layer=0, shape=(2, 2)),
        ParamInfo(name="rnn.hh", layer=0, shape=(2, 2)),
    )
    topology = Topology(
        layers=(LayerInfo(name="rnn", type="LSTM", kind="recurrent", order=0, params=(0, 1)),),
        params=params,
    )
    found = derived(
        {
            "update_ratio": {"rnn.ih": [0.1], "rnn.hh": [0.3]},
            "weight_norm": {"rnn.ih": [1.0], "rnn.hh": [1.0]},
        },
        topology=topology,
    )
    assert found["update_ratio"].layers == (0,)
    assert found["update_ratio"].values[0, 0] == pytest.approx(np.float32(0.3))


class TestFrozenOnPurpose:
    def frozen(self, *params: ParamInfo) -> list[str]:
        names = sorted({p.name.rpartition(".")[0] for p in params} | {""})
        layers = tuple(
            LayerInfo(name=n, type="Linear", kind="linear", order=i) for i, n in enumerate(names)
        )
        placed = tuple(replace(p, layer=names.index(p.name.rpartition(".")[0])) for p in params)
        run = builders.recording(
            Topology(layers=layers, params=placed),
            steps=8,
            sampled=[0, 4],
            param={"unchanged_share": {p.name: [0.0, 0.0] for p in params}},
        )
        found = parameter_signals(run).get("frozen")
        if found is None or found.layers is None:
            return []
        on = (found.values > 0).any(axis=0)
        return [names[layer] for layer, is_on in zip(found.layers, on, strict=True) if is_on]

    def weight(self, name: str, *shape: int, trainable: bool = False) -> ParamInfo:
        return ParamInfo(name=name, layer=0, shape=shape, trainable=trainable, group=0)

    def test_a_frozen_layer_among_others_is_told(self) -> None:
        other = self.weight("head.weight", 4, 16, trainable=True)
        assert self.frozen(self.weight("body.weight", 16, 8), other) == ["body"]

    @pytest.mark.parametrize(
        ("base", "down", "up"),
        [
            ("fc.base.weight", "fc.a", "fc.b"),
            ("fc.weight", "fc.lora_a.weight", "fc.lora_b.weight"),
        ],
        ids=["a layer beside its adapter", "a layer that holds its adapter"],
    )
    def test_who_trains_adapters_freezes_the_rest(self, base: str, down: str, up: str) -> None:
        adapter = (
            self.weight(down, 2, 8, trainable=True),
            self.weight(up, 16, 2, trainable=True),
        )
        assert (
            self.frozen(self.weight(base, 16, 8), self.weight("out.weight", 4, 16), *adapter) == []
        )

    @pytest.mark.parametrize(
        ("copy", "told"),
        [("target", False), ("1", True)],
        ids=["a named double is an average", "a block of a list is none"],
    )
    def test_a_frozen_double_of_a_trained_network(self, copy: str, told: bool) -> None:
        own = "online" if copy == "target" else "0"
        shapes = {"fc1.weight": (16, 8), "fc2.weight": (4, 16)}
        params = [self.weight(f"net.{copy}.{n}", *shape) for n, shape in shapes.items()]
        params += [
            self.weight(f"net.{own}.{n}", *shape, trainable=True) for n, shape in shapes.items()
        ]
        assert bool(self.frozen(*params)) is told

    def test_a_frozen_network_without_a_double_is_told(self) -> None:
        params = [self.weight("k.a.weight", 16, 8), self.weight("k.b.weight", 4, 16)]
        trained = [
            self.weight("q.a.weight", 16, 8, trainable=True),
            self.weight("q.b.weight", 4, 12, trainable=True),
        ]
        assert self.frozen(*params, *trained) == ["k.a", "k.b"]

    def test_a_single_frozen_layer_beside_its_like_is_told(self) -> None:
        one, two = self.weight("q.weight", 8, 8), self.weight("k.weight", 8, 8, trainable=True)
        assert self.frozen(one, two) == ["q"]

    def test_two_matrices_of_full_rank_are_no_adapter(self) -> None:
        others = (
            self.weight("fc.a", 8, 8, trainable=True),
            self.weight("fc.b", 16, 8, trainable=True),
        )
        assert self.frozen(self.weight("fc.base.weight", 16, 8), *others) == ["fc.base"]

    def test_a_table_of_a_container_is_a_constant(self) -> None:
        other = self.weight("head.weight", 4, 16, trainable=True)
        assert self.frozen(self.weight("positions", 32, 16), other) == []


class TestInheritedMoment:
    @pytest.mark.parametrize(
        ("surprise", "sampled", "expected"),
        [
            ([0.01, 0.5], [0, 1], 100.0),
            ([None, 0.01], [0, 1], None),
            ([0.01, 0.01], [4, 5], None),
        ],
        ids=["before the first step", "after it", "in a run that began before"],
    )
    def test_only_what_was_brought_along_counts(self, surprise, sampled, expected) -> None:
        found = derived({"grad_rms_over_v": {"a.weight": surprise}}, sampled=sampled)
        series = found.get("second_moment_inherited")
        assert (None if series is None else series.values[0]) == (
            None if expected is None else pytest.approx(expected)
        )
