"""What a parameter of a module of the user's own is taken for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuraldbg.capture.topology import draw


class Own(nn.Module):
    """Holds one parameter under a name."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.ones(shape)))


@pytest.mark.parametrize(
    ("name", "shape", "kinds"),
    [
        ("mix", (4, 3), ("linear", "matrix")),
        ("kernel", (4, 1, 3), ("linear", "matrix")),
        ("logit_scale", (4, 1, 1), ("other", "scale")),
        ("token", (1, 1, 8), ("other", "scale")),
        ("gamma", (6,), ("other", "scale")),
        ("weight", (6, 1, 1), ("other", "scale")),
        ("weight", (6, 1), ("other", "matrix")),
    ],
    ids=[
        "matrix",
        "kernel",
        "a factor a head",
        "a token",
        "a vector",
        "a scale that is called a weight",
        "one input",
    ],
)
def test_a_vector_that_is_laid_out_to_fit_is_no_matrix(name, shape, kinds) -> None:
    drawn = draw(nn.Sequential(Own(name, shape)))
    assert (drawn.layers[0].kind, drawn.params[0].kind) == kinds


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Linear(6, 1, bias=False), "linear"),
        (nn.Linear(1, 6, bias=False), "linear"),
        (nn.Conv2d(1, 6, 1, bias=False), "conv"),
    ],
    ids=["one unit", "one input", "one channel"],
)
def test_a_layer_of_pytorch_is_one_however_slim(layer: nn.Module, kind: str) -> None:
    drawn = draw(nn.Sequential(layer))
    assert (drawn.layers[0].kind, drawn.params[0].kind) == (kind, "matrix")
