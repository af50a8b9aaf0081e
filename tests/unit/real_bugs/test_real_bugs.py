"""The re-expressed bugs: each says where it comes from, and hurts."""

import json
import re

import pytest
import torch

from benchmarks.machine import RESULTS
from benchmarks.real_bugs import CASES, MODULES
from benchmarks.real_bugs.measure import clearly_worse, twins
from neuraldbg.demos.loop import null_observe

# The public slugs, copied from the contract and not from the package.
SLUGS = {
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
}
SOURCE = re.compile(
    r"^(github: [\w.-]+/[\w.-]+ (issue|pull request) \d+, |discuss\.pytorch\.org: .*topic \d+)"
)
ids = [case.id for case in CASES]
# These take longest to train: that they hurt is in the committed table, which `benchmarks.real_bugs.measure` writes.
MEASURED_ONLY = {
    "bf16-weights",
    "depth-net-weight-decay",
    "inception-high-rate",
    "labels-before-shuffle",
    "masked-half-attention",
    "multimodal-missing-group",
    "resumed-adapter-frozen",
    "siamese-integer-division",
    "stuck-at-chance",
}
QUICK = [case for case in CASES if case.id not in MEASURED_ONLY]


class _Spy:
    """Keeps the observed model and counts the losses told."""

    def __init__(self):
        self.model, self.losses = None, 0

    def __call__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def loss(self, value):
        assert isinstance(value, float)
        self.losses += 1


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_there_are_at_least_twenty_four():
    assert len(CASES) >= 24


def test_identifiers_are_unique():
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("module", MODULES, ids=ids)
def test_each_program_names_its_thread(module):
    assert SOURCE.match(module.SOURCE), module.SOURCE


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_mechanisms_are_known_words(case):
    assert case.truth["mechanisms"]
    assert set(case.truth["mechanisms"]) <= SLUGS


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.id)
def test_the_bug_hurts_and_its_layers_exist(case):
    spy = _Spy()
    bug = case.train(spy, seed=0, fixed=False)
    fix = case.train(null_observe, seed=0, fixed=True)
    assert clearly_worse(bug, fix), (bug, fix)
    names = {name for name, _ in spy.model.named_modules()}
    assert set(case.truth["layers"] or ()) <= names
    assert spy.losses >= 80, "a tool needs a run to look at"


def test_runs_repeat_exactly():
    case = CASES[0]
    assert twins(case, 1) == twins(case, 1)


def test_the_committed_table_covers_the_cases_and_all_hurt():
    table = json.loads((RESULTS / "real_bugs_harm.json").read_text())["cases"]
    assert set(table) == set(ids) > MEASURED_ONLY
    assert all(row["hurts"] for row in table.values())
