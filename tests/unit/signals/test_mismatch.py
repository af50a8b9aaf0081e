"""How the loss was called: whether what it was given is what it takes."""

import pytest

from neuraldbg.records.recording import LossCall, OptimizerInfo
from neuraldbg.signals.mismatch import mismatch_signals
from tests import builders


def calls(*facts, function="cross_entropy"):
    losses = tuple(LossCall(step=i, function=function, facts=f) for i, f in enumerate(facts))
    sgd = (builders.sgd(),)
    return mismatch_signals(
        builders.recording(steps=max(len(facts), 1), losses=losses, optimizers=sgd)
    )


def flags(function, **facts):
    found = calls(facts, function=function)
    return {k for k, v in found.items() if k.startswith("loss_") and v.values[0] == 1.0}


@pytest.mark.parametrize(
    ("level", "summed"),
    [
        pytest.param(640.0, True, id="as it was summed"),
        pytest.param(645.0, True, id="with another term"),
        pytest.param(10.0, False, id="divided by the rows"),
        pytest.param(14.0, False, id="divided, and with another term"),
        pytest.param(320.0, True, id="halved"),
    ],
)
def test_a_sum_that_the_loop_divides_is_none(level: float, summed: bool) -> None:
    call = LossCall(
        step=0, function="mse_loss", facts={"reduction": "sum", "value": 640.0, "rows": 64}
    )
    sgd = (builders.sgd(),)
    run = builders.recording(steps=1, step={"loss": [level]}, losses=(call,), optimizers=sgd)
    assert bool(mismatch_signals(run)["loss_sum"].values[0]) is summed


@pytest.mark.parametrize(
    ("families", "judged"),
    [
        pytest.param(("sgd",), True, id="a step as long as the gradient"),
        pytest.param(
            ("adam",), False, id="a step that is as long whatever the loss is multiplied by"
        ),
        pytest.param(("adam", "sgd"), True, id="one of each"),
        pytest.param((), False, id="nobody knows"),
    ],
)
def test_a_sum_matters_to_optimizers_whose_steps_grow_with_it(families, judged) -> None:
    call = LossCall(step=0, function="mse_loss", facts={"reduction": "sum"})
    mine = tuple(OptimizerInfo(type=f, family=f, groups=(0,)) for f in families)
    run = builders.recording(steps=1, losses=(call,), optimizers=mine)
    assert ("loss_sum" in mismatch_signals(run)) is judged


def spread(low: float, high: float, mean: float, std: float) -> dict[str, float]:
    return {"target_min": low, "target_max": high, "target_mean": mean, "target_std": std}


SPREAD = {
    "within": spread(0.0, 1.0, 0.4, 0.2),
    "noise beyond both ends": spread(-0.3, 1.4, 0.55, 0.3),
    "evenly below zero as well": spread(-1.0, 1.0, 0.0, 0.58),
    "standardised": spread(-3.1, 3.2, 0.0, 1.0),
    "a long tail": spread(0.0, 5.0, 0.1, 0.4),
    "of spread unknown": {"target_min": -1.0, "target_max": 1.0},
}


class TestFingerprint:
    @pytest.mark.parametrize(
        ("function", "facts", "of_one"),
        [
            pytest.param("cross_entropy", {"classes": 1}, True, id="one class"),
            pytest.param("cross_entropy", {"classes": 2}, False, id="two classes"),
            pytest.param(
                "binary_cross_entropy",
                {"made_by": "softmax", "input_min": 1.0, "input_max": 1.0},
                True,
                id="a softmax over one unit",
            ),
            pytest.param(
                "binary_cross_entropy",
                {"made_by": "softmax", "input_min": 0.2, "input_max": 0.8},
                False,
                id="a softmax over two units",
            ),
            pytest.param(
                "mse_loss",
                {"made_by": "sigmoid", "input_min": 1.0, "input_max": 1.0},
                False,
                id="a sigmoid that is saturated",
            ),
        ],
    )
    def test_an_output_of_one_class_is_the_same_whatever_the_input(
        self, function, facts, of_one
    ) -> None:
        assert calls(facts, function=function)["loss_of_one"].values[0] == float(of_one)

    def test_a_prediction_that_is_not_a_number_has_no_form(self) -> None:
        formed = {"input_log_probabilities": True, "input_min": -2.0}
        lost = {"input_log_probabilities": False, "input_min": float("nan")}
        assert calls(formed, lost, lost, function="nll_loss")["loss_nll_on_raw"].values[0] == 0.0
        assert "loss_nll_on_raw" not in calls(lost, lost, function="nll_loss")

    @pytest.mark.parametrize(
        ("function", "facts", "expected"),
        [
            pytest.param(
                "cross_entropy",
                {"input_rows_sum_to_one": True, "input_min": 0.0},
                {"loss_softmax_twice"},
                id="probabilities into cross entropy",
            ),
            pytest.param("nll_loss", {}, {"loss_nll_on_raw"}, id="raw scores into nll"),
            pytest.param(
                "nll_loss", {"input_log_probabilities": True}, set(), id="log probabilities"
            ),
            pytest.param(
                "ctc_loss", {"input_max": 0.97}, {"loss_nll_on_raw"}, id="probabilities into ctc"
            ),
            pytest.param("ctc_loss", {"input_max": -0.01}, set(), id="log probabilities into ctc"),
            pytest.param(
                "ctc_loss",
                {"input_max": -0.01, "input_log_probabilities": False},
                {"loss_nll_on_raw"},
                id="log probabilities over another axis into ctc",
            ),
            pytest.param(
                "binary_cross_entropy_with_logits",
                {"input_min": 0.1, "input_max": 0.9},
                {"loss_sigmoid_twice"},
                id="probabilities as logits",
            ),
            pytest.param(
                "binary_cross_entropy_with_logits",
                {"input_min": -3.0, "input_max": 3.0},
                set(),
                id="free logits",
            ),
            pytest.param(
                "binary_cross_entropy_with_logits",
                {"input_min": -3.0, "target_min": -1.0, "target_max": 1.0},
                {"loss_bounded"},
                id="targets that are no probabilities",
            ),
            pytest.param(
                "binary_cross_entropy_with_logits",
                {"input_min": -3.0, "target_min": 0.05, "target_max": 0.95},
                set(),
                id="smoothed labels",
            ),
            *(
                pytest.param(
                    "mse_loss", {"made_by": maker, **SPREAD[target]}, told, id=f"{maker}: {target}"
                )
                for maker, target, told in (
                    ("sigmoid", "within", set()),
                    ("sigmoid", "noise beyond both ends", set()),
                    ("sigmoid", "evenly below zero as well", {"loss_bounded"}),
                    ("tanh", "standardised", {"loss_bounded"}),
                    ("sigmoid", "a long tail", {"loss_bounded"}),
                    ("sigmoid", "of spread unknown", {"loss_bounded"}),
                )
            ),
            pytest.param(
                "cross_entropy",
                {"input_min": 0.0, "input_max": 7.0},
                {"loss_rectified"},
                id="rectified logits",
            ),
            pytest.param(
                "mse_loss", {"shape_mismatch": True}, {"loss_broadcast"}, id="broadcast shapes"
            ),
            pytest.param("mse_loss", {"reduction": "sum"}, {"loss_sum"}, id="summed"),
            pytest.param("mse_loss", {"reduction": "mean"}, set(), id="averaged"),
            pytest.param(
                "kl_div", {"input_max": 0.4}, {"loss_nll_on_raw"}, id="kl of probabilities"
            ),
            pytest.param("kl_div", {"input_max": -0.2}, set(), id="kl of their logarithms"),
            pytest.param("cross_entropy", {}, set(), id="nothing known of the logits"),
            pytest.param(
                "poisson_nll_loss",
                {"input_min": 0.02, "made_by": "softplus"},
                {"loss_nll_on_raw"},
                id="rates taken for their logarithms",
            ),
            pytest.param(
                "poisson_nll_loss",
                {"input_min": -1.5, "made_by": "addmm"},
                set(),
                id="logarithms of rates",
            ),
            pytest.param(
                "poisson_nll_loss",
                {"input_min": 0.1, "made_by": "addmm"},
                set(),
                id="logarithms of rates above one",
            ),
            pytest.param(
                "poisson_nll_loss",
                {"input_min": -0.5, "made_by": "expm1"},
                set(),
                id="what is negative is no rate",
            ),
            pytest.param(
                "poisson_nll_loss of rates",
                {"input_min": -1.5, "made_by": "addmm"},
                {"loss_nll_on_raw"},
                id="logarithms taken for rates",
            ),
            pytest.param(
                "poisson_nll_loss of rates",
                {"input_min": 0.02, "made_by": "softplus"},
                set(),
                id="rates",
            ),
            pytest.param(
                "margin_ranking_loss",
                {"target_min": 0.0, "target_max": 1.0},
                {"loss_unsigned"},
                id="labels of nought and one where signs are due",
            ),
            pytest.param(
                "cosine_embedding_loss",
                {"target_min": -1.0, "target_max": 1.0},
                set(),
                id="signs where signs are due",
            ),
        ],
    )
    def test_each_misuse_has_its_own_flag(self, function, facts, expected) -> None:
        assert flags(function, **facts) == expected

    def test_a_flag_is_the_share_of_calls(self) -> None:
        found = calls({"shape_mismatch": True}, {}, function="mse_loss")["loss_broadcast"]
        assert found.values[0] == 0.5

    def test_shapes_that_broadcast_in_one_of_several_terms_are_told_at_its_output(self) -> None:
        found = [
            LossCall(step=step, function="difference", layer=layer, facts=facts)
            for step in range(3)
            for layer, facts in ((0, {}), (1, {"shape_mismatch": True}), (2, {}))
        ]
        run = builders.recording(builders.chain("actor", "value", "critic"), losses=tuple(found))
        told = mismatch_signals(run)["loss_broadcast"]
        assert (told.values.tolist(), told.layers) == ([[1.0]], (1,))

    def test_without_a_loss_call_nothing_is_said(self) -> None:
        assert mismatch_signals(builders.recording(steps=3)) == {}
