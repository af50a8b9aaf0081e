"""What the recording of a loop says beyond its losses: steps, groups, names, occurrences, what was not seen."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.capture import Schedule
from tests.scenarios.loops import programs as loops
from tests.twins import recorded


def _names(recording):
    return {layer.name for layer in recording.topology.layers if layer.order >= 0}


def test_a_micro_batch_is_no_step_even_before_the_first_optimizer_step():
    recording = recorded(loops.accumulation)
    assert recording.step["backwards"].values.tolist() == [4.0] * loops.STEPS
    assert recording.step["stepped"].values.all()


@pytest.mark.parametrize(
    "share",
    [lambda loss: loss / 4, lambda loss: loss * 0.25, lambda loss: loss, lambda loss: loss / 2],
    ids=["divided", "multiplied", "whole", "divided by something else"],
)
def test_the_loss_of_an_accumulated_step_is_that_of_all_its_examples(share):
    kept = []

    def program(watch):
        model, losses = loops.accumulation(watch, share=share)
        kept[:] = losses
        return model, losses

    recording = recorded(program)
    shares = share(1.0) == 0.25
    expected = [sum(kept[i : i + 4]) / (1 if shares else 4) for i in range(0, len(kept), 4)]
    assert recording.step["loss"].values.tolist() == pytest.approx(expected, rel=1e-6)


def test_several_evaluations_belong_to_one_step_of_a_closure():
    recording = recorded(loops.lbfgs)
    assert (recording.step["backwards"].values >= 2).sum() >= 8
    assert recording.steps.size == 16


class Derived(torch.optim.SGD):
    """Does something more around the step of its base class, as optimizers of one's own do."""

    def step(self, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("closure", [False, True], ids=["plain", "with a closure"])
def test_a_step_that_calls_the_hooked_step_of_its_base_class_is_one_step(closure):
    kept = []

    def program(watch):
        torch.manual_seed(0)
        model = loops.Net()
        # An instance of the base class, anywhere in the program, hooks its step.
        torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1e-3)
        optimizer = Derived(model.parameters(), lr=1e-3)
        with watch(model):
            for x, y in loops.batches():

                def evaluate(x=x, y=y):
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                    return loss

                if closure:
                    loss = optimizer.step(evaluate)
                else:
                    loss = evaluate()
                    optimizer.step()
                kept.append(loss.item())
        return model, kept

    recording = recorded(program, Schedule(dense=10, every=16, sparsest=16))
    assert recording.step["loss"].values.tolist() == pytest.approx(kept, rel=1e-6)


def test_the_loss_of_a_closure_step_is_its_first_evaluation():
    kept = []

    def program(watch):
        model, losses = loops.lbfgs(watch)
        kept[:] = losses
        return model, losses

    # What ``step`` returns is the first evaluation, at the weights that the step began with.
    assert recorded(program).step["loss"].values.tolist() == pytest.approx(kept, rel=1e-6)


class Views(nn.Module):
    """One encoder for several parts of the input, which know nothing of one another."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(sum(torch.tanh(self.encode(part)) for part in x.unbind(1)))


class Steps(Views):
    """The same layers fed by what they gave before: directly, or through one another."""

    def __init__(self, *, direct: bool) -> None:
        super().__init__()
        self.back: nn.Module = nn.Linear(8, 4)
        if direct:
            self.encode, self.back, self.head = nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros_like(x[:, 0])
        for part in x.unbind(1):
            h = part + self.back(torch.tanh(self.encode(h)))
        return self.head(torch.tanh(self.encode(h)))


@pytest.mark.parametrize(
    ("model", "recurrent"),
    [
        (Views, False),
        (partial(Steps, direct=True), True),
        (partial(Steps, direct=False), True),
    ],
    ids=["views of one input", "a layer that feeds itself", "layers that feed one another"],
)
def test_calls_are_steps_of_time_only_where_a_layer_is_fed_by_itself(model, recurrent):
    def program(watch):
        torch.manual_seed(0)
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        with watch(net):
            for _ in range(3):
                optimizer.zero_grad()
                net(torch.randn(5, 6, 4)).square().mean().backward()
                optimizer.step()
        return net, []

    layers = recorded(program).layer
    assert ("time_grad_slope" in layers) == recurrent
    if recurrent:
        # Six frames, and once more in the end.
        over = layers["time_grad_over"]
        assert over.values[over.observed].max() == 6


@pytest.mark.parametrize("loop", [loops.lbfgs, loops.accumulation], ids=lambda f: f.__name__)
def test_evaluations_and_micro_batches_are_no_steps_of_time(loop):
    assert "time_grad_slope" not in recorded(loop).layer


@pytest.mark.parametrize(
    "loop", [loops.autograd_grad, loops.duck_typed_optimizer], ids=lambda f: f.__name__
)
def test_gradients_are_seen_to_be_cleared_where_no_optimizer_does_it(loop):
    residual = recorded(loop).step["residual"]
    assert residual.observed[2:].all()
    assert not residual.values.any()


def test_gradients_left_by_an_update_by_hand_are_seen():
    def program(watch):
        model, losses = loops.Net(), []
        with watch(model):
            for x, y in loops.batches():
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                for parameter in model.parameters():
                    parameter.data -= 1e-3 * parameter.grad
                losses.append(loss.item())
        return model, losses

    residual = recorded(program).step["residual"]
    assert residual.values[residual.observed].all()
    assert residual.observed.sum() > loops.STEPS - 3


def test_clipping_shows_as_the_norm_before_and_after():
    recording = recorded(loops.clip_norm)
    raw, used = recording.step["grad_norm_raw"], recording.step["grad_norm_used"]
    seen = raw.observed & used.observed
    expected = raw.values[seen].clip(max=1.0)
    assert seen.sum() >= 15
    assert used.values[seen].tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_optimizers_that_step_inside_a_backward_pass_are_one_step():
    recording = recorded(loops.optimizer_in_backward)
    assert recording.steps.size == loops.STEPS
    assert len(recording.optimizers) == 1
    assert recording.grad["grad_norm"].observed[0].all()


@pytest.mark.parametrize(
    "loop", [loops.checkpoint_plain, loops.checkpoint_reentrant], ids=lambda f: f.__name__
)
def test_a_recomputed_part_is_seen_as_if_it_were_not_recomputed(loop):
    def train(model):
        return lambda watch: loops.plain(watch, model=model)

    found, expected = recorded(loop), recorded(train(loops.Net()))
    assert found.topology.layers == expected.topology.layers
    assert found.topology.edges == expected.topology.edges
    assert found.layer.keys() == expected.layer.keys()
    for name, column in expected.layer.items():
        assert np.array_equal(found.layer[name].observed, column.observed), name


def test_a_part_that_runs_without_gradients_for_good_is_not_read():
    class Taught(loops.Net):
        def __init__(self):
            super().__init__()
            self.teacher = nn.Linear(16, 4)

        def forward(self, x):
            with torch.no_grad():
                hint = self.teacher(x)
            return super().forward(x) + 0.0 * F.relu(hint)

    recording = recorded(lambda watch: loops.plain(watch, model=Taught()))
    assert _names(recording) == {"fc1", "fc2", "drop", "head"}
    teacher = next(i for i, x in enumerate(recording.topology.layers) if x.name == "teacher")
    assert not any(column.observed[:, teacher].any() for column in recording.layer.values())
    assert not any(teacher in edge for edge in recording.topology.edges)
    assert recording.occurrences == ()


def test_a_layer_that_an_evaluation_pass_uses_too_keeps_the_numbers_of_training():
    class Twice(loops.Net):
        def forward(self, x):
            out = super().forward(x)
            with torch.no_grad():
                super().forward(1e3 * x)
            return out

    recording = recorded(lambda watch: loops.plain(watch, model=Twice()))
    assert recording.layer["act_absmax"].values.max() < 100.0


def test_a_hook_of_the_user_on_the_backward_pass_hides_no_activation():
    def train(watch):
        model = loops.Net()
        model.fc2.register_full_backward_hook(lambda *_: None)
        return loops.plain(watch, model=model)

    layers = {x.name: x for x in recorded(train).topology.layers}
    assert layers["fc2"].activation == "relu"


def test_parameters_that_were_added_or_replaced_get_rows_of_their_own():
    recording = recorded(loops.parameters_added)
    names = {param.name: i for i, param in enumerate(recording.topology.params)}
    ratio = recording.param["update_ratio"]
    late = recording.sampled > 32
    assert ratio.observed[late, names["drop.0.weight"]].all()
    assert ratio.observed[late, names["head.weight"]].all()
    assert len(recording.optimizers) == 1


def test_a_frozen_layer_moves_only_once_it_is_set_free():
    recording = recorded(loops.freezing, Schedule(dense=100))
    place = next(i for i, p in enumerate(recording.topology.params) if p.name == "fc1.weight")
    ratio = recording.param["update_ratio"]
    moved = (ratio.values[:, place] > 0) & ratio.observed[:, place]
    assert not moved[:24].any()
    assert moved[24:].all()


def test_a_tied_weight_is_one_parameter_and_a_shared_module_one_layer():
    recording = recorded(loops.tied_and_shared)
    assert [p.name for p in recording.topology.params] == [
        "tok.weight",
        "block.weight",
        "block.bias",
    ]
    assert _names(recording) == {"tok", "block", "head"}


def test_updates_by_hand_are_counted_and_said_not_to_be_observed():
    recording = recorded(loops.duck_typed_optimizer)
    assert recording.steps.size == loops.STEPS
    assert recording.step["stepped"].values.all()
    assert any("without an optimizer object" in x.why for x in recording.unobserved)


def test_a_loop_that_never_steps_is_counted_by_its_backward_passes():
    def program(watch):
        model, losses = loops.Net(), []
        with watch(model):
            for x, y in loops.batches(100):
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                losses.append(loss.item())
        return model, losses

    recording = recorded(program)
    assert recording.steps.size == 100
    assert not recording.step["stepped"].values.any()
    assert recording.step["loss"].observed.all()


def test_modules_called_one_by_one_are_all_seen():
    recording = recorded(loops.many_calls_of_parts)
    assert {"fc1", "fc2", "head"} <= _names(recording)
    assert recording.step["input_mean"].observed.all()


def test_another_models_backward_pass_and_optimizer_are_not_ours():
    def program(watch):
        model, other = loops.Net(), loops.Net()
        optimizer, theirs = loops.adam(model, fault=False), loops.adam(other, fault=True)
        losses = []
        with watch(model):
            for x, y in loops.batches():
                theirs.zero_grad()
                (1e3 * F.cross_entropy(other(x), y)).backward()
                theirs.step()
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    recording = recorded(program)
    assert recording.steps.size == loops.STEPS
    assert recording.step["loss"].values.max() < 10.0
    assert len(recording.optimizers) == 1


def test_a_first_nan_of_the_data_is_noted_at_its_very_step():
    def program(watch):
        model = loops.Net()
        optimizer = loops.adam(model, fault=False)
        with watch(model):
            for step, (rows, y) in enumerate(loops.batches(200)):
                x = rows.clone()
                if step == 173:
                    x[3, 5] = math.nan
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        return model, []

    recording = recorded(program)
    first = recording.occurrences[0]
    assert (first.kind, first.step) == ("nonfinite_input", 173)


def test_a_nan_born_in_a_backward_pass_is_noted_at_its_very_step_and_layer():
    class Late(loops.Net):
        bad = False

        def forward(self, x):
            hidden = F.relu(self.fc2(F.relu(self.fc1(x))))
            # The value at zero is an ordinary zero, its derivative is not.
            return self.head(
                hidden + 0.0 * torch.sqrt(hidden * (0.0 if self.bad else 1.0) + 0.0).detach()
            ) + (torch.sqrt((hidden * 0.0).sum(1, keepdim=True)) if self.bad else 0.0)

    def program(watch):
        model = Late()
        optimizer = loops.adam(model, fault=False)
        with watch(model):
            for step, (x, y) in enumerate(loops.batches(190)):
                model.bad = step == 185
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        return model, []

    recording = recorded(program)
    found = [x for x in recording.occurrences if x.kind.startswith("nonfinite")]
    assert (found[0].kind, found[0].step) == ("nonfinite_gradient", 185)
    assert recording.topology.layers[found[0].layer].name in {"fc2", "head"}


def test_a_nan_that_a_rectifier_hides_from_the_probe_is_told_by_the_weights_it_leaves_behind():
    class Blank(loops.Net):
        bad = False

        def forward(self, x):
            first = F.relu(self.fc1(x)) * (0.0 if self.bad else 1.0)
            hidden = self.fc2(first)
            length = hidden.square().sum(1, keepdim=True)
            return self.head(hidden) + torch.sqrt(length * (0.0 if self.bad else 1.0))

    def program(watch):
        torch.manual_seed(0)
        model, losses = Blank(), []
        nn.init.constant_(model.fc1.bias, -100.0)
        optimizer = loops.adam(model, fault=False)
        with watch(model):
            for step, (x, y) in enumerate(loops.batches(190)):
                model.bad = step == 185
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                # Nothing comes through a rectifier that is shut.
                assert model.fc1.weight.grad.isfinite().all()
                optimizer.step()
                losses.append(0.0)
        return model, losses

    recording = recorded(program)
    first = recording.occurrences[0]
    assert (first.kind, first.step) == ("nonfinite_gradient", 185)
    assert recording.topology.layers[first.layer].name == "fc2"


def test_the_learning_rate_of_every_step_and_group_is_kept():
    def program(watch):
        model = loops.Net()
        optimizer = torch.optim.SGD(
            [{"params": model.fc1.parameters(), "lr": 0.3}, {"params": model.head.parameters()}],
            lr=0.1,
            momentum=0.5,
        )
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        with watch(model):
            for x, y in loops.batches(40):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                schedule.step()
        return model, []

    recording = recorded(program)
    rates = recording.group["lr"].values
    assert rates.shape == (40, 2)
    for column, start in ((0, 0.3), (1, 0.1)):
        expected = [start * 0.9**step for step in range(40)]
        assert rates[:, column].tolist() == pytest.approx(expected, rel=1e-5)
    assert (recording.group["momentum"].values == 0.5).all()


def test_a_lazy_layer_is_watched_from_its_first_call():
    def program(watch):
        model = nn.Sequential(nn.LazyLinear(24), nn.ReLU(), nn.LazyLinear(4))
        with watch(model):
            model(loops.digits_like()[0])
            optimizer = loops.adam(model, fault=False)
            for x, y in loops.batches(30):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        return model, []

    recording = recorded(program)
    assert [p.shape for p in recording.topology.params] == [(24, 16), (24,), (4, 24), (4,)]
    assert recording.param["update_ratio"].observed[:, 0].all()


class Decaying(torch.optim.Optimizer):
    """One of the user's own, with a name of its own for its decay."""

    def __init__(self, params, lr, wd):
        super().__init__(params, {"lr": lr, "wd": wd})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - group["lr"] * group["wd"]).sub_(p.grad, alpha=group["lr"])


def trained(optimizer, scale=lambda _: 1.0, steps=60):
    """Return a loop over a small regression whose loss is scaled step by step."""

    def loop(watch):
        torch.manual_seed(0)
        model, losses = nn.Linear(8, 4), []
        stepped = optimizer(model.parameters())
        with watch(model):
            for step in range(steps):
                stepped.zero_grad()
                loss = scale(step) * model(torch.randn(16, 8)).square().mean()
                loss.backward()
                stepped.step()
                losses.append(loss.item())
        return model, losses

    return loop


def test_decay_is_known_by_the_name_that_optimizers_of_papers_give_it():
    found = recorded(trained(lambda params: Decaying(params, lr=0.01, wd=0.3)))
    assert found.group["weight_decay"].values.max() == pytest.approx(0.3)
    assert found.optimizers[0].defaults["weight_decay"] == pytest.approx(0.3)


@pytest.mark.parametrize(("largest", "expected"), [(False, 1.0), (True, 0.01)])
def test_a_gradient_stands_beside_what_it_is_divided_by(largest, expected):
    adam = partial(torch.optim.Adam, lr=1e-6, betas=(0.9, 0.9), amsgrad=largest)
    loop = trained(adam, lambda step: 100.0 if step < 30 else 1.0, steps=150)
    column = recorded(loop, Schedule(dense=150)).param["grad_rms_over_v"]
    assert column.values[-1][column.observed[-1]] == pytest.approx(expected, rel=0.6)
