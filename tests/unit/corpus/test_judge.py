"""What counts as hurting, and what a loss did, from numbers worked out by hand."""

import math

import pytest

from benchmarks.corpus.judge import effects, first_nonfinite, judge, spreads, stays_healthy


def body(kind="fault", skill=0.5, task="digits", family="mlp", number=0):
    return {
        "kind": kind,
        "family": family,
        "number": number,
        "outcome": {"skill": skill, "losses": []},
        "program": {"task": task},
    }


@pytest.mark.parametrize(
    ("mine", "twin", "spread", "expected"),
    [
        pytest.param(0.1, 0.9, 0.01, "hurts", id="nothing learned"),
        pytest.param(-1.0, 0.9, 0.01, "hurts", id="no finite score"),
        pytest.param(0.89, 0.9, 0.01, "harmless", id="as good as the twin"),
        pytest.param(0.95, 0.9, 0.01, "harmless", id="better than the twin"),
        pytest.param(0.78, 0.9, 0.01, "unclear", id="a little worse"),
        pytest.param(0.6, 0.9, 0.2, "unclear", id="worse, but seeds differ as much"),
        pytest.param(0.8, 0.9, 0.2, "harmless", id="less worse than seeds differ"),
        pytest.param(0.0, 0.1, 0.01, "no_twin", id="the twin learned nothing either"),
    ],
)
def test_judge(mine, twin, spread, expected):
    assert judge(body(skill=mine), body("plain", twin), spread)[0] == expected


def test_a_twin_and_a_plain_run_are_healthy():
    assert judge(body("plain"), None, 0.01) == ("healthy", 0.0)
    assert judge(body("twin"), None, 0.01) == ("healthy", 0.0)


@pytest.mark.parametrize(
    ("mine", "healthy"),
    [
        pytest.param(0.7, True, id="a short run that learned less"),
        pytest.param(0.3, False, id="an odd habit that cost more than half"),
    ],
)
def test_an_odd_habit_may_cost_some_skill(mine, healthy):
    verdict, gap = judge(body("odd", mine), body("plain", 0.9), 0.01)
    assert verdict == "healthy"
    assert stays_healthy(body("odd", mine), gap) is healthy


def test_a_run_without_its_twin_is_not_judged():
    verdict, gap = judge(body(), None, 0.01)
    assert verdict == "no_twin"
    assert math.isnan(gap)


def test_spread_is_the_pooled_deviation_between_two_seeds_of_a_program():
    runs = [body("plain", s, number=n) for n, s in [(0, 0.5), (0, 0.7), (1, 0.6), (1, 0.6)]]
    # Standard deviations 0.1414 and 0; root mean square 0.1.
    assert spreads(runs)["mlp"] == pytest.approx(0.1)


def test_first_nonfinite():
    assert first_nonfinite([1.0, math.inf, math.nan]) == 1
    assert first_nonfinite([1.0, 2.0]) is None


FALLING = [2.0 - 1.5 * min(t / 40, 1.0) for t in range(60)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        pytest.param(FALLING, [], id="like the twin"),
        pytest.param([2.0] * 60, ["loss_plateau"], id="flat"),
        pytest.param([2.0 + 0.2 * t for t in range(60)], ["loss_divergence"], id="rising"),
        pytest.param([*FALLING[:50], 40.0, *FALLING[51:]], ["loss_spike"], id="one spike"),
        pytest.param([*FALLING[:50], *[math.nan] * 10], ["nonfinite_values"], id="nan at the end"),
    ],
)
def test_effects(losses, expected):
    assert effects(losses, FALLING) == expected
