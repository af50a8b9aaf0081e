"""Tensors that wait for others to be measured with."""

import pytest
import torch

from neuraldbg.capture.shelf import ENTRIES, FAR, STEPS, Shelf
from neuraldbg.capture.tick import Tick


@pytest.mark.parametrize(
    ("entries", "far", "most"),
    [
        (1, False, STEPS),
        (0, False, STEPS),
        (ENTRIES // 4, False, 4),
        (ENTRIES // 4, True, 4 * FAR),
        (ENTRIES + 1, False, 0),
        (ENTRIES + 1, True, FAR - 1),
    ],
    ids=["small", "empty", "large", "large on a device", "too large", "too large but on a device"],
)
def test_large_tensors_are_kept_for_fewer_steps(entries: int, far: bool, most: int) -> None:
    shelf = Shelf(again=False)
    shelf.make_room(entries, far=far)
    assert shelf.most == most


def filled(tensors: list[torch.Tensor]) -> Shelf:
    shelf = Shelf(again=False)
    shelf.make_room(4, far=False)
    for step, tensor in enumerate(tensors):
        shelf.put(Tick(step, sampled=False, traced=False), tensor, tensor._version)
    return shelf


def test_what_is_kept_takes_room_until_it_is_taken() -> None:
    shelf = filled([torch.zeros(4) for _ in range(3)])
    assert shelf.space == STEPS - 3
    ticks, tensors, whole = shelf.take()
    assert ([t.step for t in ticks], len(tensors), whole) == ([0, 1, 2], 3, True)
    assert shelf.space == STEPS


def test_what_somebody_wrote_to_is_left_out_with_its_step() -> None:
    tensors = [torch.full((4,), float(i)) for i in range(3)]
    shelf = filled(tensors)
    tensors[1].add_(1.0)
    ticks, left, whole = shelf.take()
    assert [t.step for t in ticks] == [0, 2]
    assert [float(t[0]) for t in left] == [0.0, 2.0]
    assert not whole
