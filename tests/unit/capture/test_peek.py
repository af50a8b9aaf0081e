"""Losses on their way from a device: all arrive, in order, with the value that they had."""

import pytest
import torch

from neuraldbg.capture.peek import HELD, Peek
from tests.pretend import Device


@pytest.fixture(autouse=True)
def _device(monkeypatch):
    return Device(monkeypatch, latency=1)


def arrived(peek):
    return [late.value for late in peek.arrived(all_are=True)]


@pytest.mark.parametrize("how", ["send", "hold"])
@pytest.mark.parametrize("count", [1, HELD, 2 * HELD + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_number_arrives_once_and_in_order(how, count, dtype):
    peek, numbers = Peek(), [float(i) for i in range(count)]
    sent = [getattr(peek, how)(torch.tensor(x, dtype=dtype)) for x in numbers]
    found = peek.arrived(all_are=True)
    assert found == sent
    assert [late.value for late in found] == numbers
    assert arrived(peek) == []


def test_numbers_that_are_held_and_others_come_in_their_order():
    peek = Peek()
    sent = [
        (peek.hold if i % 5 else peek.send)(torch.tensor(float(i)).reshape((1,) * (i % 2)))
        for i in range(30)
    ]
    assert peek.arrived(all_are=True) == sent
    assert [late.value for late in sent] == [float(i) for i in range(30)]


def test_nothing_is_sent_for_before_so_many_are_held(monkeypatch):
    peek, copies = Peek(), []
    inner = torch.Tensor.copy_
    monkeypatch.setattr(torch.Tensor, "copy_", lambda *a, **k: copies.append(1) or inner(*a, **k))
    for i in range(HELD - 1):
        peek.hold(torch.tensor(float(i)))
    assert not copies
    peek.hold(torch.tensor(0.0))
    assert len(copies) == 1


def in_place(numbers):
    numbers[2].mul_(7.0)


def nothing(_numbers):
    return None


SHARED = torch.zeros(())


def in_one_place(value):
    return SHARED.fill_(value)


@pytest.mark.parametrize("memory", [torch.tensor, in_one_place])
def test_numbers_that_were_overwritten_are_none_and_the_next_ones_are_sent_for_at_once(memory):
    change = in_place if memory is torch.tensor else nothing
    peek = Peek()
    numbers = [memory(float(i)).detach() for i in range(3)]
    lost = [peek.hold(number) for number in numbers]
    change(numbers)
    assert arrived(peek) == []
    assert [late.value for late in lost] == [None] * 3
    assert not peek.holds
    late = peek.hold(torch.tensor(5.0))
    assert arrived(peek) == [5.0]
    assert late.value == 5.0


def test_memory_that_is_no_longer_to_be_read_is_no_error_of_ours(monkeypatch):
    def gone(_self):
        msg = "accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run"
        raise RuntimeError(msg)

    peek = Peek()
    lost = [peek.hold(torch.tensor(1.0)) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "data_ptr", gone)
        assert arrived(peek) == []
    assert [late.value for late in lost] == [None, None]
