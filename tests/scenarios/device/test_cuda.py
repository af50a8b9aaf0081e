"""On a CUDA device: the run is the same, nothing waits between looks, and what went wrong is told."""

import math
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.capture import Schedule
from neuraldbg.capture.hindsight import LOOKED_EVERY
from neuraldbg.capture.peek import HELD
from neuraldbg.capture.quiet import Quiet
from tests.scenarios.loops import programs
from tests.scenarios.loops.programs import LOOPS, Net, adam, losing
from tests.scenarios.loops.test_shortcut import CHANGES, RHYTHM, changing
from tests.twins import Watched, assert_same, digits_like, recorded, twins

pytestmark = [
    pytest.mark.gpu,
    # The compiler's own, and autograd's about a stream that the test changes on purpose.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
NAMED = {x.__name__: x for x in LOOPS} | {name: changing(**at) for name, at in CHANGES.items()}
# These hold Python's own random numbers, or more than one device.
NOT_HERE = {"data_parallel", "tied_and_shared"}


def far(rows=32):
    with torch.device("cpu"):
        x, y = digits_like(rows)
    return x.cuda(), y.cuda()


@pytest.fixture(autouse=True)
def _data(monkeypatch):
    monkeypatch.setattr(programs, "digits_like", far)


@pytest.mark.parametrize("name", sorted(NAMED.keys() - NOT_HERE))
def test_a_watched_run_is_the_same_run(name):
    plain, watched, found = twins(NAMED[name], RHYTHM)
    if not all(math.isfinite(x) for x in plain.losses):
        plain.losses = watched.losses = []
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    assert found.facts["device"] == "cuda"
    # The default device of these tests is a mode of its own.
    assert torch._C._len_torch_function_stack() == 1


def mixed(watch, *, dtype=torch.float16, fused=False, scaled=True):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, fused=fused)
    scaler = torch.amp.GradScaler("cuda", enabled=scaled, init_scale=2.0**20)
    losses = []
    with watch(model):
        for x, y in programs.batches():
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=dtype):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
    return model, losses


MIXED = {
    "float16, scaled": {},
    "float16, scaled, fused": {"fused": True},
    "bfloat16": {"dtype": torch.bfloat16, "scaled": False},
}


@pytest.mark.parametrize("kind", MIXED)
def test_mixed_precision_is_seen_as_it_is(kind):
    plain, watched, found = twins(lambda watch: mixed(watch, **MIXED[kind]), RHYTHM)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    loss = found.step["loss"]
    assert loss.observed.all()
    assert loss.values == pytest.approx(plain.losses, rel=1e-5)
    raw = found.step["grad_norm_raw"]
    # The true gradient, whatever factor a scaler puts on it, is of the size of that of a small classifier.
    assert raw.values[raw.observed].max() < 100.0
    assert not [x for x in found.occurrences if x.kind.startswith("nonfinite")]


class Silence:
    """Makes every wait for the device an error, but in the steps that are looked at closely."""

    def __init__(self, sampled):
        self.step, self.sampled = 0, set(sampled)
        self.mode()

    def mode(self):
        torch.cuda.set_sync_debug_mode("default" if self.step in self.sampled else "error")

    def next(self):
        self.step += 1
        self.mode()


@pytest.mark.parametrize("clipped", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zeros"])
def test_nothing_waits_for_the_device_between_two_looks(clipped, set_to_none):
    x, y = far(64)

    def loop(watch, quiet=None):
        model = Net()
        # Adam's counter would be on the device here, and be read by itself.
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        with watch(model):
            for _ in range(48):
                optimizer.zero_grad(set_to_none=set_to_none)
                F.cross_entropy(model(x), y).backward()
                if clipped:
                    nn.utils.clip_grad_norm_(model.parameters(), 0.1, foreach=True)
                optimizer.step()
                if quiet is not None:
                    quiet.next()
            torch.cuda.set_sync_debug_mode("default")
        return model, []

    sampled = recorded(loop, RHYTHM).sampled
    try:
        found = recorded(lambda watch: loop(watch, Silence(sampled)), RHYTHM)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.facts["disarmed"] == ""
    assert list(found.sampled) == list(sampled)
    assert found.step["loss"].observed.all()
    assert set(found.step["residual"].values[1:].tolist()) == {0.0}


def test_a_step_that_is_looked_at_waits_once():
    x, y = far(64)

    def loop(watch):
        model, waits = Net(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        with watch(model):
            for _ in range(48):
                optimizer.zero_grad()
                torch.cuda.set_sync_debug_mode("warn")
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                torch.cuda.set_sync_debug_mode("default")
                waits.append(sum("synchronizing" in str(one.message) for one in told))
        loop.waits = waits
        return model, []

    try:
        found = recorded(loop, RHYTHM)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    looked = [loop.waits[step] for step in found.sampled]
    assert found.facts["disarmed"] == ""
    assert sum(loop.waits) == sum(looked) > 0
    assert max(looked) <= 1


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("read", ["outputs", "state", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recurrences_of_the_device_train_as_without_us(make, read, dtype):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = make(5, 8, batch_first=True, dtype=dtype), nn.Linear(8, 1)

        def forward(self, x):
            out, state = self.rnn(x)
            last = (state[0] if isinstance(state, tuple) else state)[-1]
            taken = {"outputs": out[:, -1], "state": last, "both": out[:, -1] + last}
            return self.head(taken[read].float())

    def loop(watch):
        model, losses = Reader(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        with watch(model):
            for _ in range(24):
                optimizer.zero_grad()
                loss = model(torch.randn(16, 12, 5, dtype=dtype)).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plain, watched, found = twins(loop, RHYTHM)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    assert not [one for one in told if "contiguous" in str(one.message)]
    assert found.layer["time_grad_fall_in"].observed.any()


@pytest.mark.parametrize("rows", [32, 1024, 2048, 32768])
def test_most_steps_in_between_are_only_noted_and_the_same(monkeypatch, rows):
    noted, inner = [], Quiet.steps
    monkeypatch.setattr(
        Quiet, "steps", lambda quiet, optimizer: noted.append(inner(quiet, optimizer)) or noted[-1]
    )

    plain, watched, found = twins(partial(programs.plain, rows=rows, steps=96), RHYTHM)
    assert_same(plain, watched)
    assert sum(noted) >= 0.7 * (len(found.steps) - len(found.sampled))
    assert found.step["loss"].values == pytest.approx(plain.losses, rel=1e-6)
    for name in ("input_mean", "input_std", "input_absmax"):
        assert found.step[name].observed.all()
    assert found.grad["grad_norm"].observed.any(1).all()


@pytest.mark.parametrize(
    ("where", "at", "how", "kind", "layer"),
    [
        pytest.param("gradient", 27, {"clipped": True}, "nonfinite_gradient", "fc2", id="clipped"),
        pytest.param("input", 27, {"rows": 2048}, "nonfinite_input", "", id="a large batch"),
        pytest.param("input", 27, {"rows": 32768}, "nonfinite_input", "", id="a larger one"),
    ],
)
def test_what_is_not_finite_is_placed_in_loops_that_take_other_ways(where, at, how, kind, layer):
    found = recorded(losing(where, at=at, **how), RHYTHM)
    first = found.occurrences[0]
    assert (first.kind, first.step) == (kind, at)
    assert (found.topology.layers[first.layer].name if first.layer >= 0 else "") == layer


@pytest.mark.parametrize(
    ("where", "at", "kind", "layer"),
    [
        pytest.param("input", 5, "nonfinite_input", "", id="a batch in a sampled step"),
        pytest.param("input", 27, "nonfinite_input", "", id="a batch in between"),
        pytest.param("gradient", 27, "nonfinite_gradient", "fc2", id="a gradient in between"),
        pytest.param(
            "forward", 5, "nonfinite_forward", "head", id="an operation in a sampled step"
        ),
        pytest.param("forward", 27, "nonfinite_loss", "", id="an operation in between"),
    ],
)
def test_the_first_nan_is_found_and_placed(where, at, kind, layer):
    found = recorded(losing(where, at=at), RHYTHM)
    first = found.occurrences[0]
    assert (first.kind, first.step) == (kind, at)
    assert (found.topology.layers[first.layer].name if first.layer >= 0 else "") == layer


def test_a_loss_that_jumps_is_looked_at_closely_soon_after():
    found = recorded(changing(scale=lambda z: 100.0 * z), Schedule(dense=10, every=64, sparsest=64))
    # Steps 10 to 24 lie between two looks; the jump is at 25. Losses are sent for together and then looked at.
    after = [step for step in found.sampled if step >= 25]
    assert after
    assert after[0] <= 25 + HELD + LOOKED_EVERY + 2


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_models_are_watched(mode):
    def loop(watch):
        torch.compiler.reset()
        model = Net()
        fast = torch.compile(model, mode=mode)
        optimizer, losses = adam(model, fault=False), []
        with watch(fast):
            for x, y in programs.batches():
                optimizer.zero_grad()
                loss = F.cross_entropy(fast(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, watched, found = twins(loop, RHYTHM)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    assert found.facts["compiled"]
    assert {found.topology.layers[i].name.split(".")[-1] for i in found.topology.outputs} == {
        "head"
    }


def test_a_step_that_is_captured_as_a_graph_runs_as_without_us_and_that_is_said():
    def loop(watch):
        model = Net(dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = far(64)
        losses = []

        def step():
            optimizer.zero_grad(set_to_none=False)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        with watch(model):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(4):
                    step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = step()
            for _ in range(8):
                graph.replay()
                losses.append(loss.item())
        return model, losses

    plain, watched, found = twins(loop, RHYTHM)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    assert len(found.steps) == 4
    assert [x for x in found.unobserved if "CUDA graph" in x.what]


def test_no_memory_of_the_device_is_kept_after_the_run():
    def used(watch):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        model, _ = programs.plain(watch)
        del model
        return torch.cuda.memory_allocated() - before

    used(lambda model: Watched(model, RHYTHM))
    first = used(lambda model: Watched(model, RHYTHM))
    Watched.last = None
    second = used(lambda model: Watched(model, RHYTHM))
    assert second <= first


def test_a_model_may_be_moved_to_the_device_inside_the_context():
    with torch.device("cpu"):
        model = Net()
    x, y = far(64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with NeuralDbg(model) as dbg:
            model.cuda()
            optimizer = adam(model, fault=False)
            for _ in range(32):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    assert dbg.recording.step["loss"].observed.all()


@pytest.mark.parametrize(
    ("rate", "names"),
    [
        pytest.param(5e-3, {"healthy"}, id="healthy"),
        pytest.param(30.0, {"learning_rate_too_high"}, id="a rate that is too high"),
    ],
)
def test_what_is_said_on_the_device_is_what_is_said_without(rate, names):
    torch.manual_seed(0)
    model = Net(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    with NeuralDbg(model) as dbg:
        for x, y in programs.batches(200):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    found = dbg.diagnose()
    first = found.hypotheses[0] if found.hypotheses else None
    if names == {"healthy"}:
        assert first is None or first.p_mechanism < 0.5
    else:
        assert first is not None
        assert first.mechanism in names


@pytest.mark.parametrize("how", ["ddp", "fsdp2"])
def test_a_model_of_one_of_one_process_is_watched(how, tmp_path):
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("nccl", f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:

        def loop(watch):
            model = Net(dropout=0.0)
            if how == "ddp":
                model = nn.parallel.DistributedDataParallel(model)
            else:
                fully_shard(model)
            optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
            with watch(model):
                for x, y in programs.batches():
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
            return model, losses

        found = recorded(loop, RHYTHM)
        assert found.facts["disarmed"] == ""
        assert len(found.steps) == programs.STEPS
        assert found.step["loss"].observed.all()
        assert found.grad["grad_norm"].observed[:, 0].any()
    finally:
        dist.destroy_process_group()
