"""Schedule, momentum, decay, and what a step was predicted to do."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import Column, OptimizerInfo
from neuraldbg.signals.optimizer import optimizer_signals
from tests import builders

NAN = float("nan")


def rates(*values, optimizer=None):
    run = builders.recording(
        steps=len(values), group={"lr": list(values)}, optimizers=(optimizer or builders.sgd(),)
    )
    return optimizer_signals(run)


class TestSchedule:
    def test_a_jump_beyond_the_peak_is_a_ratio(self) -> None:
        found = rates(0.1, 0.1, 30.0, 30.0)["lr_jump"]
        assert found.values.tolist() == pytest.approx([1.0, 1.0, 300.0, 1.0])

    def test_an_optimizer_that_takes_over_has_a_rate_of_its_own(self) -> None:
        two = (builders.sgd(), replace(builders.sgd(), groups=(1,)))
        run = builders.recording(steps=4, optimizers=two)
        values = np.array([[0.001, 0], [0.001, 0], [0, 1.0], [0, 1.0]], np.float32)
        run = replace(run, group={"lr": Column(values, values > 0)})
        assert optimizer_signals(run)["lr_jump"].values.tolist() == [1.0] * 4

    def test_a_restart_does_not_pass_the_peak(self) -> None:
        assert rates(0.1, 0.01, 0.001, 0.1)["lr_jump"].values.tolist() == [1.0] * 4

    @pytest.mark.parametrize(
        ("values", "falls"),
        [
            pytest.param([*np.linspace(1e-6, 0.1, 12)] * 4, 3, id="a warm-up that begins again"),
            pytest.param(
                [*np.linspace(1e-6, 0.1, 12), *[0.1] * 9] * 4, 0, id="held, and then anew"
            ),
            pytest.param(
                [*np.linspace(0.01, 0.1, 12), *np.linspace(0.1, 0.01, 12)] * 4, 0, id="up and down"
            ),
            pytest.param([*np.linspace(0.1, 1e-6, 12)] * 4, 0, id="restarts"),
            pytest.param([*np.linspace(0.05, 0.1, 12)] * 4, 0, id="falls by half"),
            pytest.param([1e-6, 0.1] * 20, 0, id="in turns"),
            pytest.param([0.1], 0, id="one step"),
        ],
    )
    def test_a_rate_that_rose_for_a_while_and_falls_at_once_fell_back(self, values, falls) -> None:
        found = rates(*values)["lr_falls"]
        assert found.values.max() == falls
        assert np.count_nonzero(found.values) == falls
        assert not falls or int(np.argmax(found.values)) == 12

    def test_a_slow_warm_up_is_no_jump(self) -> None:
        found = rates(*np.linspace(0.001, 0.1, 100))["lr_jump"]
        assert found.values[10:].max() < 3.0

    @pytest.mark.parametrize(
        ("values", "share"),
        [
            pytest.param([0.0] * 15 + [0.1] * 5, 0.75, id="zero and then its peak"),
            pytest.param([0.0, *np.linspace(0.01, 0.1, 19)], 0.05, id="a warm-up from zero"),
            pytest.param([0.1] * 5 + [0.0] * 15, 0.0, id="zero afterwards"),
            pytest.param(
                list(np.geomspace(1e-5, 1.0, 20)), 0.0, id="a rate that grows without end"
            ),
        ],
    )
    def test_how_long_it_was_held_at_zero_first(self, values, share) -> None:
        assert rates(*values)["lr_held_back"].values.tolist() == pytest.approx([share])

    def test_a_rate_of_zero_throughout_is_exact(self) -> None:
        assert rates(0.0, 0.0)["lr_zero"].values[0] == 1.0
        assert rates(0.0, 0.1)["lr_zero"].values[0] == 0.0

    def test_a_rate_that_is_gone_counts_its_share_of_the_run(self) -> None:
        found = rates(*[0.1] * 5, *[1e-6] * 15)["lr_collapsed"]
        assert found.values[4] == 0.0
        assert found.values[10] == pytest.approx(0.75)

    @pytest.mark.parametrize(
        ("early", "late", "gone"),
        [
            pytest.param(6, 94, True, id="milestones of epochs that are counted in batches"),
            pytest.param(50, 50, False, id="half of the run at a hundredth"),
        ],
    )
    def test_a_hundredth_of_the_peak_has_to_last(self, early, late, gone) -> None:
        found = rates(*[0.1] * early, *[1e-3] * late)["lr_collapsed"]
        assert bool(found.values.max() > 0.25) is gone

    def test_a_slow_fall_begins_where_half_of_the_peak_is_lost_for_good(self) -> None:
        falling = [0.1 * 0.5 ** max(step - 4, 0) for step in range(24)]
        found = rates(*falling)["lr_collapsed"]
        assert np.flatnonzero(found.values > 0)[0] == 6

    def test_a_restart_undoes_a_fall(self) -> None:
        found = rates(*[0.1] * 5, *[1e-6] * 5, *[0.1] * 10)["lr_collapsed"]
        assert found.values.tolist() == [0.0] * 20

    def test_a_warm_up_that_never_ended_is_told(self) -> None:
        assert rates(*np.linspace(1e-6, 1e-3, 64))["lr_still_warming"].values[0] == 1.0
        assert rates(*[0.1] * 64)["lr_still_warming"].values[0] == 0.0

    def test_without_an_optimizer_nothing_is_said(self) -> None:
        run = builders.recording(steps=4, group={"lr": 0.1})
        assert optimizer_signals(run) == {}


class TestMomentum:
    def test_the_gain_is_the_memory_in_steps(self) -> None:
        found = rates(0.1, optimizer=builders.sgd(momentum=0.98))["momentum_gain"]
        assert found.values[0] == pytest.approx(50.0)

    def test_an_adaptive_optimizer_is_judged_by_its_first_moment(self) -> None:
        adam = OptimizerInfo(type="Adam", family="adam", groups=(0,), defaults={"beta1": 0.9})
        assert rates(0.1, optimizer=adam)["momentum_gain"].values[0] == pytest.approx(10.0)

    @pytest.mark.parametrize(
        ("beta1", "beta2", "outlives"),
        [(0.9, 0.999, 0.0), (0.999, 0.9, 1.0), (0.92, 0.9, 0.0), (0.0, 0.9, 0.0)],
        ids=["usual", "swapped", "below the root", "none"],
    )
    def test_momentum_must_not_outlive_the_scale_of_its_steps(self, beta1, beta2, outlives) -> None:
        betas = {"beta1": beta1, "beta2": beta2}
        adam = OptimizerInfo(type="Adam", family="adam", groups=(0,), defaults=betas)
        found = rates(0.1, optimizer=adam)["momentum_outlives_scale"]
        assert found.values[0] == outlives

    def test_of_plain_momentum_nothing_is_said_about_a_scale(self) -> None:
        assert "momentum_outlives_scale" not in rates(0.1, optimizer=builders.sgd(momentum=0.98))

    def test_an_optimizer_without_memory_is_not_judged_by_it(self) -> None:
        adagrad = OptimizerInfo(type="Adagrad", family="adagrad", groups=(0,), defaults={})
        assert "momentum_gain" not in rates(0.1, optimizer=adagrad)


def test_a_missing_step_is_exact_and_an_unseen_one_is_not_judged() -> None:
    run = builders.recording(steps=3, step={"stepped": [1.0, 0.0, None]})
    found = optimizer_signals(run)["step_missing"]
    assert found.values[:2].tolist() == [0.0, 1.0]
    assert found.observed.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("stepped", "missing"),
    [
        pytest.param("1110001111", "0000000000", id="one step accumulates"),
        pytest.param("0001111111", "0000000000", id="before the first step"),
        pytest.param("1110000000", "0001111111", id="no step ever again"),
        pytest.param("0" * 70 + "1", "1" * 70 + "0", id="longer than anybody accumulates"),
    ],
)
def test_a_step_is_missing_where_none_follows_for_long(stepped: str, missing: str) -> None:
    run = builders.recording(steps=len(stepped), step={"stepped": [float(c) for c in stepped]})
    assert optimizer_signals(run)["step_missing"].values.tolist() == [float(c) for c in missing]


@pytest.mark.parametrize(
    ("trainable", "layers"), [(("b",), (1,)), (("a", "b"), None)], ids=["a new head", "all"]
)
def test_steps_that_are_missing_are_told_of_the_only_layer_to_be_trained(trainable, layers) -> None:
    drawn = builders.chain("a", "b")
    names = [layer.name for layer in drawn.layers]
    params = tuple(replace(p, trainable=names[p.layer] in trainable) for p in drawn.params)
    run = builders.recording(replace(drawn, params=params), steps=80, step={"stepped": [0.0] * 80})
    found = optimizer_signals(run)["step_missing"]
    assert found.layers == layers
    assert found.values.all()


class TestDecay:
    def share(self, decay, ratio, norm=1.0, optimizer="SGD"):
        run = builders.recording(
            builders.chain("a", "b"),
            steps=4,
            sampled=[0, 2],
            group={"lr": 0.1, "weight_decay": decay},
            param={"update_ratio": {"a.weight": [ratio] * 2}},
            optimizers=(replace(builders.sgd(), type=optimizer),),
        )
        return optimizer_signals(run)

    def test_of_an_unknown_optimizer_a_large_share_counts_and_a_small_one_says_nothing(
        self,
    ) -> None:
        assert self.share(0.5, 0.1, optimizer="Adan")["decay_share"].observed.all()
        assert "decay_share" not in self.share(0.1, 0.1, optimizer="Adan")

    def test_it_is_the_part_of_the_update_that_pulls_to_zero(self) -> None:
        # lr 0.1 times decay 0.5 over a ratio of 0.1: half of the update
        assert self.share(0.5, 0.1)["decay_share"].values.tolist() == pytest.approx([0.5, 0.5])

    def test_a_weight_that_does_not_move_has_no_share(self) -> None:
        assert "decay_share" not in self.share(0.5, 0.0)

    @pytest.mark.parametrize(
        ("kinds", "decays", "expected"),
        [
            pytest.param("mmmt", (0.1, 0.1, 0.1, 0.9), 0.9, id="tables decayed on their own"),
            pytest.param(
                "mttt", (0.1, 0.1, 0.1, 0.1), 0.01, id="tables beside weights decayed alike"
            ),
            pytest.param("mmmm", (0.1, 0.1, 0.1, 9.0), 0.9, id="a weight decayed on its own"),
            pytest.param("tttt", (0.9, 0.9, 0.9, 0.0), 0.9, id="nothing but tables"),
        ],
    )
    def test_what_is_decayed_differently_is_judged_apart(self, kinds, decays, expected) -> None:
        drawn, kind = builders.chain("a", "b", "c", "d"), {"m": "matrix", "t": "embedding"}
        params = tuple(
            replace(p, kind=kind[kinds[p.layer]], group=p.layer)
            for p in drawn.params
            if p.name.endswith("weight")
        )
        run = builders.recording(
            replace(drawn, params=params),
            steps=2,
            # Of tables less moves, so that decay is more of it.
            param={
                "update_ratio": {
                    p.name: [0.001 if p.kind == "embedding" else 0.01] * 2 for p in params
                }
            },
            optimizers=(replace(builders.sgd(), groups=(0, 1, 2, 3)),),
        )
        rates = builders.table({str(i): [1e-3] * 2 for i in range(4)}, [*"0123"], 2)
        pulls = builders.table({str(i): [x] * 2 for i, x in enumerate(decays)}, [*"0123"], 2)
        found = optimizer_signals(replace(run, group={"lr": rates, "weight_decay": pulls}))
        assert found["decay_share"].values.tolist() == pytest.approx([expected] * 2)

    def test_without_decay_the_share_is_zero(self) -> None:
        assert self.share(0.0, 0.1)["decay_share"].values.tolist() == [0.0, 0.0]


class TestDecayInsideTheGradient:
    def share(self, optimizer, *, slope=2.0, decay=0.1, norm=20.0, kind="matrix"):
        topology = builders.chain("a", "b")
        params = tuple(replace(p, kind=kind) for p in topology.params)
        run = builders.recording(
            replace(topology, params=params),
            steps=4,
            sampled=[0, 2],
            group={"lr": 0.001, "weight_decay": decay},
            param={
                "update_ratio": {"a.weight": [0.01] * 2},
                "weight_norm": {"a.weight": [norm] * 2},
            },
            grad={"a.weight": slope},
            optimizers=(OptimizerInfo(type=optimizer, family="adam", groups=(0,), defaults={}),),
        )
        return optimizer_signals(run)["decay_share"].values.tolist()

    def test_what_is_divided_together_is_shared_as_it_was_added(self) -> None:
        # 0.1 times 20 beside a gradient of 2: half, whatever the rate and the length of the step
        assert self.share("Adam") == pytest.approx([0.5, 0.5])

    def test_where_the_gradient_has_faded_on_its_way_decay_is_not_judged(self) -> None:
        run = builders.recording(
            builders.chain("a", "b"),
            steps=2,
            sampled=[0, 1],
            group={"lr": 0.001, "weight_decay": 0.1},
            param={"weight_norm": {"a.weight": [20.0] * 2, "b.weight": [20.0] * 2}},
            grad={"a.weight": 1e-6, "b.weight": 6.0},
            optimizers=(OptimizerInfo(type="Adam", family="adam", groups=(0,), defaults={}),),
        )
        assert optimizer_signals(run)["decay_share"].values.tolist() == pytest.approx([0.25, 0.25])

    def test_decay_beside_the_gradient_is_a_part_of_the_step(self) -> None:
        # 0.001 times 0.1 over a ratio of 0.01
        assert self.share("AdamW") == pytest.approx([0.01, 0.01])

    def test_without_decay_nothing_is_added(self) -> None:
        assert self.share("Adam", decay=0.0) == [0.0, 0.0]

    def test_tables_are_weights_where_there_is_nothing_else(self) -> None:
        assert self.share("Adam", kind="embedding") == pytest.approx([0.5, 0.5])

    def test_a_weight_and_a_gradient_of_zero_have_no_share(self) -> None:
        with pytest.raises(KeyError):
            self.share("Adam", slope=0.0, norm=0.0)


class TestPredicted:
    def predicted(
        self,
        *,
        cosine=1.0,
        ratio=0.01,
        norm=10.0,
        gradient=2.0,
        loss=4.0,
        sampled=(0, 1, 2, 3),
        **step,
    ):
        names = ("a.weight", "b.weight")
        rows = len(sampled)
        run = builders.recording(
            builders.chain("a", "b"),
            steps=4,
            sampled=sampled,
            step={"loss": [loss] * 4, **step},
            param={
                "update_cos_grad": {n: [cosine] * rows for n in names},
                "update_ratio": {n: [ratio] * rows for n in names},
                "weight_norm": {n: [norm] * rows for n in names},
            },
            grad=dict.fromkeys(names, gradient),
        )
        return optimizer_signals(run)

    def test_a_step_is_predicted_to_remove_gradient_times_update(self) -> None:
        # Two layers, each cos 1 x update 0.1 x gradient 2, over a loss of 4
        found = self.predicted()["predicted_change"]
        assert found.values.tolist() == pytest.approx([0.1] * 4)

    @pytest.mark.parametrize(
        ("backwards", "change"), [(1.0, 12.8), (2.0, 0.1)], ids=["one pass", "a mean of passes"]
    )
    def test_a_loss_whose_gradients_are_divided_is_divided_as_well(self, backwards, change) -> None:
        raw = [10.0, 20.0, 40.0, 20.0]
        found = self.predicted(
            grad_norm_raw=raw, grad_norm_used=[x / 128 for x in raw], backwards=[backwards] * 4
        )
        assert found["predicted_change"].values.tolist() == pytest.approx([change] * 4)

    def test_early_and_best_leave_out_the_very_first_step(self) -> None:
        found = self.predicted()
        assert found["predicted_change_early"].values[0] == pytest.approx(0.1)
        assert found["predicted_change_best"].values[0] == pytest.approx(0.1)

    def test_one_sample_at_the_start_is_not_judged(self) -> None:
        assert "predicted_change_early" not in self.predicted(sampled=(0,))

    def test_a_nan_gradient_predicts_nothing(self) -> None:
        assert "predicted_change_early" not in self.predicted(gradient=NAN)


def test_a_group_that_is_no_longer_there_does_not_break_the_decay() -> None:
    topology = builders.chain("a", "b", group=3)
    run = builders.recording(
        replace(topology),
        steps=2,
        group={"lr": 0.1, "weight_decay": 0.1},
        param={"update_ratio": {"a.weight": [0.1, 0.1]}},
        optimizers=(builders.sgd(),),
    )
    assert optimizer_signals(run)["decay_share"].values.tolist() == pytest.approx([0.1, 0.1])
