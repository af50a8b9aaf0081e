"""What a saved tensor can still tell when a non-finite loss is traced back."""

import torch

from neuraldbg.capture.provenance import is_readable


def test_a_tensor_whose_memory_was_given_back_is_not_read():
    weight = torch.ones(8, 4)
    transposed = weight.t()
    assert is_readable(transposed)
    # What FSDP2 does with a gathered weight after its layer has run: the shape stays, the numbers do not.
    weight.untyped_storage().resize_(0)
    assert transposed.shape == (4, 8)
    assert not is_readable(transposed)


def test_numbers_that_cannot_be_bad_are_not_read():
    assert not is_readable(torch.ones(3, dtype=torch.int64))
    assert not is_readable(torch.ones(0))
