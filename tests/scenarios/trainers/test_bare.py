"""Trainers run bit for bit as without us inside the bare context, and their failures are found."""

from functools import partial
from importlib.util import find_spec

import pytest

from neuraldbg.pipeline import diagnose
from tests.scenarios.trainers import programs
from tests.twins import assert_same, is_untouched, twins

NAMES = ("lightning", "transformers", "accelerate")
# The layer to blame, under the name that the model itself gives it.
LAYERS = {"rate": None, "detached": "fc1", "dead": "fc2"}


@pytest.fixture(params=NAMES)
def library(request):
    """Return the library's name; skip where the extra ``trainers`` is not installed."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install neuraldbg[trainers]")
    # Imported before any seed is set: importing draws random numbers.
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def program(library, tmp_path):
    found = getattr(programs, library)
    return partial(found, folder=tmp_path) if library == "transformers" else found


@pytest.mark.parametrize("accumulated", [1, 4])
def test_a_healthy_training_is_bit_identical_wholly_seen_and_not_accused(
    program, library, accumulated
):
    words = {
        "lightning": "accumulate_grad_batches",
        "transformers": "gradient_accumulation_steps",
        "accelerate": "gradient_accumulation_steps",
    }
    run = partial(program, **{words[library]: accumulated})
    plain, watched, recording = twins(run)
    assert_same(plain, watched)
    assert is_untouched()
    assert recording.facts["disarmed"] == ""
    assert recording.steps.size == programs.STEPS // accumulated
    losses = plain.losses
    if library != "transformers":
        # That library logs the loss of a step; the others only know those of batches.
        parts = [losses[i : i + accumulated] for i in range(0, len(losses), accumulated)]
        losses = [sum(part) / accumulated for part in parts]
    assert recording.step["loss"].values.tolist() == pytest.approx(losses, rel=1e-6)
    found = diagnose(recording)
    assert [h.mechanism for h in found.hypotheses if h.probability >= 0.5] == []
    assert recording.unobserved == ()


@pytest.mark.parametrize("fault", programs.FAULTS)
def test_a_fault_is_found_where_it_is(program, library, fault):
    plain, watched, recording = twins(partial(program, fault=fault))
    assert_same(plain, watched)
    first = diagnose(recording).hypotheses[0]
    assert first.mechanism == programs.FAULTS[fault]
    layer = LAYERS[fault]
    assert first.layer == (f"net.{layer}" if layer and library == "lightning" else layer)


def test_clipping_by_a_trainer_that_steps_through_a_closure_is_measured():
    pytest.importorskip("lightning")
    limit = 0.25
    run = partial(programs.lightning, gradient_clip_val=limit)
    step = twins(run)[2].step
    raw, used = step["grad_norm_raw"], step["grad_norm_used"]
    assert raw.observed[:8].all()
    clipped = raw.values[:8] > limit
    assert clipped.any()
    assert used.values[:8][clipped] == pytest.approx(limit, rel=1e-3)


def test_a_step_through_a_closure_is_compared_with_the_gradient_that_made_it():
    pytest.importorskip("lightning")
    cosine = twins(programs.lightning)[2].param["update_cos_grad"]
    # The first step of Adam goes against the sign of its gradient: the cosine of |g| with ones.
    assert cosine.observed[0, 0]
    assert cosine.values[0, 0] > 0.5
