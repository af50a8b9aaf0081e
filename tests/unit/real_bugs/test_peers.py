"""How other tools are read and scored, and the rule baseline on faults with a textbook answer."""

import pytest
import torch
from torch import nn

from benchmarks.peers.alarm import Alarm
from benchmarks.peers.collect import collect
from benchmarks.peers.mapping import TABLE, read
from benchmarks.peers.rules import Rules
from benchmarks.peers.score import judge, summarise
from tests.unit.real_bugs.test_real_bugs import SLUGS

TRUTH = {"mechanisms": ["dead_units"], "layers": ["body.fc1"], "onset": 40}


def test_every_reading_credits_known_mechanisms():
    assert {slug for reading in TABLE for slug in reading.mechanisms} <= SLUGS


def test_an_alarm_that_is_not_in_the_table_names_nothing():
    assert read("torchmortem", "A new finding of a later version") == frozenset()


def test_any_of_the_readings_of_an_alarm_is_a_hit():
    assert judge("torchmortem", TRUTH, [Alarm(kind="Vanishing gradients detected")])["top1"]


def test_a_later_alarm_is_a_hit_but_not_the_first():
    alarms = [
        Alarm(kind="Loss plateau detected"),
        Alarm(kind="Dead units", layer="body.fc1", step=41),
    ]
    verdict = judge("torchmortem", TRUTH, alarms)
    assert (verdict["top1"], verdict["any"], verdict["layer"], verdict["onset"]) == (
        False,
        True,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("layer", "right"),
    [("body.fc1", True), ("body.fc1.weight", True), ("body", True), ("head", False), (None, False)],
)
def test_a_layer_inside_or_directly_around_the_true_one_is_right(layer, right):
    assert judge("rules", TRUTH, [Alarm(kind="dead_units", layer=layer)])["layer"] is right


@pytest.mark.parametrize(
    ("step", "right"), [(35, True), (45, True), (34, False), (46, False), (None, False)]
)
def test_an_onset_is_right_within_five_steps(step, right):
    assert judge("rules", TRUTH, [Alarm(kind="dead_units", step=step)])["onset"] is right


def test_false_alarms_are_counted_over_healthy_runs_only():
    silent = {
        "mechanisms": [],
        "detected": False,
        "top1": False,
        "any": False,
        "layer": None,
        "onset": None,
    }
    rows = [
        {**silent, "alarmed_when_healthy": value, "crashed": ""} for value in (True, False, None)
    ]
    assert summarise(rows)["false_alarms"] == 0.5


def test_a_folder_of_modules_is_a_set_of_cases(tmp_path):
    (tmp_path / "one.py").write_text(
        "ID = 'one'\nTRUTH = {'mechanisms': []}\ndef train(observe, seed=0, fixed=False): ...\n"
    )
    (tmp_path / "helper.py").write_text("LEARNING_RATE = 1\n")
    assert [case.id for case in collect(str(tmp_path))] == ["one"]


def test_a_package_with_cases_gives_them_all():
    assert len(collect("benchmarks.real_bugs")) >= 24


def _run(model, optimizer, clear=True):
    rules = Rules()
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] + 0.5 * x[:, 1:2]
    with rules(model, optimizer) as watch:
        for _ in range(60):
            loss = (model(x) - y).pow(2).mean()
            if clear:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.loss(loss.item())
    return [alarm.kind for alarm in rules.alarms()]


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))


def test_the_rules_are_silent_on_an_ordinary_run():
    net = _net()
    assert _run(net, torch.optim.Adam(net.parameters(), lr=1e-2)) == []


def test_the_rules_see_gradients_that_are_not_cleared():
    net = _net()
    assert (
        _run(net, torch.optim.SGD(net.parameters(), lr=1e-4), clear=False)[0]
        == "gradients_not_cleared"
    )


def test_the_rules_see_parameters_that_no_optimizer_holds():
    net = _net()
    assert _run(net, torch.optim.Adam(net[2].parameters(), lr=1e-2))[0] == "parameters_not_updated"


def test_the_rules_see_identical_units():
    net = _net()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    assert _run(net, torch.optim.SGD(net.parameters(), lr=1e-2))[0] == "symmetric_initialization"
