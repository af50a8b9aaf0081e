"""Detectors on hand-made series: when an event is born, and what is said of it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.events import find_events, gather_evidence
from neuraldbg.records.event import StepSpan
from neuraldbg.records.recording import LossCall
from tests import builders

NAN, INF = float("nan"), float("inf")


def found(
    values, *, observed=None, steps=None, layers=None, topology=None, length=None, **detector
):
    """Return the events of one detector on one series."""
    series = builders.series(values, observed, steps=steps, layers=layers)
    run = builders.signals({"x": series}, topology, steps=length or series.steps.size)
    catalogue = builders.catalogue([builders.detector("high", **detector)], [])
    return find_events(run, catalogue)


def evidence_of(values, *, observed=None, steps=None, layers=None, topology=None, **detector):
    series = builders.series(values, observed, steps=steps, layers=layers)
    run = builders.signals({"x": series}, topology, steps=series.steps.size)
    catalogue = builders.catalogue([builders.detector("high", **detector)], [])
    return gather_evidence(run, find_events(run, catalogue), catalogue)


def test_who_is_fed_what_was_seen_in_the_data_is_kept_by_event() -> None:
    detectors = [builders.detector("high"), builders.detector("also_high")]
    catalogue = builders.catalogue(detectors, [])
    for value, expected in ((2.0, {"high": "side", "also_high": "side"}), (0.5, {})):
        run = builders.signals({"x": builders.series([value])}, None, steps=1)
        run = replace(run, numbers={"x_at": "side"})
        sites = gather_evidence(run, find_events(run, catalogue), catalogue).sites
        assert sites == {(name, None): layer for name, layer in expected.items()}


class TestWhen:
    def test_nothing_abnormal_gives_no_event(self) -> None:
        assert found([0.0, 0.5, 0.99]) == ()

    def test_the_threshold_itself_is_abnormal(self) -> None:
        (event,) = found([0.0, 1.0, 0.0])
        assert event.span == StepSpan(1, 2)
        assert event.strength == 0.0

    def test_below_is_abnormal_where_the_detector_says_so(self) -> None:
        (event,) = found([2.0, 0.5, 2.0], side="below")
        assert event.span == StepSpan(1, 2)

    def test_a_regime_must_last(self) -> None:
        assert found([2.0, 0.0, 2.0, 2.0, 0.0], patience=3) == ()

    def test_repeated_spans_fold_into_one_event_that_counts_them(self) -> None:
        (event,) = found([2, 2, 0, 2, 2, 0, 0, 2, 2], patience=2)
        assert event.span == StepSpan(0, 9)
        assert event.facts["times"] == 3

    def test_unmeasured_points_neither_break_nor_prolong_a_regime(self) -> None:
        seen = [True, False, True, False, True, True]
        (event,) = found([2, 0, 2, 0, 2, 0], observed=seen, patience=3)
        assert event.span == StepSpan(0, 5)
        assert event.facts["times"] == 1
        assert found([2, 2, 2, 2, 0, 0], observed=seen, patience=3) == ()

    def test_steps_are_those_of_the_run_and_not_rows(self) -> None:
        (event,) = found([0.0, 2.0, 2.0], steps=[0, 50, 100])
        assert event.span == StepSpan(50, 101)
        assert event.id == "high@run#50"

    def test_until_judges_only_the_beginning(self) -> None:
        assert found([0.0, 2.0], until=1) == ()
        (event,) = found([2.0, 0.0], until=1)
        assert event.span.first == 0

    def test_since_judges_only_what_follows(self) -> None:
        assert found([2.0, 0.0, 0.0], since=1) == ()

    def test_what_holds_from_the_start_has_no_regime_before_it(self) -> None:
        (event,) = found([2.0, 2.0])
        assert event.before == "start"

    def test_what_begins_later_left_a_healthy_regime(self) -> None:
        (event,) = found([0.0, 2.0])
        assert event.before == "healthy"

    def test_the_start_is_the_first_measured_point(self) -> None:
        (event,) = found([0.0, 2.0, 2.0], observed=[False, True, True])
        assert event.before == "start"

    def test_one_number_about_the_run_lasts_to_its_end(self) -> None:
        (event,) = found([2.0], steps=[0], length=30)
        assert event.span == StepSpan(0, 30)
        assert event.facts["whole_run"]

    def test_a_numerical_birth_is_a_moment(self) -> None:
        (event,) = found([2.0], steps=[7], length=30, kind="numerics")
        assert event.span == StepSpan(7, 8)
        assert not event.facts["whole_run"]

    def test_a_signal_that_is_not_there_gives_no_event(self) -> None:
        assert found([2.0], reads="another") == ()

    def test_a_series_without_rows_gives_no_event(self) -> None:
        assert found(np.zeros(0)) == ()


class TestHowMuch:
    def test_strength_is_decades_on_a_logarithmic_scale(self) -> None:
        (event,) = found([1000.0], scale="log", threshold=10.0)
        assert event.strength == pytest.approx(2.0)

    def test_strength_is_units_of_the_threshold_on_a_linear_scale(self) -> None:
        (event,) = found([5.0], threshold=2.0)
        assert event.strength == pytest.approx(1.5)

    def test_the_worst_value_is_quoted(self) -> None:
        (event,) = found([2.0, 7.0, 3.0])
        assert event.value == 7.0

    def test_the_worst_value_below_is_the_smallest(self) -> None:
        (event,) = found([0.5, 0.1, 0.3], side="below")
        assert event.value == pytest.approx(0.1)

    @pytest.mark.parametrize("scale", ["log", "linear"])
    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    def test_a_measured_non_finite_value_is_above_every_threshold(self, bad, scale) -> None:
        (event,) = found([bad], scale=scale, threshold=1e6)
        assert event.value is None
        assert math.isfinite(event.strength)

    @pytest.mark.parametrize("scale", ["log", "linear"])
    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    def test_a_measured_non_finite_value_is_below_none(self, bad, scale) -> None:
        assert found([bad], scale=scale, side="below", threshold=1e-6) == ()

    def test_an_unobserved_nan_is_no_event(self) -> None:
        assert found([NAN, 0.0], observed=[False, True]) == ()

    def test_an_exact_fact_counts_in_full(self) -> None:
        (event,) = found([1.0], reliability=1.0)
        assert event.confidence == 1.0

    def test_a_reading_on_its_threshold_counts_half_of_its_reliability(self) -> None:
        (event,) = found([1.0], reliability=0.8)
        assert event.confidence == pytest.approx(0.4)

    def test_a_reading_far_beyond_counts_as_its_detector_is_reliable(self) -> None:
        (event,) = found([100.0], reliability=0.8)
        assert event.confidence == pytest.approx(0.8)

    def test_a_share_at_its_limit_counts_in_full_though_close_to_its_threshold(self) -> None:
        # 1.0 is only 0.11 units above 0.9, but a share cannot go further.
        (event,) = found([1.0], threshold=0.9, limit=1.0, reliability=0.8)
        assert event.confidence == pytest.approx(0.8)


class TestWhere:
    def test_each_layer_has_an_event_of_its_own(self) -> None:
        topology = builders.chain("a", "b", "c")
        events = found([[0, 2, 2], [0, 2, 0]], layers=(0, 1, 2), topology=topology)
        assert [(e.layer, e.span.stop) for e in events] == [("b", 2), ("c", 1)]

    def test_events_come_in_order_of_onset_and_then_of_execution(self) -> None:
        topology = builders.chain("first", "second")
        events = found([[0, 2], [2, 2]], layers=(0, 1), topology=topology)
        assert [e.layer for e in events] == ["second", "first"]
        together = found([[2, 2]], layers=(1, 0), topology=topology)
        assert [e.layer for e in together] == ["first", "second"]

    def test_the_root_module_is_a_layer_and_not_the_run(self) -> None:
        topology = builders.chain("", "head")
        (event,) = found([[2, 0]], layers=(0, 1), topology=topology)
        assert (event.layer, event.id) == ("", "high@model#0")


class TestEvidence:
    def test_an_unobserved_type_is_left_out(self) -> None:
        assert dict(evidence_of([2.0], observed=[False]).findings) == {}

    def test_a_type_outside_its_window_is_unobserved_and_not_absent(self) -> None:
        assert dict(evidence_of([0.0, 0.0], since=5).findings) == {}

    def test_a_quiet_signal_is_an_absence_that_counts(self) -> None:
        finding = evidence_of([0.0, 0.1]).findings["high"]
        assert (finding.present, finding.onset, finding.at) == (False, None, ())
        assert finding.weight == pytest.approx(0.9)

    def test_an_absence_next_to_the_threshold_counts_half(self) -> None:
        finding = evidence_of([0.999999]).findings["high"]
        assert finding.weight == pytest.approx(0.45, abs=1e-3)

    def test_a_presence_has_the_earliest_onset_and_every_layer(self) -> None:
        topology = builders.chain("a", "b")
        finding = evidence_of([[0, 2], [9, 2]], layers=(0, 1), topology=topology).findings["high"]
        assert finding.present
        assert finding.onset == 0
        assert {(f.layer, f.onset) for f in finding.at} == {("a", 1), ("b", 0)}

    def test_layers_that_could_be_judged_are_named(self) -> None:
        topology = builders.chain("a", "b")
        said = evidence_of([[0.0, 0.0]], observed=[[True, False]], layers=(0, 1), topology=topology)
        assert dict(said.judged) == {"high": ("a",)}

    def test_the_dataflow_is_passed_on_by_name(self) -> None:
        said = evidence_of([[0.0, 0.0]], layers=(0, 1), topology=builders.chain("a", "b"))
        assert said.layers == ("a", "b")
        assert said.edges == (("a", "b"),)

    @pytest.mark.parametrize(("value", "named"), [(2.0, ("a", "b")), (0.0, ("b",))])
    def test_a_layer_without_parameters_can_be_named_where_something_was_found(self, value, named):
        chain = builders.chain("a", "b")
        bare = replace(chain, layers=(replace(chain.layers[0], params=()), chain.layers[1]))
        assert evidence_of([[value, 0.0]], layers=(0, 1), topology=bare).layers == named

    def test_a_passing_moment_without_patience_is_absent(self) -> None:
        finding = evidence_of([0, 2, 0, 0, 0], patience=3).findings["high"]
        assert not finding.present
        assert finding.weight == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("kind", "loss_at", "told"),
    [
        ("activation", 2, {("made_by", "b"): "c"}),
        ("linear", 2, {}),
        ("activation", 1, {}),
        ("activation", -1, {}),
    ],
    ids=["an activation before the loss", "a layer", "the loss takes another", "unknown"],
)
def test_the_activation_that_makes_a_prediction_is_known_by_the_layer_before_it(
    kind: str, loss_at: int, told
) -> None:
    plain = builders.chain("a", "b", "c")
    last = replace(plain.layers[2], kind=kind)
    run = builders.recording(
        replace(plain, layers=(*plain.layers[:2], last)),
        losses=(LossCall(step=0, function="cross_entropy", layer=loss_at),),
    )
    found = gather_evidence(builders.signals({}, source=run), (), builders.catalogue([], []))
    assert found.sites == told
