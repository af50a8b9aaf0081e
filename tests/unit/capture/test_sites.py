"""An operation without a finite value is told with the module whose ``forward`` calls it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neuraldbg import NeuralDbg

BAD = 9


def length(x: Tensor) -> Tensor:
    """A helper between the module and the operation."""
    return x.pow(2).sum(1, keepdim=True).sqrt()


class Pool(nn.Module):
    """Has no parameters; its derivative is infinite where its input is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return length(x)


class Ratio(nn.Module):
    """Has a child, divides by a number of the data, and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x: Tensor, by: Tensor) -> Tensor:
        return self.lin(x) / (by * self.lin.bias.sum()).abs()


class Net(nn.Module):
    """Two of every part; ``how`` says which operation the last one leaves out."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.second = Ratio(), Ratio()
        self.before, self.pool, self.head = nn.Linear(3, 3), Pool(), nn.Linear(1, 1)

    def forward(self, x: Tensor, by: Tensor, keep: Tensor) -> Tensor:
        good = torch.ones_like(by)
        x = self.second(self.first(x, good), by)
        x = self.before(x) * keep
        return self.head(length(x) if self.how == "model" else self.pool(x))


def told(how: str, loss: Callable[[Tensor], Tensor] = Tensor.mean) -> tuple[str, object, str]:
    """Return the kind of the first non-finite value, its module, and what is told of the mechanism's place."""
    torch.manual_seed(0)
    model = Net(how)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for step in range(14):
            x, by, keep = torch.randn(6, 3), torch.ones(6, 1), torch.ones(6, 1)
            if step == BAD:
                (by if how == "ratio" else keep)[0] = 0.0
            optimizer.zero_grad()
            loss(model(x, by, keep)).backward()
            optimizer.step()
    first = next(x for x in dbg.recording.occurrences if x.kind.startswith("nonfinite"))
    causes = [h for h in dbg.get_causal_hypotheses() if h.mechanism == "numerical_singularity"]
    return first.kind, first.facts.get("module"), str(causes[0].layer)


def test_a_module_without_parameters_is_told_as_the_one_that_takes_the_root() -> None:
    assert told("pool") == ("nonfinite_gradient", "pool", "pool")


def test_of_two_modules_of_one_class_the_one_that_holds_the_nearest_layer_is_told() -> None:
    assert told("ratio") == ("nonfinite_forward", "second", "second")


def test_what_the_model_itself_calls_is_told_with_the_layer_before_it() -> None:
    assert told("model") == ("nonfinite_gradient", None, "before")


def test_what_the_loop_calls_too_is_told_with_the_layer_before_it() -> None:
    def rooted(out: Tensor) -> Tensor:
        return out.mean() + (out.detach().mean() + out * 0).pow(2).add(1.0).sqrt().mean()

    assert told("pool", rooted) == ("nonfinite_gradient", None, "before")


def mean_of(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).mean()


def blank_once(
    model: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor] = mean_of
) -> NeuralDbg:
    """Watch a few steps, in one of which a sample is zero."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for step in range(14):
            x = torch.randn(6, 3)
            if step == BAD:
                x[0] = 0.0
            optimizer.zero_grad()
            loss(model, x).backward()
            optimizer.step()
    return dbg


class Shared(nn.Module):
    """Takes the length of what two convolutions give, behind nonlinearities without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
        self.act, self.pool, self.head = nn.GELU(), Pool(), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.act(self.one(x))
        second = self.act(self.two(first))
        return self.head(torch.cat([self.pool(first), self.pool(second)], 1))


def test_a_module_behind_layers_without_parameters_is_told_of_a_gradient() -> None:
    torch.manual_seed(0)
    model = Shared()
    dbg = blank_once(model)
    first = next(x for x in dbg.recording.occurrences if x.kind.startswith("nonfinite"))
    assert (first.kind, first.facts.get("module")) == ("nonfinite_gradient", "pool")


class Weighted(nn.Module):
    """Attention without parameters; a row in which nothing is left to look at gives no number."""

    def forward(self, query: Tensor, key: Tensor, hidden: Tensor) -> Tensor:
        scores = (query @ key.transpose(-2, -1)).masked_fill(hidden, -torch.inf)
        return scores.softmax(-1) @ key


class Masked(nn.Module):
    """Projects, and lets another module attend."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(3, 3), nn.Linear(3, 3)
        self.attend, self.head = Weighted(), nn.Linear(3, 1)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return self.head(self.attend(self.query(x), self.key(x), hidden))


@pytest.mark.parametrize("bad", [True, False], ids=["a row is hidden", "no row is"])
def test_a_row_of_attention_that_is_all_hidden_is_a_singular_point(bad: bool) -> None:
    torch.manual_seed(0)
    model = Masked()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for step in range(14):
            hidden = torch.zeros(2, 1, 5, dtype=torch.bool)
            hidden[0] = bad and step == BAD
            optimizer.zero_grad()
            model(torch.randn(2, 5, 3), hidden).mean().backward()
            optimizer.step()
    assert ("singular_operation" in {event.name for event in dbg.events}) == bad
    causes = [h for h in dbg.get_causal_hypotheses() if h.mechanism == "numerical_singularity"]
    assert [h.layer for h in causes][:1] == (["attend"] if bad else [])


class Scaled(nn.Module):
    """Divides by the size of its input, and holds a layer that learns by how much."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.pow(2).sum(1, keepdim=True)
        return x / size * self.by(size)


def test_a_module_that_follows_a_layer_and_holds_another_is_told() -> None:
    torch.manual_seed(0)
    first, second = Scaled(), Scaled()
    # The second divides by what came from the layer, too, and from the first after it.
    model = nn.Sequential(nn.Linear(3, 3, bias=False), first, second, nn.Linear(3, 3))
    dbg = blank_once(model)
    (cause, *_) = (h for h in dbg.get_causal_hypotheses() if "singularity" in h.mechanism)
    assert cause.layer == "1"


class Summed(nn.Module):
    """Adds a product in half precision to what it was given, as autocast does."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lin(x).half()


def test_an_infinite_number_that_half_precision_made_is_known_after_it_was_added() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), Summed(), nn.LayerNorm(3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for step in range(14):
            x = torch.randn(6, 3) * (1e6 if step == BAD else 1.0)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    birth = next(x for x in dbg.recording.occurrences if x.kind == "nonfinite_forward")
    assert birth.facts["half"] is True


class Scan(nn.Module):
    """Sums up in half precision, which does not reach far."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(torch.exp(self.lin(x).half()), 1).float()


def test_what_is_beyond_the_range_of_half_precision_is_told_as_the_one_that_makes_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Scan(), nn.Linear(3, 3), Scan(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for step in range(14):
            x = torch.randn(6, 3) * (1e3 if step == BAD else 1.0)
            optimizer.zero_grad()
            model(x).mean().backward()
            optimizer.step()
    (first, *_) = (h for h in dbg.get_causal_hypotheses() if "half" in h.mechanism)
    assert (first.mechanism, first.layer) == ("half_precision_overflow", "0")


@pytest.mark.parametrize(
    "quiet",
    [lambda x: x / 2.0, lambda x: x**2, lambda x: x.pow(3)],
    ids=["a quotient by a number", "a square", "a cube"],
)
def test_an_operation_without_a_singular_point_does_not_count(
    quiet: Callable[[Tensor], Tensor],
) -> None:
    assert told("pool", lambda out: quiet(out).mean()) == ("nonfinite_gradient", "pool", "pool")


class Attention(nn.Module):
    """Attention written by hand, with a softmax that is a module."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2) / x.shape[-1] ** 0.5
        return self.softmax(scores) @ self.v(x)


class Reader(nn.Module):
    """Two blocks of attention and one in its own ``forward``."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Attention(width) for _ in range(2))
        self.key, self.head = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        key = self.key(x)
        pooled = nn.functional.scaled_dot_product_attention(key, key, x)
        return self.head(pooled.mean(1))


def test_attention_is_known_by_the_module_that_makes_it() -> None:
    torch.manual_seed(0)
    model = Reader()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with NeuralDbg(model) as dbg:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 5, 8)).square().mean().backward()
            optimizer.step()
    found = {x.name: x.config.get("attends_in") for x in dbg.recording.topology.layers}
    assert found["blocks.0.k"] == "blocks.0"
    assert found["blocks.1.k"] == "blocks.1"
    assert {x for x in found.values() if x} == {"blocks.0", "blocks.1"}


class OnData(nn.Module):
    """Takes a root or a logarithm of what the program is fed, and has no parameters."""

    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x.square().sum(1, keepdim=True))


class Fed(nn.Module):
    """What comes from data alone goes into the second layer; ``own`` says that the model takes it by itself."""

    def __init__(self, of: Callable[[Tensor], Tensor], *, own: bool = False) -> None:
        super().__init__()
        self.far, self.own = OnData(of), own
        self.body, self.gate, self.head = nn.Linear(3, 4), nn.Linear(1, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        far = self.far.of(x.square().sum(1, keepdim=True)) if self.own else self.far(x)
        return self.head(torch.tanh(self.body(x)) * self.gate(far))


def place(model: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor]) -> str | None:
    """Return the layer that is told of a singular operation, after a row of zeros at one step."""
    dbg = blank_once(model, loss)
    (cause, *_) = (h for h in dbg.get_causal_hypotheses() if "singularity" in h.mechanism)
    return cause.layer


def force(model: nn.Module, x: Tensor) -> Tensor:
    """A loss on the derivative of the output by the input, as force fields have it."""
    x = x.requires_grad_()
    (found,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return found.square().mean()


def value(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


@pytest.mark.parametrize(
    ("of", "loss"),
    [
        pytest.param(torch.rsqrt, value, id="an infinite number made of data alone"),
        pytest.param(torch.sqrt, force, id="a derivative by data, of which a force is made"),
    ],
)
@pytest.mark.parametrize("own", [False, True], ids=["in a module", "in the model itself"])
def test_an_operation_on_data_is_told_with_the_module_that_calls_it(
    of: Callable[[Tensor], Tensor], loss: Callable[[nn.Module, Tensor], Tensor], own: bool
) -> None:
    torch.manual_seed(0)
    assert (place(Fed(of, own=own), loss) == "far") is not own


def test_an_operation_on_data_behind_the_layer_is_not_told() -> None:
    torch.manual_seed(0)

    class Beside(nn.Module):
        """Has a number of data that is too large for the first layer, and a logarithm of what only the head gets."""

        def __init__(self) -> None:
            super().__init__()
            self.far, self.body, self.head = OnData(torch.log1p), nn.Linear(1, 4), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            size = x.square().sum(1, keepdim=True)
            made = self.body(torch.exp(1e3 * (size == 0)))
            return self.head(torch.cat([made, self.far(x)], 1))

    assert place(Beside(), value) == "body"


class Far(nn.Module):
    """Takes a root of what it is given, and holds a layer after it."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(torch.cat([x, length(x)], 1))


def test_of_two_of_one_class_that_may_have_called_it_the_one_that_holds_the_layer_is_told() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList(Far() for _ in range(3))
    optimizer = torch.optim.SGD(layers.parameters(), lr=1e-3)
    with NeuralDbg(layers) as dbg:
        for step in range(14):
            x = torch.randn(6, 3)
            keep = torch.ones(6, 1)
            keep[0] = float(step != BAD)
            optimizer.zero_grad()
            layers[2](layers[1](layers[0](x)) * keep).mean().backward()
            optimizer.step()
    (cause, *_) = (h for h in dbg.get_causal_hypotheses() if "singularity" in h.mechanism)
    assert cause.layer == "1"
