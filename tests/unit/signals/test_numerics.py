"""Where and how the first non-finite value was born."""

from dataclasses import replace

import pytest

from neuraldbg.records.recording import Occurrence, OptimizerInfo, Recording
from neuraldbg.signals.context import context_flags
from neuraldbg.signals.numerics import numeric_signals
from tests import builders

NAN = float("nan")


def derived(*occurrences, loss=None, absmax=None, **facts):
    steps = 20
    return numeric_signals(
        builders.recording(
            builders.chain("a", "b"),
            steps=steps,
            step={"loss": loss} if loss else {},
            layer={"act_absmax": {"a": absmax}} if absmax else {},
            occurrences=occurrences,
            facts=facts,
        )
    )


def born(kind, step=10, layer=-1, **facts) -> Occurrence:
    return Occurrence(step=step, kind=kind, layer=layer, facts=facts)


def test_what_was_watched_for_and_did_not_happen_is_a_zero_and_not_unknown() -> None:
    found = derived()
    assert found["nonfinite_forward"].values.tolist() == [0.0]
    assert found["risky_op"].observed.tolist() == [True]


def test_what_was_not_watched_for_is_unknown() -> None:
    assert derived(exact_numerics=False) == {}


def test_numbers_beyond_float16_are_told_where_they_were_met() -> None:
    run = builders.recording(
        builders.chain("a", "b"), sampled=[0, 1], layer={"half_overflow": {"b": [0.0, 1.0]}}
    )
    found = numeric_signals(run)["half_overflow"]
    assert found.values[found.observed].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(2.0**-24, 1.0, id="the least of float16"),
        pytest.param(2.0**-10, 2.0**-14, id="far above it"),
        pytest.param(0.0, 1e3, id="nothing is left"),
    ],
)
def test_gradients_in_float16_are_told_by_the_least_that_it_holds(size, expected) -> None:
    cells = {"grad_is_half": {"a": [1.0]}, "out_grad_rms": {"a": [size], "b": [size]}}
    found = numeric_signals(builders.recording(builders.chain("a", "b"), sampled=[0], layer=cells))
    series = found["half_gradient_small"]
    assert series.values[series.observed].tolist() == pytest.approx([expected])


def test_gradients_in_float32_are_not() -> None:
    run = builders.recording(builders.chain("a"), sampled=[0], layer={"out_grad_rms": {"a": [0.0]}})
    assert "half_gradient_small" not in numeric_signals(run)


def test_an_empty_recording_says_nothing() -> None:
    assert numeric_signals(Recording()) == {}


def test_a_birth_in_a_layer_is_told_there() -> None:
    found = derived(born("nonfinite_forward", layer=1, op="add"))["nonfinite_forward"]
    assert (found.steps.tolist(), found.values.tolist(), found.layers) == ([10], [[1.0]], (1,))


def test_a_birth_without_a_layer_is_told_of_the_run() -> None:
    assert derived(born("nonfinite_input"))["nonfinite_input"].layers is None


@pytest.mark.parametrize(
    ("operation", "singular"),
    [("log", 1.0), ("sqrt", 1.0), ("div", 1.0), ("Log_Softmax", 1.0), ("add", 0.0), ("mm", 0.0)],
)
def test_singular_operations_are_known_by_name(operation: str, singular: float) -> None:
    found = derived(born("nonfinite_forward", op=operation))["nonfinite_singular_op"]
    assert found.values.reshape(-1).tolist() == [singular]


def test_a_birth_in_the_backward_pass_counts_where_the_forward_pass_was_clean() -> None:
    found = derived(born("nonfinite_gradient", layer=0))
    assert found["growth_before_nonfinite"].steps.tolist() == [10]


class TestGrowth:
    def grown(self, **more) -> float:
        found = derived(born("nonfinite_forward"), **more)["growth_before_nonfinite"]
        return float(found.values[0])

    def test_a_loss_that_climbed_to_its_overflow_grew_by_decades(self) -> None:
        assert self.grown(loss=[1.0] * 7 + [10.0, 1e3, 1e5] + [NAN] * 10) == pytest.approx(5.0)

    def test_a_nan_out_of_nothing_did_not_grow(self) -> None:
        assert self.grown(loss=[1.0] * 10 + [NAN] * 10) == 0.0

    def test_activations_count_where_the_loss_was_quiet(self) -> None:
        grown = self.grown(loss=[1.0] * 20, absmax=[1.0] * 8 + [1e4, 1e6] + [NAN] * 10)
        assert grown == pytest.approx(6.0, abs=1e-5)

    def test_what_activations_gained_while_the_model_learnt_is_behind_it(self) -> None:
        learnt = [0.05, 0.05, 0.05, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        assert self.grown(absmax=learnt + [NAN] * 10) == pytest.approx(0.0, abs=1e-5)

    def test_with_nothing_measured_before_nothing_grew(self) -> None:
        assert self.grown() == 0.0


def test_risky_and_detached_operations_are_told_where_they_were() -> None:
    found = derived(born("risky_op", layer=0, op="sqrt"), born("detached", layer=1))
    assert found["risky_op"].layers == (0,)
    assert found["detached"].layers == (1,)


@pytest.mark.parametrize("half", [True, False], ids=["in half precision", "in full precision"])
def test_a_birth_says_whether_the_value_was_a_float16(half) -> None:
    found = derived(born("nonfinite_forward", layer=1, op="AddBackward0", half=half))
    assert found["nonfinite_half"].values.tolist() == [[float(half)]]


@pytest.mark.parametrize("name", ["nonfinite_half", "nonfinite_singular_op"])
def test_what_is_not_known_of_a_birth_is_not_observed(name) -> None:
    assert name in derived()
    assert name not in derived(born("nonfinite_gradient", layer=1), loss=[2.0] * 20)


@pytest.mark.parametrize(
    ("kind", "loss", "autocast", "told"),
    [
        ("nonfinite_gradient", 2.0**22, "float16", [[1.0]]),
        ("nonfinite_gradient", 2.0**22, "bfloat16", None),
        ("nonfinite_gradient", 2.0, "float16", None),
        ("nonfinite_forward", 2.0**22, "float16", None),
    ],
    ids=["beyond float16", "within bfloat16", "an ordinary loss", "born before the loss"],
)
def test_gradients_of_a_loss_beyond_half_precision_overflow(kind, loss, autocast, told) -> None:
    found = derived(born(kind, layer=1), loss=[loss] * 20, autocast=autocast).get("nonfinite_half")
    assert (found and found.values.tolist()) == told


@pytest.mark.parametrize(
    ("dtype", "eps", "lost"),
    [
        pytest.param("float16", 1e-8, 1.0, id="the default among float16"),
        pytest.param("float16", 1e-4, 0.0, id="one that float16 holds"),
        pytest.param("bfloat16", 1e-8, 0.0, id="bfloat16 holds it"),
        pytest.param("float32", 1e-8, 0.0, id="float32 holds it"),
    ],
)
def test_weights_that_a_step_spoilt_tell_of_an_epsilon_that_is_zero(dtype, eps, lost) -> None:
    drawn = builders.chain("a", "b")
    params = tuple(replace(p, dtype=dtype, group=0) for p in drawn.params)
    adam = OptimizerInfo(type="Adam", family="adam", groups=(0,), defaults={"eps": eps})
    run = replace(
        builders.recording(
            replace(drawn, params=params), steps=20, occurrences=(born("nonfinite_parameter"),)
        ),
        optimizers=(adam,),
    )
    assert numeric_signals(run)["nonfinite_step"].values.tolist() == [lost]
    # Where a value was born in a pass the step did not make it.
    earlier = replace(run, occurrences=(born("nonfinite_forward", step=9), *run.occurrences))
    assert numeric_signals(earlier)["nonfinite_step"].values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("autocast", "holds"), [("float16", True), ("bfloat16", False), ("", False)]
)
def test_only_a_float16_has_its_narrow_range(autocast, holds) -> None:
    found = context_flags(
        builders.recording(builders.chain("a", "b"), steps=3, facts={"autocast": autocast})
    )
    assert ("fp16" in found) == holds
