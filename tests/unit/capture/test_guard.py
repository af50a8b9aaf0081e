"""Whatever step of ours raises, the run ends as without us, with one warning and nothing left behind."""

import importlib
import inspect
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import capture as package
from neuraldbg.capture import Schedule
from neuraldbg.errors import CaptureWarning
from tests.twins import Watched, assert_same, is_untouched, run, twins, wipe

MODULES = (
    "attention", "bank", "functionmode", "gradients", "incidents", "inputs", "layers", "losses", "meter", "norms", "amp", "byhand",
    "notes", "optim", "params", "provenance", "reduce", "regimes", "schedule", "session", "store", "tick", "trace",
)  # fmt: skip
# Called by PyTorch itself: each hands over to the guard at once. Before or after the loop, not inside it.
DOORS = {"_before", "_after", "_on_gradient", "__torch_function__", "__init__"}
OUTSIDE = {"recording", "columns", "steps", "infos", "groups", "__len__", "entries"}
# If these raise, something of ours stays, unarmed: there is nobody left to take it away.
CLEANERS = {"remove", "clear", "switch_off", "pause", "release", "begin"}


class Small(nn.Module):
    """A bit of everything that hooks look at."""

    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(11, 8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.cell = nn.GRUCell(8, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.bn = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.act = nn.Tanh()
        self.head = nn.Linear(8, 11)

    def forward(self, ids):
        x = self.tok(ids)
        x = x + self.attn(x, x, x, need_weights=False)[0]
        x = self.norm(x)
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        x = x + F.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)
        x = F.relu(self.bn(self.conv(x.transpose(1, 2)))).transpose(1, 2)
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(self.drop(self.act(h)))


def program(watch):
    torch.manual_seed(3)
    ids = torch.randint(0, 11, (6, 5))
    model = Small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    with watch(model):
        for step in range(6):
            optimizer.zero_grad()
            logits = model(ids)
            # The last step is bad, so that the search for its origin runs as well.
            loss = F.cross_entropy(logits, ids[:, 0]) * (float("nan") if step == 5 else 1.0)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item() if step < 5 else 0.0)
    return model, losses


# Sampled and unsampled steps, traced and untraced ones.
RHYTHM = Schedule(dense=2, early=0, every=2, sparsest=2, traced_every=2, armed=0)


def _steps():
    for name in MODULES:
        module = importlib.import_module(f"{package.__name__}.{name}")
        for owner_name, owner in inspect.getmembers(module):
            if getattr(owner, "__module__", "") != module.__name__:
                continue
            if inspect.isfunction(owner):
                yield pytest.param(module, owner_name, id=f"{name}.{owner_name}")
            elif inspect.isclass(owner):
                for method, value in vars(owner).items():
                    if inspect.isfunction(value) and method not in DOORS | OUTSIDE:
                        yield pytest.param(owner, method, id=f"{name}.{owner_name}.{method}")


@pytest.fixture(scope="module")
def plain():
    return twins(program, RHYTHM)[0]


@pytest.fixture(autouse=True)
def _clean():
    yield
    wipe()


@pytest.mark.parametrize(("owner", "name"), list(_steps()))
def test_an_error_in_this_step_changes_nothing_and_warns_once(monkeypatch, plain, owner, name):
    reached = []

    def broken(*_args, **_kwargs):
        reached.append(name)
        msg = "broken on purpose"
        raise RuntimeError(msg)

    def watch(model):
        context = Watched(model, RHYTHM)
        # Only now: what builds the watcher runs before the loop.
        monkeypatch.setattr(owner, name, broken)
        for module in _importers(name):
            monkeypatch.setattr(module, name, broken)
        return context

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched = run(program, watch)
    monkeypatch.undo()

    assert_same(plain, watched)
    if not reached:
        pytest.skip("this program does not come here inside the loop")
    assert [w.category for w in caught] == [CaptureWarning]
    assert "broken on purpose" in str(caught[0].message)
    assert name in CLEANERS or is_untouched()


def _importers(name):
    """Return the modules of capture that imported a function under its own name."""
    for other in MODULES:
        module = importlib.import_module(f"{package.__name__}.{other}")
        if inspect.isfunction(getattr(module, name, None)):
            yield module
