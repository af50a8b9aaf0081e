"""The optimizers of a run: which step our parameters, with what settings, and whether gradients were cleared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuraldbg.capture.params import Before, Rows, after_step, before_step
from neuraldbg.records.recording import Fact, OptimizerInfo

__all__ = ["OptimizerBook"]

FAMILIES = (
    ("lbfgs", "lbfgs"),
    ("rmsprop", "rmsprop"),
    ("adagrad", "adagrad"),
    ("adadelta", "adagrad"),
    ("adam", "adam"),
    ("lamb", "adam"),
    ("lion", "other"),
    ("sgd", "sgd"),
)
PROBES = 2
RATE_JUMP = 3.0


@dataclass(slots=True)
class _Entry:
    """One optimizer: its parameters by our index, and whether their gradients were cleared lately."""

    info: OptimizerInfo
    indices: list[int]
    params: list[nn.Parameter]
    first_group: int
    steps: int = 0
    cleared: bool = True
    backwards: int = 0
    before: Before | None = None
    gradients: Tensor | None = None


class OptimizerBook:
    """Keeps an entry per optimizer that owns parameters of the model."""

    def __init__(self, param_of: dict[int, int]) -> None:
        self._param_of = param_of
        self._entries: dict[int, _Entry] = {}
        self._foreign: set[int] = set()
        self._leader: int | None = None
        self._since_leader: dict[int, int] = {}
        self._groups: dict[int, int] = {}
        self._peak = 0.0

    @property
    def any_seen(self) -> bool:
        """Whether any optimizer of ours has stepped."""
        return bool(self._entries)

    def infos(self) -> tuple[OptimizerInfo, ...]:
        """Return the optimizers in order of first sight."""
        return tuple(entry.info for entry in self._entries.values())

    def groups(self) -> dict[int, int]:
        """Return parameter index to group index, over all optimizers."""
        return dict(self._groups)

    def meet(self, optimizer: torch.optim.Optimizer) -> _Entry | None:
        """Return the entry of an optimizer, None if it owns no parameter of the model."""
        key = id(optimizer)
        if key in self._entries:
            return self._entries[key]
        entry = self._introduce(optimizer)
        if entry is not None:
            self._entries[key] = entry
            self._leader = self._leader if self._leader is not None else key
        return entry

    def _introduce(self, optimizer: torch.optim.Optimizer) -> _Entry | None:
        indices, params = [], []
        first = max(self._groups.values(), default=-1) + 1
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                index = self._param_of.get(id(parameter))
                if index is not None:
                    indices.append(index)
                    params.append(parameter)
                    self._groups[index] = first + number
        if not indices:
            return None
        groups = tuple(range(first, first + len(optimizer.param_groups)))
        info = OptimizerInfo(
            type=type(optimizer).__name__,
            family=_family(type(optimizer).__name__),
            groups=groups,
            defaults=_settings(optimizer.param_groups[0]),
        )
        return _Entry(info=info, indices=indices, params=params, first_group=first)

    def leads(self, optimizer: torch.optim.Optimizer) -> bool:
        """Count a step and return whether it ends the tick.

        With several optimizers the first one seen beats time; another that steps twice while it rests
        takes over.
        """
        key = id(optimizer)
        if key == self._leader:
            self._since_leader.clear()
            return True
        self._since_leader[key] = self._since_leader.get(key, 0) + 1
        if self._since_leader[key] < 3:
            return False
        self._leader = key
        self._since_leader.clear()
        return True

    def settings(self, optimizer: torch.optim.Optimizer) -> list[tuple[str, int, float]]:
        """Return learning rate, weight decay and momentum of every group."""
        entry = self._entries[id(optimizer)]
        out = []
        for number, group in enumerate(optimizer.param_groups):
            for name, value in _settings(group).items():
                if name in {"lr", "weight_decay", "momentum", "beta1"} and value is not None:
                    key = "momentum" if name == "beta1" else name
                    out.append((key, entry.first_group + number, float(value)))
        return out

    def rate_jumped(self, rates: list[float]) -> bool:
        """Return whether the learning rate rose at once beyond three times all it was before."""
        highest = max(rates, default=0.0)
        jumped = 0.0 < self._peak * RATE_JUMP < highest
        self._peak = max(self._peak, highest)
        return jumped

    def look_at_residue(self, *, on_device: bool) -> None:
        """A backward pass begins: see whether gradients of the last step are still there."""
        for entry in self._entries.values():
            entry.backwards += 1
            if entry.cleared:
                continue
            probes = [p.grad for p in entry.params if p.requires_grad][:PROBES]
            left = [g for g in probes if g is not None]
            if not left:
                entry.cleared = True
            elif on_device or not left[0].is_cuda:
                entry.cleared = not any(bool(g.detach().any().item()) for g in left)

    def residue(self, optimizer: torch.optim.Optimizer) -> float | None:
        """A step ended: return 1.0 if its gradients were never cleared since the step before, else 0.0."""
        entry = self._entries[id(optimizer)]
        entry.steps += 1
        judged = entry.steps > 1 and entry.backwards > 0
        value = 0.0 if entry.cleared else 1.0
        entry.cleared, entry.backwards = False, 0
        return value if judged else None

    def before(self, optimizer: torch.optim.Optimizer) -> None:
        """Take samples just before a step."""
        entry = self._entries[id(optimizer)]
        entry.before = before_step(entry.indices, entry.params, optimizer)

    def after(self, optimizer: torch.optim.Optimizer) -> list[Rows]:
        """Return what the step did."""
        entry = self._entries[id(optimizer)]
        if entry.before is None:
            return []
        rows, entry.gradients = after_step(entry.before, entry.params, entry.gradients)
        entry.before = None
        return rows

    def release(self) -> None:
        """Let go of every tensor."""
        for entry in self._entries.values():
            entry.params, entry.gradients, entry.before = [], None, None


def _family(name: str) -> str:
    lower = name.lower()
    return next((family for part, family in FAMILIES if part in lower), "other")


def _settings(group: dict[str, object]) -> dict[str, Fact]:
    out: dict[str, Fact] = {}
    for name in ("lr", "weight_decay", "momentum", "eps"):
        value = _number(group.get(name))
        if value is not None:
            out[name] = value
    betas = group.get("betas")
    if isinstance(betas, (tuple, list)) and len(betas) == 2:
        out["beta1"], out["beta2"] = _number(betas[0]), _number(betas[1])
    return out


def _number(value: object) -> float | None:
    if isinstance(value, Tensor):
        # Reading a learning rate that lives on the device would stall it.
        return None if value.is_cuda else float(value)
    return float(value) if isinstance(value, (int, float)) else None
