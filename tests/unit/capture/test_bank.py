"""Samples that stand for a tensor: every position of an example is met, wherever it lies in memory."""

from __future__ import annotations

from math import gcd

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuraldbg.capture.bank import flat_view, memory_sample


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        pytest.param((16, 32, 10), (0, 1, 2), id="channels last"),
        pytest.param((16, 32, 10), (0, 2, 1), id="channels first"),
        pytest.param((32, 20, 24), (2, 0, 1), id="channels outermost in memory"),
        pytest.param((64, 16, 8), (1, 0, 2), id="time outermost in memory"),
    ],
)
@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_a_gradient_at_one_position_is_not_missed(shape, order, place) -> None:
    gradient = torch.zeros(shape)
    gradient[:, place] = 1.0
    # The same tensor, laid out in another order.
    turned = gradient.permute(order).contiguous().permute([order.index(i) for i in range(3)])
    sample = memory_sample(turned)
    share = (sample != 0).float().mean()
    assert share == pytest.approx(1 / shape[1], rel=0.5)


def test_a_tensor_that_repeats_one_row_in_memory_is_sampled_as_it_is() -> None:
    sample = memory_sample(torch.arange(4.0).expand(900, 4))
    assert sample.unique().tolist() == [0.0, 1.0, 2.0, 3.0]


@given(rows=st.integers(1, 400), width=st.integers(1, 700), entries=st.integers(2, 600))
def test_a_stride_meets_all_positions_and_reaches_the_end(rows, width, entries) -> None:
    tensor = torch.arange(rows * width).view(rows, width)
    sample = flat_view(tensor.float(), entries).long()
    assert len(sample) <= entries
    assert (sample.diff() == sample.diff()[:1]).all()
    if tensor.numel() <= entries:
        assert len(sample) == tensor.numel()
        return
    stride = int(sample[1] - sample[0]) if len(sample) > 1 else tensor.numel()
    assert gcd(stride, width) == 1 or len(sample) == 1
    assert tensor.numel() - 1 - int(sample[-1]) < stride


def test_a_view_is_no_copy_and_a_small_tensor_is_taken_whole() -> None:
    large, small = torch.arange(5000.0).view(50, 100), torch.arange(6.0).view(2, 3)
    assert flat_view(large).data_ptr() == large.data_ptr()
    assert flat_view(small).tolist() == small.flatten().tolist()
    assert flat_view(small.T).tolist() == small.T.flatten().tolist()
