"""The corpus as a generator: what it covers, that it is repeatable, and that its labels are true."""

from collections import Counter, defaultdict

import pytest
import torch

from benchmarks.corpus.cases import fault_case, plain_case
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families import FAMILIES, draw_program
from benchmarks.corpus.loop import null_observe, train
from benchmarks.corpus.plan import feasible, plan
from benchmarks.corpus.run import jobs

# Section 2 of the design, typed again: the corpus must not decide by itself what there is to cover.
SLUGS = [
    "learning_rate_too_high",
    "learning_rate_too_low",
    "learning_rate_schedule_bug",
    "saturated_activations",
    "dead_units",
    "initialization_too_large",
    "initialization_too_small",
    "symmetric_initialization",
    "depth_attenuation",
    "depth_amplification",
    "unnormalized_inputs",
    "nonfinite_data",
    "corrupted_batch",
    "label_noise",
    "loss_output_mismatch",
    "gradients_not_cleared",
    "parameters_not_updated",
    "excessive_weight_decay",
    "excessive_momentum",
    "excessive_gradient_clipping",
    "half_precision_overflow",
    "half_precision_underflow",
    "low_precision_update_absorption",
    "attention_entropy_collapse",
    "degenerate_normalization",
    "excessive_dropout",
    "numerical_singularity",
    "stale_second_moment",
    "unnormalized_targets",
    "unknown_cause",
]


@pytest.fixture(scope="module")
def cases():
    torch.set_num_threads(1)
    return plan()


def _one_of_each_variant(cases):
    seen = {}
    for case in cases:
        if case.kind in {"fault", "unknown", "mild"}:
            seen.setdefault((case.injected[0]["mechanism"], case.injected[0]["variant"]), case)
    return list(seen.values())


def test_there_are_at_least_eighteen_families():
    assert len(FAMILIES) >= 18


def test_every_mechanism_of_the_design_is_injected(cases):
    found = {
        f["mechanism"] for case in cases if case.kind in {"fault", "unknown"} for f in case.injected
    }
    assert found == set(SLUGS)


def test_every_mechanism_that_any_model_can_have_appears_in_most_families(cases):
    families = defaultdict(set)
    for case in cases:
        if case.kind == "fault":
            families[case.injected[0]["mechanism"]].add(case.family)
    anywhere = ("learning_rate_too_high", "gradients_not_cleared", "learning_rate_too_low")
    assert min(len(families[m]) for m in anywhere) >= 18


def test_ids_are_unique(cases):
    assert max(Counter(case.id for case in cases).values()) == 1


def test_runs_are_unique_and_every_twin_is_among_them(cases):
    runs = [job[0] for job in jobs()]
    assert len(runs) == len(set(runs))
    assert {case.twin_id for case in cases} <= set(runs)


def test_at_least_a_third_of_all_runs_is_healthy(cases):
    faulty = sum(case.kind in {"fault", "unknown", "pair", "mild"} for case in cases)
    assert faulty <= len(jobs()) * 2 / 3


def test_healthy_cases_name_no_mechanism(cases):
    healthy = [case for case in cases if case.kind in {"plain", "odd"}]
    assert healthy
    assert all(case.truth["mechanisms"] == [] for case in healthy)


def test_the_same_key_draws_the_same_choices():
    first, second = Draw("a", 1), Draw("a", 1)
    assert [first.log(1e-3, 1) for _ in range(5)] == [second.log(1e-3, 1) for _ in range(5)]
    assert Draw("a", 2).log(1e-3, 1) != Draw("a", 1).log(1e-3, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_program_does_not_depend_on_what_was_drawn_before(family):
    again = draw_program.__wrapped__(family, 3)
    assert (again.lr, again.steps, again.config) == (
        draw_program(family, 3).lr,
        draw_program(family, 3).steps,
        draw_program(family, 3).config,
    )


@pytest.mark.parametrize("family", ["mlp_relu", "lstm", "gan", "diffusion", "vae", "cnn_norm"])
def test_the_same_seed_gives_the_same_run(family):
    program = plain_case(family, 1).broken.but(steps=6)
    first, second = (train(program, null_observe, 5) for _ in range(2))
    assert first["losses"] == second["losses"]
    assert first["metric"] == second["metric"]


def test_another_seed_gives_another_run():
    program = plain_case("mlp_relu", 1).broken.but(steps=4)
    assert train(program, null_observe, 5)["losses"] != train(program, null_observe, 6)["losses"]


def test_the_seed_decides_the_weights_too():
    program = plain_case("mlp_relu", 1).broken.but(steps=1, sampling="ordered")
    assert train(program, null_observe, 5)["losses"] != train(program, null_observe, 6)["losses"]


def test_every_variant_and_its_twin_run(cases):
    for case in _one_of_each_variant(cases):
        for program in (case.broken, case.healthy):
            result = train(program.but(steps=2), null_observe, case.number)
            assert len(result["losses"]) == 2, (case.id, result["crashed"])


def test_every_oddity_runs(cases):
    seen = {}
    for case in cases:
        if case.kind == "odd":
            seen.setdefault(case.title, case)
    assert len(seen) >= 40
    for case in seen.values():
        result = train(case.broken.but(steps=2), null_observe, 0)
        assert result["crashed"] is None, case.id


def test_layers_of_the_truth_exist_in_the_model(cases):
    models = {}
    for case in cases:
        layers = case.truth.get("layers")
        if not layers:
            continue
        key = (case.broken.model, str(case.broken.config))
        if key not in models:
            models[key] = dict(case.broken.model(**case.broken.config).named_modules())
        missing = set(layers) - set(models[key])
        assert not missing, (case.id, missing)


def test_onsets_lie_inside_the_run(cases):
    for case in cases:
        onset = case.truth.get("onset")
        first, last = onset if isinstance(onset, tuple) else (onset or 0, onset or 0)
        assert 0 <= first <= last < case.broken.steps, case.id


LATE = [
    ("mlp_relu", "nonfinite_data"),
    ("lstm", "nonfinite_data"),
    ("cnn_plain", "corrupted_batch"),
    ("transformer_lm", "corrupted_batch"),
    ("tabular", "corrupted_batch"),
    ("recommender", "learning_rate_schedule_bug.jump"),
    ("rnn", "gradients_not_cleared.later"),
    ("bag_text", "label_noise.misaligned"),
    ("mlp_smooth", "parameters_not_updated.never_steps"),
]


@pytest.mark.parametrize(("family", "name"), LATE)
def test_until_a_late_fault_begins_the_run_equals_its_twin(family, name):
    mechanism, _, variant = name.partition(".")
    case = next(c for c in _late_cases(family, mechanism, variant) if c is not None)
    onset = case.truth["onset"]
    first = onset[0] if isinstance(onset, tuple) else onset
    steps = first + 3
    broken, healthy = (
        train(p.but(steps=steps), null_observe, 0)["losses"] for p in (case.broken, case.healthy)
    )
    assert broken[:first] == healthy[:first]
    # A change of a step shows in the loss of the next one at the latest.
    assert broken[first : first + 2] != healthy[first : first + 2]


def _late_cases(family, mechanism, variant):
    if not variant:
        yield from (c for c in feasible(family, mechanism, 3) if _first(c) > 0)
        return
    for number in range(10):
        case = fault_case(family, f"{mechanism}.{variant}", number)
        if case is not None and _first(case) > 0 and case.healthy.schedule is None:
            yield case


def _first(case):
    onset = case.truth["onset"]
    return onset[0] if isinstance(onset, tuple) else onset or 0


def test_a_pair_holds_two_mechanisms_and_both_of_their_places(cases):
    pairs = [case for case in cases if case.kind == "pair"]
    assert len(pairs) >= 50
    for case in pairs:
        kinds = {f["mechanism"] for f in case.injected}
        assert len(kinds) == 2
        assert kinds <= set(case.truth["mechanisms"])
        for fault in case.injected:
            assert set(fault["layers"] or ()) <= set(case.truth["layers"] or ())


def test_an_error_inside_the_loop_is_a_result_and_not_a_crash():
    def fails(_model, _optimizer, step, _memo):
        if step == 2:
            msg = "loss is NaN"
            raise ValueError(msg)

    program = plain_case("mlp_relu", 0).broken.but(steps=5).plus(after_step=fails)
    result = train(program, null_observe, 0)
    assert result["crashed"] == "ValueError: loss is NaN"
    assert len(result["losses"]) == 2
