"""Every loop that people really write, each as one small program with and without a fault.

A loop gets a model-like object and the data, and trains; ``fault`` makes the learning rate so large, or the
gradients so stale, that any run suffers from it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.twins import digits_like

STEPS = 48


class Net(nn.Module):
    """A classifier with two hidden layers."""

    def __init__(self, width: int = 32, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(16, width)
        self.fc2 = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(F.relu(self.fc2(F.relu(self.fc1(x))))))


def batches(steps: int = STEPS, rows: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    many = 256 if rows <= 256 else 4 * rows
    x, y = digits_like(many)
    for step in range(steps):
        start = step * rows % many
        yield x[start : start + rows], y[start : start + rows]


def adam(model: nn.Module, *, fault: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=5.0 if fault else 5e-3)


Loop = Callable[..., tuple[nn.Module, list[float]]]


def plain(
    watch,
    *,
    fault=False,
    model=None,
    optimizer=adam,
    rows=32,
    before=lambda _step, x, y: (x, y),
    after_backward=lambda model: None,
    steps=STEPS,
):
    model = model or Net()
    optimizer, losses = optimizer(model, fault=fault), []
    with watch(model):
        for step, batch in enumerate(batches(steps, rows)):
            x, y = before(step, *batch)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            after_backward(model)
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def accumulation(watch, *, fault=False, share=lambda loss: loss / 4):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for step, (x, y) in enumerate(batches(4 * STEPS)):
            loss = share(F.cross_entropy(model(x), y))
            loss.backward()
            losses.append(loss.item())
            if step % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    return model, losses


def clip_norm(watch, *, fault=False):
    return plain(
        watch, fault=fault, after_backward=lambda m: nn.utils.clip_grad_norm_(m.parameters(), 1.0)
    )


def clip_value(watch, *, fault=False):
    return plain(
        watch, fault=fault, after_backward=lambda m: nn.utils.clip_grad_value_(m.parameters(), 0.5)
    )


def clip_by_hand(watch, *, fault=False):
    def clip(model):
        for parameter in model.parameters():
            parameter.grad.clamp_(-0.5, 0.5)

    return plain(watch, fault=fault, after_backward=clip)


def lbfgs(watch, *, fault=False):
    model = Net(dropout=0.0)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=3.0 if fault else 0.5, max_iter=4)
    x, y = digits_like(128)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with watch(model):
        losses = [optimizer.step(closure).item() for _ in range(16)]
    return model, losses


def optimizer_in_backward(watch, *, fault=False):
    model, losses = Net(), []
    optimizers = {
        p: torch.optim.SGD([p], lr=500.0 if fault else 0.1, momentum=0.9)
        for p in model.parameters()
    }

    def step(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with watch(model):
        for x, y in batches():
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            losses.append(loss.item())
    return model, losses


class Checkpointed(Net):
    """Recomputes its hidden layers in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        def hidden(z: Tensor) -> Tensor:
            return self.drop(F.relu(self.fc2(F.relu(self.fc1(z)))))

        x = x.requires_grad_() if self.reentrant else x
        return self.head(checkpoint(hidden, x, use_reentrant=self.reentrant))


def checkpoint_reentrant(watch, *, fault=False):
    return plain(watch, fault=fault, model=Checkpointed(reentrant=True))


def checkpoint_plain(watch, *, fault=False):
    return plain(watch, fault=fault, model=Checkpointed(reentrant=False))


def evaluation(watch, *, fault=False):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    held, labels = digits_like(64)
    with watch(model):
        for step, (x, y) in enumerate(batches()):
            model.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if step % 5 == 0:
                model.eval()
                with torch.no_grad():
                    losses.append(F.cross_entropy(model(held), labels).item())
    return model, losses


def moving_average(watch, *, fault=False):
    model = Net()
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for step, (x, y) in enumerate(batches()):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            if step == 10:
                best = copy.deepcopy(model)
                losses.append(F.cross_entropy(best(x), y).item())
            losses.append(loss.item())
    return average.module, losses


def parameters_added(watch, *, fault=False):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for step, (x, y) in enumerate(batches()):
            if step == 16:
                model.fc3 = nn.Linear(32, 32)
                model.drop = nn.Sequential(model.fc3, nn.ReLU())
                optimizer.add_param_group({"params": model.fc3.parameters()})
            if step == 32:
                model.head = nn.Linear(32, 4)
                optimizer = adam(model, fault=fault)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def freezing(watch, *, fault=False):
    model = Net()
    model.fc1.requires_grad_(requires_grad=False)
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for step, (x, y) in enumerate(batches()):
            if step == 24:
                model.fc1.requires_grad_(requires_grad=True)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


class Tied(nn.Module):
    """Embedding and output share a weight; one layer is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.tok = nn.Embedding(16, 24)
        self.block = nn.Linear(24, 24)
        self.head = nn.Linear(24, 16, bias=False)
        self.head.weight = self.tok.weight
        nn.init.normal_(self.tok.weight, std=0.2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok(ids)
        for _ in range(2):
            x = x + torch.tanh(self.block(x))
        return self.head(x)


def tied_and_shared(watch, *, fault=False):
    model = Tied()
    optimizer, losses = adam(model, fault=fault), []
    ids = torch.randint(0, 16, (256,), generator=torch.Generator().manual_seed(1))
    with watch(model):
        for step in range(STEPS):
            part = ids[step % 8 * 32 :][:32]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(part), (part * 3 + 1) % 16)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


class Wrapper(nn.Module):
    """What ``DataParallel`` is on a machine without devices."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Tensor) -> Tensor:
        return self.module(*args)


def wrapped_after_entry(watch, *, fault=False):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        outer = Wrapper(model)
        for x, y in batches():
            optimizer.zero_grad()
            loss = F.cross_entropy(outer(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def data_parallel(watch, *, fault=False):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    outer = nn.DataParallel(model)
    with watch(outer):
        for x, y in batches():
            optimizer.zero_grad()
            loss = F.cross_entropy(outer(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


class Lion(torch.optim.Optimizer):
    """A custom optimizer: the sign of a momentum."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    m.lerp_(p.grad, 0.1)
                    p.add_(m.sign(), alpha=-group["lr"])


def custom_optimizer(watch, *, fault=False):
    def lion(model, *, fault):
        return Lion(model.parameters(), lr=5.0 if fault else 3e-3)

    return plain(watch, fault=fault, optimizer=lion)


def duck_typed_optimizer(watch, *, fault=False):
    model, losses, rate = Net(), [], 20.0 if fault else 0.2
    with watch(model):
        for x, y in batches():
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            for parameter in model.parameters():
                parameter.data -= rate * parameter.grad
            losses.append(loss.item())
    return model, losses


class Square(torch.autograd.Function):
    """A custom autograd function."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Custom(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(0.3 * Square.apply(F.relu_(self.fc1(x))).clamp_(max=9.0))


def custom_function_and_in_place(watch, *, fault=False):
    return plain(watch, fault=fault, model=Custom())


def user_hooks(watch, *, fault=False):
    model = Net()
    seen = []
    model.fc1.register_forward_hook(lambda _m, _a, out: out * 1.01)
    model.fc2.register_forward_pre_hook(lambda _m, args: (args[0] + 0.01,))
    model.head.weight.register_hook(lambda g: g * 0.9)
    model.fc2.register_full_backward_hook(lambda *_: seen.append(1))
    model, losses = plain(watch, fault=fault, model=model)
    return model, [*losses, float(len(seen))]


early_backward = torch.autograd.backward


def backward_imported_early(watch, *, fault=False):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for x, y in batches():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            early_backward(loss)
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def autograd_grad(watch, *, fault=False):
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for x, y in batches():
            loss = F.cross_entropy(model(x), y)
            params = list(model.parameters())
            for parameter, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
                parameter.grad = gradient
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def gradient_penalty(watch, *, fault=False):
    model = Net(dropout=0.0)
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for rows, y in batches():
            x = rows.clone().requires_grad_()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            (loss + 0.1 * slope.square().sum()).backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def two_optimizers(watch, *, fault=False):
    model = Net()
    body = torch.optim.SGD(
        [*model.fc1.parameters(), *model.fc2.parameters()], lr=20.0 if fault else 0.1
    )
    head, losses = torch.optim.Adam(model.head.parameters(), lr=5.0 if fault else 5e-3), []
    with watch(model):
        for x, y in batches():
            body.zero_grad()
            head.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            body.step()
            head.step()
            losses.append(loss.item())
    return model, losses


def many_calls_of_parts(watch, *, fault=False):
    """The loop never calls the model itself, only its children."""
    model = Net()
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for x, y in batches():
            optimizer.zero_grad()
            hidden = F.relu(model.fc2(F.relu(model.fc1(x))))
            loss = F.cross_entropy(model.head(hidden), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def functional_call(watch, *, fault=False):
    model = Net(dropout=0.0)
    optimizer, losses = adam(model, fault=fault), []
    with watch(model):
        for x, y in batches():
            optimizer.zero_grad()
            inner = {name: p - 0.01 * p.detach() for name, p in model.named_parameters()}
            loss = F.cross_entropy(torch.func.functional_call(model, inner, (x,)), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


class Sick:
    """A hook that makes the gradient of an output infinite, and leaves the output as it is."""

    armed = False

    def __call__(self, _module, _args, out):
        return out + torch.sqrt(0.0 * out.detach() + 0.0 * out) if self.armed else None


def losing(where, *, at, clipped=False, rows=32):
    """Return a loop that never reads a number, in which something is not finite from a step on."""

    def loop(watch):
        model, sick = Net(dropout=0.0), Sick()
        model.fc2.register_forward_hook(sick)
        optimizer = adam(model, fault=False)
        with watch(model):
            for step, (x, y) in enumerate(batches(rows=rows)):
                bad = step >= at
                optimizer.zero_grad()
                sick.armed = bad and where == "gradient"
                out = model(x * torch.inf if bad and where == "input" else x)
                factor = 0.0 if bad and where == "forward" else 1.0
                loss = F.cross_entropy(out, y) + torch.log(factor * out[0].square().sum())
                loss.backward()
                if clipped:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        return model, []

    return loop


LOOPS: tuple[Loop, ...] = (
    plain, accumulation, clip_norm, clip_value, clip_by_hand, lbfgs, optimizer_in_backward,
    checkpoint_reentrant, checkpoint_plain, evaluation, moving_average, parameters_added, freezing,
    tied_and_shared, wrapped_after_entry, data_parallel, custom_optimizer, duck_typed_optimizer,
    custom_function_and_in_place, user_hooks, backward_imported_early, autograd_grad, gradient_penalty,
    two_optimizers, many_calls_of_parts, functional_call,
)  # fmt: skip
