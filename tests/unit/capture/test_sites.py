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


@pytest.mark.parametrize(
    "quiet",
    [lambda x: x / 2.0, lambda x: x**2, lambda x: x.pow(3)],
    ids=["a quotient by a number", "a square", "a cube"],
)
def test_an_operation_without_a_singular_point_does_not_count(
    quiet: Callable[[Tensor], Tensor],
) -> None:
    assert told("pool", lambda out: quiet(out).mean()) == ("nonfinite_gradient", "pool", "pool")
