"""Parts that the gradient does not come to: which are cut off, and which nobody uses."""

from __future__ import annotations

import copy
from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg

STEPS = 12


class Two(nn.Module):
    """A body, a head on it, and what lies between them."""

    def __init__(self, between) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 2)
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.body, x))


def without_gradient(body, x):
    with torch.no_grad():
        return body(x).relu()


class Unused(nn.Module):
    """A network with a second head that the loss does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.other = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        hidden = self.body(x).relu()
        return self.head(hidden), self.other(hidden)


class Follows(nn.Module):
    """A network, and its double that is asked for targets and follows it by and by."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        self.target = copy.deepcopy(self.online)

    def forward(self, x):
        wanted = self.target(x.flip(0)).detach()
        # What is wanted goes through the network once more, as in a rollout.
        return self.online(x), wanted, self.online(F.pad(wanted, (0, 4)))


class Towers(nn.Module):
    """Two networks of one shape, each drawn for itself, of which one gives what the other goes on with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(2)
        )

    def forward(self, x):
        return self.second(self.first(x).detach())


def follow(model) -> None:
    with torch.no_grad():
        for mine, others in zip(model.target.parameters(), model.online.parameters(), strict=True):
            mine.lerp_(others, 0.1)


class Codebook(nn.Module):
    """Rounds to the nearest of its codes, which follow what is rounded to them."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.codes = nn.Linear(6, 4), nn.Embedding(8, 4)
        self.decode = nn.Linear(4, 6)

    def forward(self, x):
        z = self.encode(x)
        self.chosen, self.seen = torch.cdist(z, self.codes.weight).argmin(1), z.detach()
        q = self.codes(self.chosen).detach()
        return self.decode(z + (q - z).detach())


def move_codes(model) -> None:
    with torch.no_grad():
        for i in model.chosen.unique():
            model.codes.weight[i].lerp_(model.seen[model.chosen == i].mean(0), 0.1)


class Players(nn.Module):
    """Two networks with an optimizer each, of which one makes what the other judges."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
        self.judge = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))


def cut(model, loss, *optimizers, after=lambda _model: None) -> set[str | None]:
    """Train on random batches; return the layers that are told to be cut off."""
    owners = optimizers or (torch.optim.SGD(model.parameters(), lr=0.05),)
    with NeuralDbg(model) as dbg:
        for _ in range(STEPS):
            x, y = torch.randn(16, 6), torch.randint(0, 2, (16,))
            for owner in owners:
                owner.zero_grad()
                loss(model, x, y).backward()
                owner.step()
            after(model)
    return {e.layer for e in dbg.events if e.name == "gradient_cut"}


@pytest.mark.parametrize(
    ("between", "layers"),
    [
        (lambda body, x: body(x).relu().detach(), {"body"}),
        (lambda body, x: body(x).relu().data, {"body"}),
        (without_gradient, {"body"}),
        (lambda body, x: torch.sign(body(x)), set()),
        (lambda body, x: (body(x) - 1e3).relu(), set()),
        (lambda body, x: body(x).relu(), set()),
    ],
    ids=["detach", "data", "without gradients", "a gradient of zero", "dead", "healthy"],
)
def test_a_layer_whose_output_is_used_without_a_gradient_is_cut_off(between, layers) -> None:
    assert cut(Two(between), lambda m, x, y: F.cross_entropy(m(x), y)) == layers


def learned_before(model) -> None:
    """Move weights away from what they were drawn as."""
    with torch.no_grad():
        model.body.weight.mul_(1.0 + 0.5 * torch.rand_like(model.body.weight))


class Met(nn.Module):
    """Two towers whose outputs meet in a product, the second without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(6, 8), nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 8))

    def forward(self, x):
        with torch.no_grad():
            keys = self.body(x)
        return self.head(x) @ keys.T


@pytest.mark.parametrize(
    ("model", "prepare", "layers"),
    [
        (lambda: Two(without_gradient), lambda _model: None, {"body"}),
        (lambda: Two(without_gradient), learned_before, set()),
        (Met, lambda _model: None, {"body.0", "body.1"}),
    ],
    ids=["as it was drawn", "learned before, on purpose as it seems", "it meets what learns"],
)
def test_who_runs_what_was_never_trained_without_gradients_forgot_it(
    model, prepare, layers
) -> None:
    torch.manual_seed(0)
    made = model()
    prepare(made)
    assert cut(made, lambda m, x, y: F.cross_entropy(m(x), y)) == layers


class Extract(nn.Module):
    """Gives out what it was given, as numbers."""

    def forward(self, x):
        return x.clone().detach()


class Captioner(nn.Module):
    """An encoder, what takes its features, and a head on these and on what is known besides."""

    def __init__(self, extract) -> None:
        super().__init__()
        self.encode, self.extract = nn.Linear(6, 4), extract
        self.words, self.head = nn.Linear(6, 4), nn.Linear(8, 2)

    def forward(self, x):
        seen = self.extract(self.encode(x).relu())
        return self.head(torch.cat([seen, self.words(x)], 1))


class Stops(nn.Linear):
    """A layer that lets no gradient through."""

    def forward(self, x):
        return super().forward(x.detach())


class Ignores(nn.Module):
    """Hands an encoder's output to a head that does nothing with it."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.head = nn.Linear(6, 4), Deaf()

    def forward(self, x):
        return self.head(x, self.encode(x))


class Deaf(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 2)

    def forward(self, x, _context):
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (lambda: Captioner(Extract()), {"encode"}),
        (lambda: Captioner(nn.Identity()), set()),
        (lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), Stops(4, 2)), {"0"}),
        (Ignores, set()),
    ],
    ids=["in a module of its own", "healthy", "in the next layer", "handed on and not used"],
)
def test_a_cut_is_seen_wherever_it_is_made(model, layers) -> None:
    assert cut(model(), lambda m, x, y: F.cross_entropy(m(x), y)) == layers


class Pool(nn.Module):
    """Weighs words by what a scorer says of them, and asks for the class of the sum."""

    def __init__(self, weigh) -> None:
        super().__init__()
        self.score, self.head, self.weigh = nn.Linear(6, 1), nn.Linear(6, 2), weigh

    def forward(self, x):
        words = x[:, None] * torch.linspace(0.5, 1.5, 5)[:, None]
        return self.head((self.weigh(self.score(words)) * words).sum(1))


@pytest.mark.parametrize(
    ("weigh", "layers"),
    [
        (lambda scores: F.softmax(scores, -1), {"score"}),
        (lambda scores: scores.softmax(dim=2), {"score"}),
        (nn.Softmax(dim=-1), {"score"}),
        (lambda scores: F.softmax(scores, 1), set()),
        (nn.Softmax(dim=1), set()),
    ],
    ids=["over one entry", "as a method", "as a module", "over the words", "a module over them"],
)
def test_a_softmax_over_one_entry_cuts_off_what_it_is_given(weigh, layers) -> None:
    torch.manual_seed(0)
    assert cut(Pool(weigh), lambda m, x, y: F.cross_entropy(m(x), y)) == layers


class WithSide(nn.Module):
    """A body whose detached features a head learns from, and a side branch on the body itself."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.body, self.next, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.side = nn.Linear(8, 1)
        if silent:
            nn.init.zeros_(self.next.weight)
            nn.init.zeros_(self.head.weight)

    def forward(self, x, *, detached: bool):
        hidden = self.body(x).relu()
        given = hidden.detach() if detached else hidden
        return self.head(self.next(given).relu()), self.side(hidden)


@pytest.mark.parametrize(
    ("weight", "layers"), [(0.0, {"body"}), (0.1, set())], ids=["of no weight", "of some"]
)
def test_a_term_without_weight_does_not_keep_a_layer_from_being_cut_off(weight, layers) -> None:
    def loss(m, x, y):
        out, side = m(x, detached=True)
        return F.cross_entropy(out, y) + weight * side.square().mean()

    assert cut(WithSide(silent=False), loss) == layers


def test_zeros_of_layers_that_learn_nothing_are_no_cut() -> None:
    def loss(m, x, y):
        m(x, detached=True)
        return F.cross_entropy(m(x, detached=False)[0], y)

    assert not cut(WithSide(silent=True), loss)


def test_a_part_that_only_runs_without_gradients_is_told_to_have_none() -> None:
    model = Two(without_gradient)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with NeuralDbg(model) as dbg:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(16, 6)), torch.randint(0, 2, (16,))).backward()
            optimizer.step()
    assert {e.layer for e in dbg.events if e.name == "parameters_without_gradient"} == {"body"}


def test_a_head_that_nobody_uses_is_not_cut_off() -> None:
    assert not cut(Unused(), lambda m, x, y: F.cross_entropy(m(x)[0], y))


@pytest.mark.parametrize("after", [follow, lambda _model: None], ids=["it follows", "not yet"])
def test_a_double_that_is_written_and_not_trained_is_not_cut_off(after) -> None:
    model = Follows()

    def loss(m, x, _y):
        out, wanted, after = m(x)
        return F.mse_loss(out, wanted) + after.square().mean()

    assert not cut(model, loss, after=after)


def test_an_optimizer_that_writes_what_has_no_gradient_does_not_train_it() -> None:
    torch.manual_seed(0)
    model = Two(lambda body, x: body(x).relu().detach())
    x, y = torch.randn(64, 6), torch.randint(0, 2, (64,))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with NeuralDbg(model) as dbg:
        for _ in range(STEPS):
            optimizer.step(closure)
    assert {e.layer for e in dbg.events if e.name == "gradient_cut"} == {"body"}


def test_a_tower_that_looks_like_the_other_and_is_no_copy_of_it_may_be_cut_off() -> None:
    assert cut(Towers(), lambda m, x, _y: F.mse_loss(m(x), x)) == {"first.0", "first.2"}


@pytest.mark.parametrize(
    ("after", "layers"), [(move_codes, set()), (lambda _model: None, {"codes"})]
)
def test_codes_that_the_loop_moves_itself_are_not_cut_off(after, layers) -> None:
    assert cut(Codebook(), lambda m, x, _y: F.mse_loss(m(x), x), after=after) == layers


@pytest.mark.parametrize(
    ("through", "layers"),
    [
        (lambda made: torch.as_tensor(made.detach().numpy().clip(-1, 1)), {"maker.0", "maker.2"}),
        (lambda made: made, set()),
    ],
    ids=["numpy", "healthy"],
)
def test_what_an_optimizer_steps_without_any_gradient_is_cut_off(through, layers) -> None:
    model = Players()

    def loss(m, x, _y):
        made = through(m.maker(x[:, :4]))
        return (m.judge(made) - m.judge(x)).square().mean()

    owners = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (model.maker, model.judge)]
    assert cut(model, loss, *owners) == layers


@pytest.mark.parametrize(
    ("every", "grouped", "layers"),
    [
        (1, False, {"maker.0", "maker.2"}),
        (4, False, set()),
        (1, True, {"maker.0", "maker.2"}),
    ],
    ids=["in every step", "now and then", "in a group of its own"],
)
def test_a_part_that_runs_without_gradients_before_every_pass_is_cut_off(
    every: int, grouped: bool, layers: set[str]
) -> None:
    model, step = Players(), count()

    def loss(m, x, _y):
        made = x
        if next(step) % every == 0:
            with torch.no_grad():
                made = m.maker(x[:, :4]) * 2.0
        return (m.judge(made) - 1.0).square().mean()

    nets = [{"params": net.parameters()} for net in (model.maker, model.judge)]
    owner = torch.optim.SGD(nets if grouped else model.parameters(), lr=0.05)
    assert cut(model, loss, owner) == layers


class Bank(nn.Module):
    """Filters that are known by their pitches, which have a range."""

    def __init__(self, *, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self.pitch = nn.Parameter(torch.linspace(0.1, 2.0, 8))
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.learned):
            pitch = self.pitch.clamp(0.0, 3.0)
        return self.gain * torch.sin(x[:, :1] * pitch)


@pytest.mark.parametrize(
    ("learned", "grouped", "layers"),
    [(False, True, {"0"}), (False, False, set()), (True, True, set())],
    ids=["in a group of its own", "among others", "learned"],
)
def test_vectors_that_are_given_a_rate_of_their_own_and_no_gradient_are_cut_off(
    learned: bool, grouped: bool, layers: set[str]
) -> None:
    model = nn.Sequential(Bank(learned=learned), nn.Linear(8, 2))
    others = [model[0].gain, *model[1].parameters()]
    groups = [{"params": [model[0].pitch], "lr": 0.1}, {"params": others}]
    owner = torch.optim.SGD(groups if grouped else model.parameters(), lr=0.05)
    assert cut(model, lambda m, x, y: F.cross_entropy(m(x), y), owner) == layers


def test_an_encoder_that_is_cut_off_is_told_where_the_loss_falls_all_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 6)
    y = (x[:, 0] > 0).long()
    model = Two(lambda body, x: body(x).relu().detach())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with NeuralDbg(model) as dbg:
        for _ in range(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    first = dbg.explain_failure()[0].hypothesis
    assert (first.mechanism, first.layer) == ("parameters_not_updated", "body")


class Composed(nn.Module):
    """Makes its weight out of factors in a list, which has no pass of its own."""

    def __init__(self, take, *, bias: bool, watched: bool = False) -> None:
        super().__init__()
        self.factors = nn.ParameterList(
            [nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3, 8))]
        )
        self.bias = nn.Parameter(torch.zeros(8)) if bias else None
        self.head, self.take, self.watched = nn.Linear(8, 2), take, watched

    def forward(self, x):
        first, second = (self.take(f) for f in self.factors)
        if self.watched:
            float(self.factors[0].detach().norm())
        hidden = x @ first @ second
        return self.head(torch.tanh(hidden if self.bias is None else hidden + self.bias))


@pytest.mark.parametrize(
    ("take", "watched", "layers"),
    [
        (lambda factor: factor.detach(), False, {"factors"}),
        (lambda factor: factor.data, False, {"factors"}),
        (lambda factor: factor, True, set()),
    ],
    ids=["detach", "data", "only looked at without a gradient"],
)
@pytest.mark.parametrize("bias", [True, False], ids=["beside a bias that learns", "alone"])
def test_a_parameter_that_is_used_without_its_gradient_is_cut_off(
    take, watched, layers, bias
) -> None:
    torch.manual_seed(0)
    model = Composed(take, bias=bias, watched=watched)
    assert cut(model, lambda m, x, y: F.cross_entropy(m(x), y)) == layers


def test_what_the_loop_reads_of_a_part_that_is_not_used_is_no_cut() -> None:
    torch.manual_seed(0)
    model = Composed(lambda factor: factor, bias=False)
    model.spare = nn.ParameterList([nn.Parameter(torch.randn(6, 3))])

    def loss(m, x, y):
        return F.cross_entropy(m(x), y) + 0.0 * float(m.spare[0].detach().norm())

    assert not cut(model, loss)


class Fused(nn.Module):
    """Two streams that meet in bare parameters: no layer is behind them."""

    def __init__(self, through) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 8), nn.Linear(6, 8)
        self.gate, self.out = nn.Parameter(torch.ones(8)), nn.Parameter(torch.randn(16, 2) / 4)
        self.through = through

    def forward(self, x):
        return torch.cat([self.one(x), self.gate * self.through(self.other(x))], 1) @ self.out


@pytest.mark.parametrize(
    ("through", "layers"),
    [
        (lambda h: h.data, {"other"}),
        (lambda h: h.detach(), {"other"}),
        (lambda h: h, set()),
        (lambda h: h + (h.round() - h).detach(), set()),
    ],
    ids=["data", "detach", "whole", "straight through"],
)
def test_a_part_is_cut_off_too_where_bare_parameters_are_behind_it(through, layers) -> None:
    assert cut(Fused(through), lambda m, x, y: F.cross_entropy(m(x), y)) == layers
