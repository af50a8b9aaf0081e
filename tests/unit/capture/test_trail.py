"""What is kept of the last steps on a device until their losses are known."""

import math

import pytest
import torch

from neuraldbg.capture.trail import ENTRIES, LEAST, MOST, Trail

SIZES = (3, 5, 7)


def followed(*, left_alone=True, sizes=SIZES, probe=11):
    tensors = [torch.zeros(size, requires_grad=True) for size in sizes]
    trail = Trail()
    trail.follow([10, 11, 12], tensors, probe, left_alone=left_alone)
    return trail, tensors


def stepped(trail, tensors, step, value=None):
    """A backward pass of fresh gradients came by, and the step is noted."""
    for tensor in tensors:
        tensor.grad = torch.full_like(tensor, step if value is None else value)
    return trail.note(step)


def sizes_of(step, entries=SIZES):
    return [step * math.sqrt(n) for n in entries]


@pytest.mark.parametrize("left_alone", [True, False], ids=["kept", "measured"])
def test_the_norms_of_every_step_are_those_that_it_had(left_alone):
    trail, tensors = followed(left_alone=left_alone)
    assert all(stepped(trail, tensors, step) for step in range(1, 5))
    found = trail.take()
    assert [step for step, *_ in found] == [1, 2, 3, 4]
    for step, index, sizes in found:
        assert list(index) == [10, 11, 12]
        assert sizes.tolist() == pytest.approx(sizes_of(step))
    assert trail.take() == []


def test_a_gradient_that_was_measured_may_be_written_to_and_one_that_was_kept_is_left_out():
    for left_alone, expected in ((False, [10, 11, 12]), (True, [10, 12])):
        trail, tensors = followed(left_alone=left_alone)
        stepped(trail, tensors, 1)
        tensors[1].grad.mul_(100.0)
        ((_, index, sizes),) = trail.take()
        assert list(index) == expected
        assert sizes.tolist() == pytest.approx([sizes_of(1)[i - 10] for i in expected])


def test_the_same_memory_in_two_steps_belongs_to_neither():
    trail, tensors = followed()
    buffer = torch.zeros(SIZES[0])
    for step in (1, 2):
        for tensor in tensors:
            tensor.grad = torch.full_like(tensor, step)
        tensors[0].grad = buffer.detach()
        trail.note(step)
    assert [list(index) for _, index, _ in trail.take()] == [[11, 12], [11, 12]]


def test_steps_before_a_finite_loss_are_forgotten():
    trail, tensors = followed()
    for step in range(6):
        stepped(trail, tensors, step)
    trail.forget(4)
    assert [step for step, *_ in trail.take()] == [4, 5]


@pytest.mark.parametrize(
    ("entries", "left_alone", "expected"),
    [
        pytest.param(100, True, MOST, id="small gradients"),
        pytest.param(ENTRIES // 20, True, 20, id="as many as there is room for"),
        pytest.param(ENTRIES // LEAST + 1, True, MOST, id="too large to be kept are measured"),
        pytest.param(100, False, MOST, id="written to are measured"),
    ],
)
def test_so_many_steps_are_held(entries, left_alone, expected):
    trail, tensors = followed(left_alone=left_alone, sizes=(entries - 2, 1, 1))
    for step in range(2 * MOST):
        stepped(trail, tensors, step, 1.0)
    assert len(trail.take()) == expected


@pytest.mark.parametrize("left_alone", [True, False], ids=["kept", "measured"])
def test_the_norm_of_the_probe_is_that_of_its_gradient(left_alone):
    trail, tensors = followed(left_alone=left_alone)
    stepped(trail, tensors, 3)
    assert trail.norm(noted=True).tolist() == pytest.approx([sizes_of(3)[1]])
    tensors[1].grad.mul_(2.0)
    assert trail.norm(noted=False).tolist() == pytest.approx([2.0 * sizes_of(3)[1]])


def without(tensors):
    tensors[2].grad = None


def sparse(tensors):
    tensors[2].grad = torch.zeros(SIZES[2]).to_sparse()


def wide(tensors):
    tensors[2].data = tensors[2].data.double()
    tensors[2].grad = torch.zeros(SIZES[2], dtype=torch.float64)


@pytest.mark.parametrize("odd", [without, sparse, wide])
def test_a_step_without_ordinary_gradients_is_not_noted(odd):
    trail, tensors = followed(left_alone=False)
    stepped(trail, tensors, 1)
    odd(tensors)
    assert not trail.note(2)
    assert [step for step, *_ in trail.take()] == [1]


def test_nothing_is_noted_where_nothing_is_followed():
    trail, tensors = followed()
    trail.follow([], [], -1, left_alone=True)
    assert not stepped(trail, tensors, 1)
    assert trail.norm(noted=True) is None
