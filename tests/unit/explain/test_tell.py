"""Explanations: how many, how long, in which order, and what a healthy run says."""

from dataclasses import replace

import pytest

from neuraldbg.explain import about, explanations, healthy_reason, tell
from neuraldbg.records.diagnosis import CausalHypothesis, Coverage, Diagnosis
from neuraldbg.records.event import StepSpan
from tests import builders


def hypothesis(mechanism="learning_rate_too_high", p=0.9, **changes) -> CausalHypothesis:
    fields = {
        "layer": None,
        "step": 5,
        "steps": StepSpan(3, 6),
        "probability": p,
        "p_mechanism": p,
        "place": "the optimizer",
        "claim": "learning rate too high",
        "symptom": "Loss divergence",
        "failure": "loss_divergence",
        "evidence_for": ("it grew",),
        "remedy": "lower it",
        "story": "It went up and away.",
        "direction": "all layers at once",
    }
    return CausalHypothesis(mechanism=mechanism, **(fields | changes))


def told(*claims, healthy=False) -> list[str]:
    return [e.hypothesis.mechanism for e in explanations(claims, {}, healthy=healthy)]


class TestHowMany:
    def test_a_healthy_run_gets_none(self) -> None:
        assert told(hypothesis(), healthy=True) == []

    def test_without_a_claim_there_is_none(self) -> None:
        assert told() == []

    def test_one_failure_gets_one_explanation(self) -> None:
        assert told(hypothesis("a", 0.9), hypothesis("b", 0.4), hypothesis("c", 0.3)) == ["a"]

    def test_a_rival_as_likely_as_not_is_told_too(self) -> None:
        assert told(hypothesis("a", 0.9), hypothesis("b", 0.6)) == ["a", "b"]

    def test_where_the_first_is_unsure_its_rivals_are_told(self) -> None:
        assert told(hypothesis("a", 0.4), hypothesis("b", 0.3), hypothesis("c", 0.1)) == ["a", "b"]

    def test_a_state_beside_the_root_that_was_there_before_it_is_part_of_its_story(self) -> None:
        root = hypothesis("root", 0.9, role="root", step=5)
        state = hypothesis("state", 0.8, role="state", step=9)
        assert told(root, state) == ["root"]

    def test_a_state_that_began_before_the_root_is_a_failure_of_its_own(self) -> None:
        root = hypothesis("root", 0.9, role="root", step=5)
        state = hypothesis("state", 0.8, role="state", step=0)
        assert told(root, state) == ["root", "state"]

    def test_at_most_three_are_told(self) -> None:
        assert len(told(*(hypothesis(n, 0.9) for n in "abcdef"))) == 3


def lines(claim, rivals=()) -> list[str]:
    return tell(claim, (claim, *rivals), None).details.splitlines()


class TestDetails:
    def test_every_heading_of_the_contract_has_its_place(self) -> None:
        # design.md section 2 and issue 2.6: what, where, when, direction, because, ruled out, try, unobserved
        claim = hypothesis(
            layer="fc",
            evidence_against=("not seen: that",),
            look_alikes=("other",),
            equivalent_to=("twin",),
            experiment="swap them",
            not_observed=("the labels",),
        )
        headings = [line[:14].strip() for line in lines(claim)]
        assert headings == [
            "what",
            "where",
            "when",
            "direction",
            "how",
            "because",
            "against",
            "ruled out",
            "cannot tell",
            "experiment",
            "try this",
            "read on",
            "not observed",
        ]

    def test_the_longest_explanation_has_at_most_25_lines(self) -> None:
        many = tuple(f"clause {i}" for i in range(9))
        claim = hypothesis(
            layer="fc",
            evidence_for=many,
            evidence_against=many,
            not_observed=many,
            look_alikes=many,
            equivalent_to=("twin",),
            experiment="swap them",
        )
        assert len(lines(claim)) <= 25

    def test_what_has_no_content_has_no_line(self) -> None:
        text = "\n".join(lines(hypothesis(story="", direction="")))
        assert "ruled out" not in text
        assert "\nhow" not in text

    def test_a_certain_onset_is_not_told_as_an_interval(self) -> None:
        assert lines(hypothesis(steps=StepSpan(5, 6)))[2].split(maxsplit=1)[1] == "step 5"
        assert "(between 3 and 5)" in lines(hypothesis())[2]

    def test_the_place_is_told_with_its_probability_only_where_there_is_a_layer(self) -> None:
        assert lines(hypothesis())[1].endswith("the optimizer")
        assert (
            "p of mechanism and place = 0.40" in lines(hypothesis(layer="fc", probability=0.4))[1]
        )

    @pytest.mark.parametrize(
        ("count", "said", "named"),
        [
            pytest.param(0, "layer 'fc'", "", id="none"),
            pytest.param(1, "layer 'fc' and 1 other layer", "also 'l0'", id="one"),
            pytest.param(6, "layer 'fc' and 6 other layers", "'l5'", id="as many as are named"),
            pytest.param(9, "layer 'fc' and 9 other layers", "'l5' and 3 more", id="many"),
        ],
    )
    def test_further_layers_are_counted_and_the_first_ones_named(self, count, said, named) -> None:
        claim = hypothesis(layer="fc", others=tuple(f"l{i}" for i in range(count)))
        assert f"originated in {said} at step" in str(claim)
        first, second = lines(claim)[1:3]
        assert first.split(maxsplit=1)[1].startswith(f"{said}, p of")
        assert second.strip().endswith(named) if count else second.startswith("when")

    def test_calibration_is_said(self) -> None:
        assert lines(hypothesis())[0].endswith("p = 0.90, not calibrated")
        assert lines(hypothesis(calibrated=True))[0].endswith("p = 0.90, calibrated")


class TestRuledOut:
    def test_a_look_alike_of_little_probability_is_ruled_out_with_the_reason(self) -> None:
        rival = hypothesis("other", 0.05, evidence_against=("not seen: that",))
        text = "\n".join(lines(hypothesis(look_alikes=("other",)), (rival,)))
        assert "ruled out     other (p = 0.050): not seen: that" in text

    def test_a_look_alike_that_has_no_claim_at_all_is_ruled_out(self) -> None:
        text = "\n".join(lines(hypothesis(look_alikes=("other",))))
        assert "other (p < 0.001)" in text

    def test_a_look_alike_that_is_still_possible_is_not_ruled_out(self) -> None:
        text = "\n".join(lines(hypothesis(look_alikes=("other",)), (hypothesis("other", 0.2),)))
        assert "ruled out" not in text

    def test_what_cannot_be_told_apart_is_not_ruled_out(self) -> None:
        claim = hypothesis(look_alikes=("other",), equivalent_to=("other",), experiment="swap")
        text = "\n".join(lines(claim, (hypothesis("other", 0.05),)))
        assert "ruled out" not in text
        assert "does not separate it from other" in text


def test_the_answer_to_why_something_happened_opens_with_that() -> None:
    why = about(hypothesis(), "vanishing_gradients")
    assert str(why).startswith("Gradient vanishing originated in the optimizer at step 5")
    assert why.probability == 0.9


class TestReason:
    def diagnosis(self, p_healthy, *events, steps=100) -> Diagnosis:
        return Diagnosis(
            p_healthy=p_healthy,
            p_unknown=0.0,
            events=events,
            coverage=Coverage(steps=steps, layers_seen=4),
        )

    def test_no_step_is_nothing_to_judge(self) -> None:
        assert healthy_reason(self.diagnosis(0.99, steps=0)).startswith(
            "no optimizer step was seen"
        )

    def test_a_quiet_run_says_how_much_was_looked_at(self) -> None:
        assert healthy_reason(self.diagnosis(0.97)) == (
            "the run looks healthy (p = 0.97): no sign of failure in 100 steps and 4 layers"
        )

    def test_a_harmless_failure_is_named(self) -> None:
        spike = builders.event("spike", "loss_dynamics", failure="loss_spike")
        assert "loss spike did not hurt" in healthy_reason(self.diagnosis(0.8, spike))

    def test_an_event_that_is_no_failure_is_no_sign_of_one(self) -> None:
        solved = builders.event("solved", "loss_dynamics")
        assert "no sign of failure" in healthy_reason(self.diagnosis(0.8, solved))

    def test_a_sick_run_names_its_failures_gravest_first(self) -> None:
        spike = builders.event("spike", "loss_dynamics", failure="loss_spike")
        nan = builders.event("nan", "numerics", failure="nonfinite_values")
        assert healthy_reason(self.diagnosis(0.02, spike, nan)) == (
            "the run needs an explanation (p of healthy = 0.02): non-finite values, loss spike"
        )

    def test_a_sick_run_without_a_named_failure_counts_its_events(self) -> None:
        odd = builders.event("odd", "data_anomaly")
        assert healthy_reason(self.diagnosis(0.4, odd)).endswith("1 unusual events")


def test_the_chain_goes_with_its_own_claim() -> None:
    from neuraldbg.records.diagnosis import CausalChain

    mine = CausalChain(failure="loss_divergence", reason="none")
    (first,) = explanations((hypothesis("a"),), {"a": mine}, healthy=False)
    assert first.chain is mine
    (second,) = explanations((hypothesis("b"),), {"a": mine}, healthy=False)
    assert second.chain is None


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_probabilities_are_printed_with_two_digits(p: float) -> None:
    assert f"(confidence: {p:.2f})" in str(replace(hypothesis(), probability=p))
