"""Loops that people outside thought of: transforms, modes, copies and scripts of the model, other number formats, threads."""

import copy
import io
import pickle
import sys
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from neuraldbg import NeuralDbg
from tests.twins import Watched, assert_same, is_untouched, recorded, run, twins

STEPS = 40


def small(kind=torch.float32):
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).to(kind)


def program(*, beside=None, make=small, around=None):
    """Return a loop that does something besides training in every eighth step, and steps within a context."""

    def train(watch):
        torch.manual_seed(1)
        model = make()
        kind = next(model.parameters()).dtype
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        with watch(model):
            for step in range(STEPS):
                x = torch.randn(16, 6).to(kind)
                if beside is not None and step % 8 == 4:
                    losses.append(beside(model, x))
                with around() if around is not None else warnings.catch_warnings():
                    loss = F.cross_entropy(model(x).abs(), x.real[:, :3].argmax(1))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses.append(loss.item())
        return model, losses

    return train


class Linear(nn.Module):
    """A layer with complex weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6, dtype=torch.complex64) * 0.3)

    def forward(self, x):
        return x @ self.weight.T


class Noisy(TorchDispatchMode):
    """Draws a number for every operation: whoever computes under it changes all that is drawn later."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            torch.rand(())
        return result


def per_sample(model, x):
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, row):
        return functional_call(model, weights, (row[None],)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    return sum(g.sum().item() for g in found.values())


def directional(model, x):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return jvp(model, (x,), (torch.ones_like(x),))[1].sum().item()


def jacobians(model, x):
    return vmap(jacrev(model))(x).sum().item()


def vectorized(model, x):
    found = torch.autograd.functional.jacobian(model, x, vectorize=True)
    return found.sum().item()


def pretended(_model, _x):
    with FakeTensorMode():
        other = nn.Linear(6, 3)
        optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
        other(torch.randn(2, 6)).sum().backward()
        optimizer.step()
    return 0.0


def on_meta(_model, _x):
    other = small().to("meta")
    other(torch.randn(2, 6, device="meta")).sum().backward()
    return 0.0


def scripted(model, x):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return torch.jit.script(model)(x).sum().item()


def scripted_copy(model, x):
    return scripted(copy.deepcopy(model), x)


def traced(model, x):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return torch.jit.trace(model, x)(x).sum().item()


def saved_whole(model, x):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    back = torch.load(file, weights_only=False)
    return back(x).sum().item() + len(back._forward_pre_hooks)


CASES = {
    "per-sample gradients": program(beside=per_sample),
    "directional derivatives": program(beside=directional),
    "jacobians of every row": program(beside=jacobians),
    "a jacobian in one backward pass": program(beside=vectorized),
    "another model in fake tensor mode": program(beside=pretended),
    "another model on the meta device": program(beside=on_meta),
    "the model is scripted": program(beside=scripted),
    "a copy is scripted": program(beside=scripted_copy),
    "the model is traced": program(beside=traced),
    "the whole model is saved": program(beside=saved_whole),
    "a dispatch mode that draws numbers": program(around=Noisy),
    "double precision": program(make=lambda: small(torch.float64)),
    "complex weights": program(make=Linear),
}


@pytest.mark.parametrize("train", CASES.values(), ids=CASES)
def test_the_run_is_as_without_us_and_every_step_and_loss_is_seen(train):
    plain, watched, recording = twins(train)
    assert_same(plain, watched)
    assert is_untouched()
    assert recording.facts["disarmed"] == ""
    assert recording.steps.size == STEPS
    assert recording.step["loss"].observed.all()


def test_double_precision_and_single_tell_the_same_norms():
    single, double = (
        recorded(program(make=lambda k=k: small(k))) for k in (torch.float32, torch.float64)
    )
    assert double.grad["grad_norm"].values[0] == pytest.approx(
        single.grad["grad_norm"].values[0], rel=0.1
    )


def test_a_complex_gradient_has_the_norm_of_its_real_and_imaginary_parts():
    model = Linear()
    x = torch.randn(16, 6, dtype=torch.complex64)
    model(x).abs().sum().backward()
    expected = torch.view_as_real(model.weight.grad).norm().item()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Watched(model):
        model.zero_grad()
        model(x).abs().sum().backward()
        optimizer.step()
    found = Watched.last.recording().grad["grad_norm"].values[0]
    assert found.max() == pytest.approx(expected, rel=1e-5)


def test_copies_and_pickles_carry_no_hook_of_ours_and_the_model_keeps_them():
    model = small()
    mine = model.register_forward_pre_hook(lambda *_: None)
    with NeuralDbg(model):
        watched = len(model._forward_pre_hooks)
        state = model.__getstate__()
        assert len(state["_forward_pre_hooks"]) == 1
        mine.remove()
        assert len(copy.deepcopy(model)._forward_pre_hooks) == 0
        assert len(pickle.loads(pickle.dumps(model))._forward_pre_hooks) == 0
        assert len(model._forward_pre_hooks) == watched - 1 > 0
    assert is_untouched()


class TestClosures:
    def run(self, *, before, steps, most):
        model = small()
        x = torch.randn(32, 6)
        y = x[:, :3].tanh()
        first = torch.optim.Adam(model.parameters(), lr=1e-2)
        last = torch.optim.LBFGS(
            model.parameters(), max_iter=most, tolerance_grad=0, tolerance_change=0
        )

        def closure():
            last.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss

        with NeuralDbg(model) as dbg:
            for _ in range(before):
                first.zero_grad()
                F.mse_loss(model(x), y).backward()
                first.step()
            for _ in range(steps):
                last.step(closure)
        return dbg

    @pytest.mark.parametrize("before", [0, 3, 40])
    def test_a_step_of_many_evaluations_is_one_step(self, before):
        dbg = self.run(before=before, steps=6, most=20)
        assert dbg.recording.steps.size == before + 6

    def test_an_optimizer_that_takes_over_the_parameters_of_another_beats_time_at_once(self):
        model = small()
        with NeuralDbg(model) as dbg:
            for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop):
                optimizer = kind(model.parameters(), lr=1e-3)
                for _ in range(10):
                    optimizer.zero_grad()
                    model(torch.randn(4, 6)).sum().backward()
                    optimizer.step()
        assert dbg.recording.steps.size == 30


def test_gradients_put_in_the_place_of_what_was_added_up_are_no_sum():
    model = small()
    inner, outer = model[0].weight, model[2].weight
    optimizers = [torch.optim.SGD([p], lr=1e-2) for p in (inner, outer)]
    with NeuralDbg(model) as dbg:
        for _ in range(60):
            x = torch.randn(16, 6)
            outer.grad = torch.autograd.grad(F.mse_loss(model(x), x[:, :3]), outer)[0]
            optimizers[1].step()
            inner.grad = None
            # This one adds to the gradient of the outer weights, which is thrown away unused.
            F.mse_loss(model(x), x[:, :3]).backward()
            optimizers[0].step()
    assert "gradients_not_cleared" not in {
        h.mechanism for h in dbg.get_causal_hypotheses() if h.probability > 0.1
    }


def _job(model, seed, watch, sizes):
    drawn = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watch(model) as dbg:
        for _ in range(STEPS):
            x = torch.randn(16, 6, generator=drawn)
            optimizer.zero_grad()
            F.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
            optimizer.step()
    sizes.append(dbg.recording.steps.size)


@pytest.fixture
def often():
    """Let threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_two_threads_each_train_and_watch_a_model_of_their_own():
    torch.manual_seed(0)
    models, sizes = [small(), small()], []
    alone = [copy.deepcopy(m) for m in models]
    # PyTorch wraps the step of a class when its first optimizer is made, twice if two threads do so at once.
    torch.optim.Adam(models[0].parameters())
    threads = [
        threading.Thread(target=_job, args=(model, seed, NeuralDbg, sizes))
        for seed, model in enumerate(models)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, model in enumerate(alone):
        _job(model, seed, NeuralDbg, [])
    assert sizes == [STEPS, STEPS]
    for together, single in zip(models, alone, strict=True):
        for a, b in zip(together.parameters(), single.parameters(), strict=True):
            assert torch.equal(a, b)
    assert is_untouched()


@pytest.mark.usefixtures("often")
@pytest.mark.filterwarnings("ignore:NeuralDBG disarmed itself:neuraldbg.errors.CaptureWarning")
def test_threads_that_train_parts_of_one_model_at_once_are_left_alone():
    model = nn.ModuleList(small() for _ in range(2))

    def train(part):
        optimizer = torch.optim.SGD(part.parameters(), lr=1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            part(torch.randn(16, 6)).square().mean().backward()
            optimizer.step()

    with NeuralDbg(model) as dbg:
        threads = [threading.Thread(target=train, args=(part,)) for part in model]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    why = dbg.recording.facts["disarmed"]
    assert why == "" or "several threads" in why
    assert is_untouched()


def test_a_thread_that_only_asks_the_model_is_not_part_of_the_training():
    model = small()
    stop = threading.Event()

    def serve():
        with torch.no_grad():
            while not stop.is_set():
                model(torch.full((4, 6), 1e6))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        plain = run(program(make=lambda: model), Watched)
    finally:
        stop.set()
        thread.join()
    recording = Watched.last.recording()
    assert recording.facts["disarmed"] == ""
    assert recording.steps.size == STEPS
    assert max(plain.losses) < 10
    assert recording.step["input_absmax"].values.max() < 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_step_of_an_optimizer_does_not_go_on_into_ours():
    torch._dynamo.reset()
    counted = torch._dynamo.utils.counters

    def graphs(watch):
        counted.clear()
        torch._dynamo.reset()
        model = small()
        optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.1))
        step = torch.compile(optimizer.step, backend="eager")
        with watch(model):
            for _ in range(12):
                optimizer.zero_grad()
                model(torch.randn(4, 6)).square().mean().backward()
                step()
        return counted["stats"]["unique_graphs"]

    class Nobody:
        def __init__(self, model):
            pass

        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    assert graphs(Watched) <= graphs(Nobody) + 2
    assert Watched.last.recording().steps.size == 12
    # What is left of the compiler would make later watches look at fewer steps.
    torch._dynamo.reset()
