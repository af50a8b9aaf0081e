"""What a layer with parts does between them is looked at, where it is none of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from neuraldbg import NeuralDbg
from neuraldbg.capture.topology import draw, redraw
from neuraldbg.records.recording import Recording
from tests.loops import train


class Scaled(nn.Module):
    """A residual branch with a gain of its own, as ConvNeXt and LayerScale have it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.gain = nn.Parameter(torch.full((8,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.down(F.relu(self.up(x)))


class Biased(nn.Module):
    """Attention with a table of its own, as of relative positions."""

    def __init__(self, sharp: float) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.zeros(4, 4))
        self.sharp = sharp

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x[:, None].expand(-1, 4, -1) + torch.eye(4, 8)).chunk(3, -1)
        weights = (self.sharp * q @ k.transpose(1, 2) + self.table).softmax(-1)
        return self.out((weights @ v).mean(1))


class Cell(nn.Module):
    """A recurrent cell with a matrix of its own and a part."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(8, 8)
        self.back = nn.Parameter(0.5 * torch.eye(8))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.lift(x) + h @ self.back)


class Graph(nn.Module):
    """A convolution with a matrix of its own and an activation for a part."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.act = nn.Parameter(torch.eye(8)), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x @ self.weight)


class Whole(nn.Linear):
    """A layer of PyTorch's with parts that somebody added."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.part, self.tail = Scaled(), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.part(super().forward(x))))


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = Cell(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x)
        for _ in range(4):
            h = self.cell(x, h)
        return self.head(h)


def watched(model: nn.Module) -> Recording:
    torch.manual_seed(0)
    with NeuralDbg(model) as dbg:
        train(model, steps=12)
    return dbg.recording


def arrows(recording: Recording) -> set[tuple[str, str]]:
    layers = recording.topology.layers
    return {(layers[a].name, layers[b].name) for a, b in recording.topology.edges}


def test_the_parts_feed_one_another_and_the_layer() -> None:
    found = arrows(watched(nn.Sequential(nn.Linear(8, 8), Scaled(), nn.Linear(8, 4))))
    assert found == {("0", "1.up"), ("1.up", "1.down"), ("1.down", "1"), ("0", "1"), ("1", "2")}


def test_a_function_between_the_parts_is_read() -> None:
    recording = watched(nn.Sequential(nn.Linear(8, 8), Scaled(), nn.Linear(8, 4)))
    names = [layer.name for layer in recording.topology.layers]
    assert recording.topology.layers[names.index("1.up")].activation == "relu"
    assert recording.layer["dead_share"].observed[:, names.index("1.up")].any()


@pytest.mark.parametrize(
    ("sharp", "low"), [pytest.param(500.0, True, id="one-hot"), pytest.param(0.3, False, id="even")]
)
def test_attention_inside_is_seen(sharp: float, low: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 8), Biased(sharp), nn.Linear(8, 4))
    entropy = watched(model).layer["attn_entropy_median"]
    assert bool(entropy.values[entropy.observed].min() < 0.2) is low


def test_a_cell_that_is_fed_what_it_gave_is_a_recurrence() -> None:
    recording = watched(Loop())
    assert ("cell", "head") in arrows(recording)
    assert "time_grad_slope" in recording.layer


def test_a_part_of_a_whole_layer_does_not_open_that() -> None:
    found = arrows(watched(nn.Sequential(nn.Linear(8, 8), Whole(), nn.Linear(8, 4))))
    assert found == {("0", "1"), ("1", "2")}


def test_attention_of_pytorch_stays_one_layer() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 4))
    assert not any("out_proj" in name for pair in arrows(watched(model)) for name in pair)


@pytest.mark.parametrize(
    ("module", "opened"),
    [
        pytest.param(Scaled(), {"0"}, id="own parameters and parts"),
        pytest.param(nn.Sequential(Scaled()), {"0.0"}, id="inside another"),
        pytest.param(nn.MultiheadAttention(8, 2), set(), id="attention"),
        pytest.param(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), set(), id="a rule for a weight"),
        pytest.param(Graph(), set(), id="parts without weights"),
        pytest.param(nn.Linear(8, 8), set(), id="no parts"),
        pytest.param(nn.Sequential(nn.Linear(8, 8)), set(), id="parts only"),
    ],
)  # fmt: skip
def test_which_layers_are_opened(module: nn.Module, opened: set[str]) -> None:
    drawn = draw(nn.Sequential(module))
    assert {drawn.layers[i].name for i in drawn.opened} == opened


def test_the_model_itself_is_looked_into_anyway() -> None:
    assert not draw(Scaled()).opened


def test_a_layer_that_comes_later_is_opened_and_one_that_goes_is_not() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    drawn = draw(model)
    model[0] = Scaled()
    redraw(drawn, model)
    assert {drawn.layers[i].name for i in drawn.opened} == {"0"}
    model[0], model[1] = nn.Linear(8, 8), Scaled()
    redraw(drawn, model)
    assert {drawn.layers[i].name for i in drawn.opened} == {"1"}


class TestParametrized:
    """A weight that is worked out from others belongs to the layer that uses it."""

    @pytest.mark.parametrize(
        ("over", "kinds"),
        [
            (parametrizations.weight_norm, ["bias", "scale", "matrix"]),
            (parametrizations.spectral_norm, ["bias", "matrix"]),
            (parametrizations.orthogonal, ["bias", "matrix"]),
            (lambda layer: layer, ["matrix", "bias"]),
        ],
        ids=["weight norm", "spectral norm", "orthogonal", "a plain layer"],
    )
    def test_its_parameters_are_those_of_the_layer(self, over, kinds):
        model = nn.Sequential(over(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 3))
        drawn = draw(model)
        assert [(x.name, x.type, x.kind) for x in drawn.layers] == [
            ("0", "Linear", "linear"),
            ("1", "ReLU", "activation"),
            ("2", "Linear", "linear"),
        ]
        assert [drawn.params[i].kind for i in drawn.layers[0].params] == kinds
        assert {drawn.params[i].layer for i in drawn.layers[0].params} == {0}

    def test_a_rule_with_weights_of_its_own_is_a_layer(self):
        model = nn.Linear(4, 4)
        parametrize.register_parametrization(model, "weight", LowRank())
        names = [x.name for x in draw(model).layers]
        assert names == ["", "parametrizations.weight.0"]


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(4, 2)), nn.Parameter(torch.ones(2, 4))

    def forward(self, weight):
        return weight + self.a @ self.b
