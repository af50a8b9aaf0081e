"""Onset, interval and stated probability of a claim."""

from dataclasses import replace

import pytest

from neuraldbg.explain.claims import claims, stack_of, stated_probability, telling
from neuraldbg.records.catalogue import Effect
from neuraldbg.records.learned import ClaimMap, Learned, OnsetError
from tests import builders
from tests.unit.explain.conftest import CATALOGUE, seen


def learned(**parts) -> Learned:
    empty = {k: {} for k in ("links", "factors", "priors", "leaks", "weights")}
    return Learned(detectors="", corpus="", **empty, **parts)


def first(world, catalogue=CATALOGUE):
    return claims(world.posterior, world.evidence, catalogue)[0]


def test_the_onset_is_that_of_the_most_telling_evidence(world) -> None:
    # The loss is stuck from step 0 on, but that tells little: it leaks often.
    assert first(world).step == 10


def test_the_onset_at_the_layer_counts_and_not_one_elsewhere(world) -> None:
    dead = claims(world.posterior, world.evidence, CATALOGUE)[1]
    assert (dead.mechanism, dead.layer, dead.step) == ("dead_units", "fc1", 12)


def test_without_evidence_the_onset_is_the_start(world) -> None:
    world.events = ()
    assert first(world).step == 0


def test_the_interval_reaches_back_to_the_sample_before(world) -> None:
    assert tuple(first(world).steps) == (6, 11)


def test_the_interval_does_not_begin_before_the_run(world) -> None:
    world.events = ()
    assert tuple(first(world).steps) == (0, 1)


def test_learned_errors_of_the_onset_widen_the_interval(world) -> None:
    catalogue = replace(CATALOGUE, learned=learned(onset=OnsetError(early=2, late=3, share=0.5)))
    assert tuple(first(world, catalogue).steps) == (5, 14)


def test_an_unlearned_claim_states_the_posterior(world) -> None:
    assert first(world).probability == 0.9


def test_a_learned_map_corrects_the_statement(world) -> None:
    catalogue = replace(CATALOGUE, learned=learned(claim=ClaimMap(slope=0.5, cap=1.0)))
    # By hand: sigmoid(0.5 logit(0.9)) = 3 / (1 + 3)
    assert first(world, catalogue).probability == pytest.approx(0.75)


class TestStatedProbability:
    def test_the_identity_map_changes_nothing_but_the_cap(self) -> None:
        assert stated_probability(0.3, 0.0, ClaimMap(cap=1.0)) == pytest.approx(0.3)
        assert stated_probability(1.0, 0.0, ClaimMap(cap=0.97)) == pytest.approx(0.97)

    def test_surprise_within_the_usual_costs_nothing(self) -> None:
        shape = ClaimMap(novelty=2.0, usual=1.0, cap=1.0)
        assert stated_probability(0.8, 0.9, shape) == pytest.approx(0.8)

    def test_surprise_beyond_the_usual_lowers_the_claim(self) -> None:
        shape = ClaimMap(novelty=2.0, usual=1.0, cap=1.0)
        assert stated_probability(0.8, 1.5, shape) < 0.7

    @pytest.mark.parametrize("p", [0.0, 1.0])
    def test_a_certain_posterior_gives_a_number(self, p: float) -> None:
        assert stated_probability(p, 50.0, ClaimMap(novelty=100.0)) == pytest.approx(
            0.99 * p, abs=0.99
        )


def test_an_effect_tells_more_the_likelier_it_is_and_the_rarer_without() -> None:
    # leak 0.02: 0.9 log 45 against 0.4 log 20
    strong = telling(Effect(event="dead", link=0.9), CATALOGUE)
    weak = telling(Effect(event="dead", link=0.4), CATALOGUE)
    assert strong == pytest.approx(3.4260, abs=1e-4)
    assert weak == pytest.approx(1.1983, abs=1e-4)
    assert telling(Effect(event="stuck", link=0.05), CATALOGUE) == 0.0


def test_correlated_evidence_tells_less() -> None:
    discounted = replace(CATALOGUE, weights={"dead": 0.25})
    effect = Effect(event="dead", link=0.9)
    assert telling(effect, discounted) == pytest.approx(0.25 * telling(effect, CATALOGUE))


def test_what_builds_up_does_not_say_since_when(world) -> None:
    told = first(world).step
    slow = replace(
        CATALOGUE,
        detectors=tuple(
            replace(d, cumulative=d.name in {e.name for e in world.events if e.span.first == told})
            for d in CATALOGUE.detectors
        ),
    )
    assert first(world, slow).step != told


@pytest.mark.parametrize(
    ("sites", "told"),
    [
        ({("attends_in", "fc1"): "block"}, "block"),
        ({("attends_in", "fc2"): "block"}, "fc1"),
        ({("uncleared", "fc1"): "block"}, "fc1"),
        ({}, "fc1"),
    ],
    ids=["its module", "that of another layer", "that of another happening", "not known"],
)
def test_what_happens_in_a_module_is_told_with_that(world, sites, told) -> None:
    known = replace(
        CATALOGUE, mechanisms=tuple(replace(m, sites=("attends_in",)) for m in CATALOGUE.mechanisms)
    )
    dead = claims(world.posterior, replace(world.evidence, sites=sites), known)[1]
    assert (dead.layer, dead.told) == ("fc1", told)


@pytest.mark.parametrize(
    ("layers", "stack"),
    [
        pytest.param(["encode", "convs.0.lin", "convs.1.lin", "convs.2.lin"], "convs", id="a list"),
        pytest.param(["net.0", "net.2", "net.4"], "net", id="a sequence with activations between"),
        pytest.param(
            [f"blocks.{i}.mlp.{j}" for i in range(3) for j in (0, 2)],
            "blocks",
            id="a stack of stacks",
        ),
        pytest.param(["0", "2", "4", "6"], None, id="the model itself is the stack"),
        pytest.param(["fc1", "fc2", "fc3"], None, id="no container"),
        pytest.param(["heads.0", "heads.1", "a", "b", "c", "d", "e"], None, id="few of many"),
        pytest.param([], None, id="no layers"),
    ],
)
def test_what_builds_up_over_layers_is_told_with_what_holds_most_of_them(layers, stack):
    assert stack_of(layers) == stack


@pytest.mark.parametrize(
    ("layers", "stacked", "told", "others"),
    [
        pytest.param(("fc1", "fc2"), True, "fc2", (), id="no container: where it is worst"),
        pytest.param(
            ("into", "net.0.a", "net.0.b", "net.1.a", "net.2"),
            True,
            "net.0",
            ("net.1", "net.2"),
            id="the parts of what holds most layers",
        ),
        pytest.param(
            ("fc1", "fc2"), False, None, (), id="what does not build up has no such place"
        ),
    ],
)
def test_where_layers_share_no_container_the_worst_one_is_told(
    world, layers, stacked, told, others
):
    effects = {"gone": 0.8, "dead": 0.3}
    fading = builders.mechanism("rate_too_high", effects, stacked=stacked)
    known = replace(CATALOGUE, mechanisms=(fading, *CATALOGUE.mechanisms[1:]))
    world.events = (
        seen("gone", layer="fc1", first=3, strength=0.5),
        seen("gone", layer="fc2", first=3, strength=2.0),
        # Expected too seldom to say where it is.
        seen("dead", layer="fc1", first=3, strength=9.0),
    )
    claim = claims(world.posterior, replace(world.evidence, layers=layers), known)[0]
    assert (claim.layer, claim.told, claim.others) == (None, told, others)


def spread(world, places, *, layers=("fc1", "fc2", "fc3"), **parts):
    """Return the claim of dead units that were found in the first two of three layers, from step 12 and 9 on."""
    dying = replace(CATALOGUE.mechanism("dead_units"), **parts)
    known = replace(CATALOGUE, mechanisms=(dying,))
    world.events = (
        seen("dead", layer="fc1", first=12, strength=0.9),
        seen("dead", layer="fc2", first=9, strength=0.3),
        # What is not found at a mechanism's own layer does not say where it sits.
        seen("gone", layer="fc3", first=3),
    )
    world.posterior = replace(
        world.posterior,
        mechanisms={"dead_units": 0.8},
        p_unknown=0.0,
        places={"dead_units": places},
    )
    return claims(world.posterior, replace(world.evidence, layers=layers), known)[0]


class TestSeveralLayers:
    def test_what_is_everywhere_is_told_with_its_likeliest_layer_and_the_others(
        self, world
    ) -> None:
        claim = spread(world, {"fc1": 0.3, "fc2": 0.1, None: 0.6})
        assert (claim.layer, claim.others) == ("fc1", ("fc2",))
        assert claim.probability == pytest.approx(0.8 * (0.3 + 0.6))
        # It began where it was seen first, in whichever layer.
        assert claim.step == 9

    @pytest.mark.parametrize(
        ("places", "told"),
        [
            pytest.param({"fc2": 0.9, "fc1": 0.9}, "fc1", id="alike"),
            pytest.param({"fc2": 0.9, "fc1": 0.8}, "fc2", id="one is likelier"),
        ],
    )
    def test_of_layers_that_share_it_alike_the_one_that_shows_most_is_told(
        self, world, places, told
    ) -> None:
        # The second of them is dead for most of the way.
        claim = spread(world, places, layers=("fc2", "fc1", "fc3"), several=True)
        assert claim.layer == told

    def test_what_is_likelier_in_one_layer_is_told_without_others(self, world) -> None:
        claim = spread(world, {"fc1": 0.6, "fc2": 0.1, None: 0.3})
        assert (claim.layer, claim.others, claim.step) == ("fc1", (), 12)

    def test_of_layers_that_are_judged_each_by_itself_the_likely_ones_are_told(self, world) -> None:
        both = spread(world, {"fc1": 0.9, "fc2": 0.7}, several=True)
        assert (both.layer, both.others) == ("fc1", ("fc2",))
        assert both.probability == pytest.approx(0.8 * 0.9)
        assert spread(world, {"fc1": 0.9, "fc2": 0.3}, several=True).others == ()

    def test_layers_too_many_to_be_judged_are_told_where_they_show_it(self, world) -> None:
        assert spread(world, {"fc1": 0.9}, several=True).others == ("fc2",)

    def test_outside_of_all_layers_is_no_layer(self, world) -> None:
        claim = spread(world, {"fc1": 0.3, "fc2": 0.1, None: 0.6}, place="the loss")
        assert (claim.layer, claim.others) == (None, ())
        assert claim.probability == pytest.approx(0.8 * 0.6)

    def test_what_builds_up_over_layers_is_in_none_of_them(self, world) -> None:
        claim = spread(world, {"fc1": 0.3, "fc2": 0.1, None: 0.6}, stacked=True)
        assert (claim.layer, claim.others) == (None, ())

    def test_where_no_layer_shows_it_none_is_told(self, world) -> None:
        claim = spread(world, {None: 1.0})
        assert (claim.layer, claim.others, claim.probability) == (None, (), pytest.approx(0.8))
