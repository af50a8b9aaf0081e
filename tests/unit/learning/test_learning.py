"""Learning: the table comes back as it went, the fit agrees with inference, and shipped numbers fit the detectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import first_sight
from benchmarks.cases import Job, Ran
from benchmarks.learning import rounds
from benchmarks.learning.cross import claim_map, folds, held_out, location_weights, restated
from benchmarks.learning.fit import Options, encode, fit, learned, scores
from benchmarks.learning.judge import Verdict, ece
from benchmarks.learning.strangers import CHECKED, read_sights, stranger_map, tables
from benchmarks.learning.table import PATH, Label, Row, digest, read_table, write_table
from neuraldbg.catalogue import DEFAULT, EXPERTS
from neuraldbg.catalogue.learned import from_json, shipped, to_json
from neuraldbg.explain.claims import Claim, stated_probability
from neuraldbg.inference.noisyor import build, enumerate_sets
from neuraldbg.records.event import StepSpan
from neuraldbg.records.evidence import Evidence, Finding, LocatedFinding
from neuraldbg.records.learned import ClaimMap
from tests import builders


def row(present: dict[str, float], *, mechanisms: tuple[str, ...] = (), family: str = "a") -> Row:
    findings = {
        d.name: Finding(
            event=d.name,
            present=d.name in present,
            weight=present.get(d.name, 0.8),
            onset=3 if d.name in present else None,
        )
        for d in EXPERTS.detectors
    }
    evidence = Evidence(
        findings=findings,
        context=frozenset({"momentum", "has_norm", "labelled"}),
        layers=("x",),
    )
    label = Label(
        id="r", family=family, seed=0, mechanisms=mechanisms, hurts=bool(mechanisms) or None
    )
    return Row(label=label, evidence=evidence, steps=100)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    found = LocatedFinding(layer="x", onset=4, strength=1.5)
    finding = Finding(event="layer_dead", present=True, weight=0.9, onset=4, at=(found,))
    one = row({"loss_stuck": 0.8}, mechanisms=("label_noise",))
    evidence = replace(
        one.evidence,
        findings={**one.evidence.findings, "layer_dead": finding},
        edges=(("x", "x"),),
        judged={"layer_dead": ("x",)},
        sites={("dropout", "x"): "body.drop", ("overflow", None): "head"},
    )
    label = replace(one.label, layers=("x",), onset=(0, 4), also=("dead_units",))
    written = [replace(one, evidence=evidence, label=label), row({})]

    assert list(read_table(write_table(written, tmp_path / "t.gz"))) == written


def test_scores_of_the_fit_are_those_of_the_inference_stage():
    # Before a single step the numbers are the experts', with every weight at its beginning.
    one = row({"update_ratio_high": 0.7, "lr_jumped": 1.0, "loss_spike": 0.5})
    numbers = fit([one], EXPERTS, Options(epochs=0, new=False, weight_prior=1.0))
    batch = encode([one], EXPERTS)
    with torch.no_grad():
        score = scores(numbers, batch)[0].numpy()

    network = build(one.evidence, EXPERTS.refined(learned(numbers, EXPERTS, corpus="")), None)
    members, expected = enumerate_sets(network, 1)
    mine = {tuple(np.flatnonzero(s)): v for s, v in zip(batch.sets.numpy(), score, strict=True)}
    names = [batch.causes.index(c) for c in network.causes]
    for chosen, value in zip(members, expected, strict=True):
        key = tuple(sorted(names[i] for i in np.flatnonzero(chosen)))
        assert mine[key] - mine[()] == pytest.approx(value - expected[0], abs=2e-2)


def test_an_exact_fact_of_one_mechanism_is_weighed_as_no_echo():
    numbers = fit([row({"loss_stuck": 0.5})], EXPERTS, Options(epochs=0, weight_prior=0.5))
    weight = dict(
        zip((d.name for d in EXPERTS.detectors), numbers.weight.detach().exp(), strict=True)
    )
    assert float(weight["overflow_in_half"]) == 1.0
    # Exact, and brought about by many; of one mechanism alone, and measured.
    assert float(weight["loss_nonfinite"]) == 0.5
    assert float(weight["gradient_decays_in_time"]) == 0.5


def test_learning_makes_the_labels_likelier():
    rows = [
        row({"loss_stuck": 0.8, "loss_slow": 0.6}, mechanisms=("label_noise",)) for _ in range(12)
    ]
    rows += [row({"loss_solved": 0.8}) for _ in range(12)]
    batch = encode(rows, EXPERTS)

    def likelihood(epochs: int) -> float:
        numbers = fit(rows, EXPERTS, Options(epochs=epochs))
        with torch.no_grad():
            log_p = torch.log_softmax(scores(numbers, batch), 1)
            return float(torch.logsumexp(log_p.masked_fill(~batch.right, -1e9), 1).sum())

    assert likelihood(40) > likelihood(0) + 1.0


def test_an_event_that_no_run_shows_counts_as_it_is_written():
    rows = [
        row({"loss_stuck": 0.8, "loss_slow": 0.6}, mechanisms=("label_noise",)) for _ in range(12)
    ]
    rows += [row({"loss_solved": 0.8}) for _ in range(12)]
    weights = learned(
        fit(rows, EXPERTS, Options(epochs=20)), EXPERTS, corpus="", temperature=2.0
    ).weights
    assert weights["normalization_forgets"] == 1.0
    assert weights["loss_stuck"] != 1.0


def test_a_label_means_the_variant_that_was_seen():
    seen = row({"normalization_flat": 0.9}, mechanisms=("degenerate_normalization",))
    batch = encode([seen], EXPERTS)
    right = {
        batch.causes[j]
        for members in batch.sets[batch.right[0]]
        for j in np.flatnonzero(members.numpy())
    }
    assert right == {"degenerate_normalization/flat"}


@pytest.mark.parametrize("seed", [0, 1])
def test_no_family_is_in_two_folds(seed):
    groups = folds([row({}, family=name) for name in "abcdefg"], 3, seed)
    assert sorted(name for group in groups for name in group) == list("abcdefg")


def test_another_seed_leaves_other_families_out_together():
    rows = [row({}, family=name) for name in "abcdefg"]
    assert {frozenset(g) for g in folds(rows, 3)} != {frozenset(g) for g in folds(rows, 3, 1)}


def test_unlisted_causes_are_not_weighed_down_like_one_mechanism():
    rows = [
        row({}, mechanisms=(name,))
        for name in ("label_noise", *["dead_units"] * 4, *["unknown_cause"] * 9)
    ]
    weight = encode(rows, EXPERTS).importance.tolist()
    assert weight == pytest.approx([2.5**0.5, *[0.625**0.5] * 4, *[1.0] * 9])


@pytest.mark.parametrize(
    ("strangers", "expected"),
    [
        pytest.param(2, 2.0, id="the smaller source counts as much as the larger"),
        pytest.param(1, 3.0, id="no run counts more than thrice"),
        pytest.param(4, 1.0, id="as many of either count as they are"),
    ],
)
def test_strangers_count_as_much_as_the_corpus(strangers: int, expected: float):
    ours, one = [row({}) for _ in range(4)], row({})
    theirs = replace(one, label=replace(one.label, source="strangers"))
    weight = encode([*ours, *[theirs] * strangers], EXPERTS).importance.tolist()
    assert weight == pytest.approx([1.0] * 4 + [expected] * strangers)


def test_what_is_learned_beside_is_judged_in_no_group():
    noisy = {"loss_stuck": 0.9, "loss_slow": 0.9}
    rows = [row({}, family="a"), row(noisy, family="b", mechanisms=("label_noise",))]
    one = row({"update_ratio_high": 0.9}, family="c", mechanisms=("learning_rate_too_high",))
    beside = [replace(one, label=replace(one.label, source="strangers"))] * 2

    held, _ = held_out(
        rows, EXPERTS, corpus="", options=Options(epochs=1), beside=beside, count=2, workers=1
    )

    assert sorted(v.label.family for h in held for v in h.verdicts) == ["a", "b"]


def test_places_are_learned_from_the_corpus_alone():
    sharp = row({"layer_dead": 0.9}, mechanisms=("dead_units",))
    evidence = replace(sharp.evidence, layers=("x", "y"))
    ours = replace(sharp, evidence=evidence, label=replace(sharp.label, layers=("x",)))
    theirs = replace(ours, label=replace(ours.label, layers=None, source="strangers"))

    alone = location_weights([ours], DEFAULT, 5)
    assert location_weights([ours, *[theirs] * 9], DEFAULT, 5) == alone


def test_rounds_are_rows_that_know_their_round_and_who_was_harmed():
    recording = builders.recording(step={"loss": [1.0] * 40})
    job = Job(source="", case="x", seed=0, fixed=False)
    label = Label(id="x", family="other", seed=0, mechanisms=("label_noise",))
    runs = [
        Ran(job=job, label=label, outcome={"metric": 1.0, "better": "lower"}, recording=recording),
        Ran(
            job=replace(job, fixed=True),
            label=replace(label, mechanisms=()),
            outcome={"metric": 0.99, "better": "lower"},
            recording=recording,
        ),
        Ran(job=replace(job, case="y"), label=label, outcome={}, recording=None, error="lost"),
    ]

    found = [r.label for r in rounds.rows(runs, family="outsiders")]

    assert [x.family for x in found] == ["outsiders", "outsiders"]
    assert [x.source for x in found] == ["strangers", "strangers"]
    assert [x.hurts for x in found] == [False, None]


def test_learned_numbers_survive_json():
    found = shipped()
    assert found is not None
    assert from_json(to_json(found)) == found


def test_shipped_numbers_were_learned_for_these_detectors():
    assert DEFAULT.learned is not None
    assert DEFAULT.learned.detectors == EXPERTS.fingerprint()
    assert DEFAULT.calibrated


def test_another_threshold_is_not_calibrated():
    loose = [replace(d, threshold=d.threshold * 2) for d in DEFAULT.detectors[:1]]
    assert not DEFAULT.with_(detectors=loose).calibrated


@pytest.mark.parametrize(
    ("surprise", "expected"),
    [
        pytest.param(0.1, 0.8, id="usual evidence is left as it is"),
        pytest.param(1.5, 0.595, id="evidence unlike the corpus lowers the claim"),
    ],
)
def test_novelty_lowers_a_claim(surprise: float, expected: float):
    # 0.595 = sigmoid(ln 4 - 2 * (1.5 - 1.0)).
    learned = ClaimMap(slope=1.0, offset=0.0, novelty=2.0, usual=1.0, cap=1.0)
    assert stated_probability(0.8, surprise, learned) == pytest.approx(expected, abs=1e-3)


def verdict(p: float, *, right: bool) -> Verdict:
    claim = Claim(
        mechanism="label_noise" if right else "dead_units",
        variant="v",
        layer=None,
        step=0,
        steps=StepSpan(0, 1),
        p_mechanism=p,
        probability=p,
    )
    label = Label(id="x", family="a", seed=0, mechanisms=("label_noise",), hurts=True)
    return Verdict(label=label, p_healthy=0.0, surprise=0.1, claims=(claim,))


def test_the_claim_map_brings_overconfident_claims_down():
    verdicts = [verdict(0.95, right=i % 2 == 0) for i in range(200)]
    learned = claim_map(verdicts)
    assert stated_probability(0.95, 0.1, learned) == pytest.approx(0.5, abs=0.1)


def test_a_verdict_is_restated_as_it_would_have_been_stated():
    found = ClaimMap(slope=0.5, offset=-1.0, novelty=2.0, usual=0.0, cap=0.99)
    (claim,) = restated(verdict(0.95, right=True), found).claims
    assert claim.probability == stated_probability(0.95, 0.1, found) < 0.95
    assert claim.p_mechanism == claim.probability


def sight(where: str, p: float, *, correct: bool) -> dict[str, object]:
    truth = "label_noise"
    return {
        "round": where,
        "p": p,
        "surprise": 0.1,
        "correct": correct,
        "hit": correct,
        "truth": truth,
    }


class TestStrangers:
    SIGHTS = (
        *(sight("old", 0.95, correct=i % 2 == 0) for i in range(200)),
        *(sight("new", 0.95, correct=True) for _ in range(200)),
    )

    @pytest.mark.parametrize(("without", "expected"), [("old", 0.99), ("new", 0.5)])
    def test_a_round_that_is_left_out_says_nothing(self, without, expected):
        found = stranger_map(self.SIGHTS, usual=1.0, without=(without,))
        assert stated_probability(0.95, 0.1, found) == pytest.approx(expected, abs=0.05)

    def test_a_round_is_told_through_a_map_of_the_others(self):
        by_round, bins = tables(self.SIGHTS, ClaimMap(cap=1.0))
        stated = {
            row[0]: row[by_round["columns"].index("stated, strangers")] for row in by_round["rows"]
        }
        assert stated["old"] > 0.9
        assert stated["new"] == pytest.approx(0.5, abs=0.05)
        assert sum(runs for _, runs, *_ in bins["rows"]) == 400

    def test_every_round_has_the_commit_that_judged_it(self):
        assert {row["round"] for row in read_sights()} == set(first_sight.ROUNDS)

    def test_every_round_but_the_one_that_checks_is_learned_from(self):
        found = {row.label.family for row in read_table(rounds.PATH)}
        assert found == set(first_sight.ROUNDS) - {CHECKED}

    def test_what_is_shipped_was_learned_from_the_tables_that_are_here(self):
        assert shipped().corpus == digest(PATH, rounds.PATH)

    def test_what_is_shipped_comes_from_all_rounds_but_the_one_that_checks_it(self):
        found = shipped().claim
        assert stranger_map(read_sights(), usual=found.usual, without=(CHECKED,)) == found

    def test_through_maps_of_other_rounds_what_is_stated_is_nearer_the_truth_than_the_posterior(
        self,
    ):
        # Pooled: a round alone is some forty runs, and its calibration error is as large as what it is to tell.
        sights, usual = read_sights(), shipped().claim.usual
        said, raw, right = [], [], []
        for name in dict.fromkeys(row["round"] for row in sights):
            others = stranger_map(sights, usual=usual, without=(name,))
            mine = [row for row in sights if row["round"] == name]
            said += [stated_probability(r["p"], r["surprise"], others) for r in mine]
            raw += [r["p"] for r in mine]
            right += [bool(r["correct"]) for r in mine]
        assert ece(said, right) < ece(raw, right)
        assert brier(said, right) < brier(raw, right)


def brier(said, right):
    return float(np.mean((np.array(said) - np.array(right)) ** 2))


def test_calibration_error_is_the_distance_between_said_and_right():
    assert ece([0.9] * 10, [True] * 7 + [False] * 3, bins=1) == pytest.approx(0.2)
