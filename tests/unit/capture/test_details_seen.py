"""Details of a program that are seen although something stands before them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.capture.reduce import on_one_device
from neuraldbg.capture.topology import fan_in
from tests.loops import clusters, train


class Attending(nn.Module):
    """Attention by hand, with the softmax in a module of its own."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.queries, self.keys, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.softmax, self.scale = nn.Softmax(dim=-1), scale

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None] * torch.ones(6, 1)
        logits = self.queries(x) @ self.keys(x).transpose(1, 2) * self.scale
        return self.head((self.softmax(logits) @ x).mean(1))


def test_attention_with_a_softmax_module_is_read() -> None:
    model = Attending(8**-0.5)
    with NeuralDbg(model) as dbg:
        train(model, steps=4)
    assert dbg.recording.layer["attn_entropy_min"].observed.any()


@pytest.mark.parametrize("ends", [True, False], ids=["a rectified output", "its twin"])
def test_what_made_a_prediction_is_seen_behind_the_choice_of_an_action(ends: bool) -> None:
    torch.manual_seed(0)
    body = [nn.Linear(8, 4), *([nn.ReLU()] if ends else [])]
    model = nn.Sequential(*body)

    def value(output: Tensor, action: Tensor) -> Tensor:
        return F.smooth_l1_loss(
            output.gather(1, action[:, None]).squeeze(1), -torch.ones(len(action))
        )

    with NeuralDbg(model) as dbg:
        train(model, steps=4, loss=value, batch=clusters)
    makers = {call.facts.get("made_by") for call in dbg.recording.losses}
    assert makers == ({"relu"} if ends else {"addmm"})


@pytest.mark.parametrize("clears", [True, False], ids=["cleared", "never cleared"])
def test_a_parameter_out_of_use_is_no_gradient_that_was_not_cleared(clears: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(24):
            if step == 12:
                model[0].weight = nn.Parameter(model[0].weight.detach().clone())
            x, y = clusters(step)
            loss = F.cross_entropy(model(x), y)
            if clears:
                # The old weight keeps the gradient of its last step for good.
                model.zero_grad()
            loss.backward()
            optimizer.step()
    uncleared = dbg.recording.step["residual"]
    late = uncleared.values[14:][uncleared.observed[14:]]
    assert late.size
    assert (late == (0.0 if clears else 1.0)).all()


@pytest.mark.parametrize("told", [True, False], ids=["the optimizer is told", "it is not"])
def test_a_parameter_put_in_the_place_of_another_is_known_with_its_optimizer(told: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(40):
            if step == 12:
                model[0].weight = nn.Parameter(torch.randn(8, 8))
                if told:
                    optimizer.param_groups[0]["params"] = list(model.parameters())
            optimizer.zero_grad()
            x, y = clusters(step)
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    ratio = dbg.recording.param["update_ratio"]
    at = dbg.recording.sampled >= 30
    index = [p.name for p in dbg.recording.topology.params].index("0.weight")
    moved = ratio.values[at, index][ratio.observed[at, index]]
    assert bool((moved > 0).any()) is told


class Scoring(nn.Module):
    """A model that works out its own loss, and owns a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.body = nn.Parameter(torch.randn(4, 8)), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return -(self.body(x) @ self.table.T).logsumexp(1).mean() + self.table.square().sum()


def test_a_single_number_has_no_spread_over_the_batch() -> None:
    torch.manual_seed(0)
    model = Scoring()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(6):
            optimizer.zero_grad()
            model(clusters(step)[0]).backward()
            optimizer.step()
    root = [layer.name for layer in dbg.recording.topology.layers].index("")
    assert not dbg.recording.layer["act_std"].observed[:, root].any()


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (nn.Conv2d(6, 4, 3), 54),
        (nn.ConvTranspose2d(16, 1, 4, 2, 1), 64),
        (nn.ConvTranspose2d(6, 4, 3), 54),
        (nn.ConvTranspose1d(8, 8, 4, 2, groups=4), 4),
        (nn.Linear(7, 3), 7),
    ],
    ids=["a convolution", "spread by stride", "not spread", "in groups", "a linear layer"],
)
def test_the_fan_in_of_a_unit_keeps_the_variance(module: nn.Module, inputs: int) -> None:
    assert fan_in(tuple(module.weight.shape), module) == inputs
    # The oracle: with weights of variance 1/fan_in and inputs of variance 1 so are the outputs.
    torch.manual_seed(0)
    with torch.no_grad():
        module.weight.normal_(std=inputs**-0.5)
        module.bias.zero_()
        size = {nn.Linear: (4096, 7)}.get(type(module))
        channels = getattr(module, "in_channels", 0)
        shape = size or (64, channels, *([33] * (module.weight.dim() - 2)))
        outputs = module(torch.randn(shape))
    assert outputs.var().item() == pytest.approx(1.0, rel=0.35)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_value_of_a_loss_is_known_where_it_is_one_number(reduction: str) -> None:
    seen: list[float] = []

    def loss(output: Tensor, labels: Tensor) -> Tensor:
        value = F.cross_entropy(output, labels, reduction=reduction)
        seen.append(value.mean().item())
        return value.mean()

    with NeuralDbg(model := nn.Linear(8, 4)) as dbg:
        train(model, steps=2, loss=loss)
    found = [call.facts.get("value") for call in dbg.recording.losses]
    assert found == ([None] * len(found) if reduction == "none" else pytest.approx(seen))


def thawed(*, stale: bool = False, told: bool = True) -> NeuralDbg:
    """Train with a first layer that joins at step 20.

    The list of gradients to clear is as old as the run, or not; the optimizer is told of the layer, or not.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    model[0].requires_grad_(requires_grad=False)
    old = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(old, lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(60):
            if step == 20:
                model[0].requires_grad_(requires_grad=True)
                if told:
                    optimizer.add_param_group({"params": list(model[0].parameters())})
            for parameter in old if stale else model.parameters():
                parameter.grad = None
            x, y = clusters(step)
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return dbg


@pytest.mark.parametrize("stale", [True, False], ids=["an old list", "its twin"])
def test_gradients_of_a_later_group_that_pile_up_are_seen(stale: bool) -> None:
    dbg = thawed(stale=stale)
    found = [e for e in dbg.events if e.name == "gradients_uncleared"]
    assert bool(found) == stale
    assert all(21 <= e.span.first <= 24 for e in found)


@pytest.mark.parametrize("empty", [True, False], ids=["to none", "to zeros"])
@pytest.mark.parametrize("clears", ["a part", "the model", "its own optimizer's"])
def test_a_part_whose_gradients_are_never_cleared_is_seen(clears: str, empty: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), nn.Linear(8, 4))
    halves = [model[1:]] if clears == "its own optimizer's" else [model]
    optimizers = [torch.optim.SGD(half.parameters(), lr=0.01) for half in halves]
    to_clear = model[0] if clears == "a part" else halves[0]
    with NeuralDbg(model) as dbg:
        for step in range(24):
            to_clear.zero_grad(set_to_none=empty)
            x, y = clusters(step)
            F.cross_entropy(model(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
    found = [e.span.first for e in dbg.events if e.name == "gradients_uncleared"]
    assert bool(found) == (clears == "a part")
    assert all(first <= 3 for first in found)


@pytest.mark.parametrize("width", [32, 31], ids=["of an even width", "of an odd width"])
def test_the_entropy_of_labels_by_pixel_is_that_of_all_columns(width: int) -> None:
    labels = torch.zeros(16, 32, width, dtype=torch.long)
    labels[:, :, 1:] = 1
    labels[:, :, width // 2 :] = 2
    model = nn.Conv2d(1, 3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        F.cross_entropy(model(torch.randn(16, 1, 32, width)), labels).backward()
        optimizer.step()
    share = torch.bincount(labels.flatten()) / labels.numel()
    exact = -(share * share.log()).sum().item()
    assert dbg.recording.losses[0].facts["label_entropy"] == pytest.approx(exact, abs=0.05)


def test_a_layer_that_is_thawed_in_mid_run_is_not_frozen() -> None:
    assert [e for e in thawed(stale=False).events if e.name == "parameters_frozen"] == []


def regressed(*, wild: int, loss: type[nn.Module] = nn.MSELoss) -> NeuralDbg:
    """Train a regression; from step 40 on so many batches have targets a thousand times too large."""
    torch.manual_seed(0)
    model, criterion = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for step in range(100):
            x = torch.randn(32, 4, generator=torch.Generator().manual_seed(step))
            y = x.sum(1, keepdim=True) * (1000.0 if 40 <= step < 40 + wild else 1.0)
            optimizer.zero_grad()
            (2.0 * criterion(model(x), y)).backward()
            optimizer.step()
    return dbg


@pytest.mark.parametrize("loss", [nn.MSELoss, nn.HuberLoss, nn.SmoothL1Loss])
@pytest.mark.parametrize("wild", [2, 0], ids=["wild targets", "their twin"])
def test_targets_of_a_batch_at_which_the_loss_stands_out_are_seen(
    wild: int, loss: type[nn.Module]
) -> None:
    found = [e for e in regressed(wild=wild, loss=loss).events if e.name == "target_anomaly"]
    assert [e.span.first for e in found] == ([40] if wild else [])


def test_one_that_no_optimizer_is_told_of_is_forgotten_from_then_on() -> None:
    found = [e for e in thawed(told=False).events if e.layer == "0"]
    assert [(e.name, e.span.first) for e in found] == [("parameters_orphaned", 20)]


class Tied(nn.Module):
    """A language model of one matrix, whose output layer is its table of words."""

    def __init__(self, std: float, *, tied: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.body = nn.Embedding(20, 64), nn.Linear(64, 64)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 20, bias=False)
        nn.init.normal_(self.table.weight, std=std)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.table(words))))


@pytest.mark.parametrize(
    ("std", "tied", "told"),
    [
        pytest.param(1.0, True, {"table"}, id="PyTorch's default for tables"),
        pytest.param(0.125, True, set(), id="a scale that keeps the variance"),
        pytest.param(0.02, True, set(), id="GPT-2's scale"),
        pytest.param(1.0, False, set(), id="a table that is no output"),
    ],
)
def test_a_table_that_is_also_the_output_has_a_scale_to_keep(
    std: float, tied: bool, told: set[str]
) -> None:
    model = Tied(std, tied=tied)

    def words(step: int) -> tuple[Tensor, Tensor]:
        ids = torch.randint(0, 20, (32,), generator=torch.Generator().manual_seed(step))
        return ids, (ids + 1) % 20

    with NeuralDbg(model) as dbg:
        train(model, steps=20, batch=words)
    assert {e.layer for e in dbg.events if e.name == "initialization_huge"} == told
    assert not [e for e in dbg.events if e.name == "initialization_tiny"]


def test_small_tensors_of_several_devices_come_to_the_first():
    far, near = torch.ones(3, device="meta"), torch.ones(3)
    assert [t.device.type for t in on_one_device([far, near])] == ["meta", "meta"]
    same = [near, torch.zeros(3)]
    assert on_one_device(same) is same


@pytest.mark.parametrize(("axis", "right"), [(-1, True), (1, False)], ids=["classes", "batch"])
def test_log_probabilities_of_ctc_are_looked_at_over_the_classes(axis: int, right: bool) -> None:
    model, x = nn.Linear(8, 5), torch.randn(12, 3, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    lengths = torch.full((3,), 12), torch.full((3,), 4)
    with NeuralDbg(model) as dbg:
        for _ in range(3):
            optimizer.zero_grad()
            log_probabilities = model(x).log_softmax(dim=axis)
            F.ctc_loss(log_probabilities, torch.randint(1, 5, (3, 4)), *lengths).backward()
            optimizer.step()
    found = [call.facts["input_log_probabilities"] for call in dbg.recording.losses]
    assert found == [right] * len(found)
    assert found


@pytest.mark.parametrize("own", [True, False], ids=["its own output", "something else"])
def test_a_draw_from_what_the_model_gave_out_is_noted(own: bool) -> None:
    model, x = nn.Linear(8, 5), torch.randn(16, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for _ in range(3):
            optimizer.zero_grad()
            policy = torch.distributions.Categorical(logits=model(x))
            fixed = torch.distributions.Categorical(logits=torch.zeros(16, 5))
            choice = (policy if own else fixed).sample()
            policy.log_prob(choice).mean().backward()
            optimizer.step()
    kinds = {occurrence.kind for occurrence in dbg.recording.occurrences}
    assert ("drawn_from_output" in kinds) is own


class Writes(nn.Module):
    """Writes the weights of another network, which runs under a transform."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 8)

    def forward(self, context: Tensor, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda weights, row: (weights * row).sum())(self.head(context), x)


@pytest.mark.parametrize("mine", [True, False], ids=["of the model", "of another one"])
def test_the_loss_of_what_a_transform_gives_out_is_read(mine: bool) -> None:
    torch.manual_seed(0)
    model, other = Writes(), nn.Linear(3, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.01)
    with NeuralDbg(model) as dbg:
        for _ in range(4):
            context, x = torch.randn(16, 3), torch.randn(16, 8)
            optimizer.zero_grad()
            out = model(context, x)
            given = out if mine else torch.func.vmap(torch.sum)(other(context))
            loss = F.mse_loss(given, torch.zeros(16))
            (loss if mine else loss + out.mean()).backward()
            optimizer.step()
    assert bool(dbg.recording.losses) is mine
    assert {call.function for call in dbg.recording.losses} == ({"mse_loss"} if mine else set())


class Propagated(nn.Module):
    """Rectifies what an adjacency matrix makes of a layer's output: the nonlinearity of no layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        nn.init.constant_(self.second.bias, -30.0)

    def forward(self, x):
        near = torch.full((6, 6), 1 / 6)
        return self.head((near @ self.second((near @ self.first(x)).relu())).relu())


def test_a_nonlinearity_behind_a_product_is_known_and_its_units_die() -> None:
    torch.manual_seed(0)
    model = Propagated()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with NeuralDbg(model) as dbg:
        for _ in range(60):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(
                model(torch.randn(6, 4)), torch.arange(6) % 2
            ).backward()
            optimizer.step()
    first = dbg.get_causal_hypotheses()[0]
    assert (first.mechanism, first.layer) == ("dead_units", "second")
