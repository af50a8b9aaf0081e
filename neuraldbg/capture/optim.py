"""The optimizers of a run: which step our parameters, with what settings, and whether gradients were cleared."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.params import Updates
from neuraldbg.capture.reduce import all_of, are_cleared, once, unless
from neuraldbg.capture.store import Keys
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import Fact, OptimizerInfo

__all__ = ["Entry", "OptimizerBook"]

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
RATE_JUMP = 3.0
# Groups of an optimizer that are asked whether their gradients were cleared.
GROUPS = 8
# Parameters of an optimizer that are asked in sampled steps, evenly spread.
ASKED = 64


@dataclass(slots=True)
class Entry:
    """One optimizer: its parameters by our index, and whether their gradients were cleared lately."""

    key: int
    ref: weakref.ref[torch.optim.Optimizer]
    groups: int
    owns: int
    serial: int
    info: OptimizerInfo
    params: list[nn.Parameter]
    by_group: list[list[nn.Parameter]]
    first_group: int
    updates: Updates
    keys: Keys = ()
    values: tuple[float, ...] = ()
    rates: list[object] = field(default_factory=list)
    restless: bool = False
    steps: int = 0
    cleared: bool | Tensor = True
    backwards: int = 0
    # Gradients as they were looked at for the last time, and in which step.
    gradients: list[weakref.ref[Tensor]] = field(default_factory=list)
    looked: int = 0
    # What gradients were at the last look, and at the last close one.
    residues: dict[int, tuple[int, int]] = field(default_factory=dict)
    closely: dict[int, tuple[int, int]] = field(default_factory=dict)


class OptimizerBook:
    """Keeps an entry per optimizer that owns parameters of the model.

    Parameters
    ----------
    blueprint
        Knows the parameters of the model.
    refresh
        Called when an optimizer owns parameters that are not among them: they may be new.
    """

    def __init__(self, blueprint: Blueprint, refresh: Callable[[], None]) -> None:
        self._blueprint, self._param_of = blueprint, blueprint.param_of
        self._refresh = refresh
        self._entries: dict[int, Entry] = {}
        self._foreign: dict[int, tuple[weakref.ref[torch.optim.Optimizer], int]] = {}
        self._infos: list[OptimizerInfo] = []
        # Whether any optimizer of ours has stepped.
        self.any_seen = False
        self._inside: set[int] = set()
        self._leader: int | None = None
        self._since_leader: dict[int, int] = {}
        self._groups: dict[int, int] = {}
        # ``id`` of everything that any optimizer steps, ours or not.
        self.stepped: set[int] = set()
        # ``id`` of what is stepped by optimizers that own nothing of ours.
        self.others: set[int] = set()
        self._peak = 0.0

    def infos(self) -> tuple[OptimizerInfo, ...]:
        """Return the optimizers in order of first sight."""
        inside: dict[str, OptimizerInfo] = {}
        out = []
        for serial, info in enumerate(self._infos):
            if serial not in self._inside:
                out.append(info)
                continue
            # Many small ones that step in one backward pass are one optimizer in all but name.
            first = inside.get(info.type)
            groups = (first.groups if first else ()) + info.groups
            inside[info.type] = replace(first or info, groups=groups)
        return (*out, *inside.values())

    def groups(self) -> dict[int, int]:
        """Return parameter index to group index, over all optimizers."""
        return dict(self._groups)

    def meet(self, optimizer: torch.optim.Optimizer, *, closely: bool) -> Entry | None:
        """Return the entry of an optimizer that steps, None if it owns no parameter of the model.

        An address is used again once its owner is gone, and groups may be added at any time: that is looked
        at in every step. Parameters added to a group or replaced are looked for ``closely``.
        """
        key, groups = id(optimizer), optimizer.param_groups
        entry = self._entries.get(key)
        if entry is None or entry.groups != len(groups) or entry.ref() is not optimizer:
            return self._find(optimizer)
        if closely and entry.owns != _owned(optimizer):
            return self._introduce(optimizer)
        return entry

    def only(self) -> Entry | None:
        """Return the one optimizer that beats time, None if there are several or it steps in unusual ways."""
        if len(self._entries) != 1:
            return None
        entry = next(iter(self._entries.values()))
        usual = (
            entry.key == self._leader and entry.serial not in self._inside and not entry.restless
        )
        return entry if usual else None

    def steps_inside(self, entry: Entry) -> None:
        """Note that an optimizer steps inside a backward pass."""
        self._inside.add(entry.serial)

    def met(self, optimizer: torch.optim.Optimizer) -> Entry | None:
        """Return the entry of an optimizer that was met when its step began."""
        return self._entries.get(id(optimizer))

    def _find(self, optimizer: torch.optim.Optimizer) -> Entry | None:
        known = self._foreign.get(id(optimizer))
        if known is not None and known[1] == _owned(optimizer) and known[0]() is optimizer:
            return None
        return self._introduce(optimizer)

    def _introduce(self, optimizer: torch.optim.Optimizer) -> Entry | None:
        owned = [p for group in optimizer.param_groups for p in group["params"]]
        self.stepped.update(map(id, owned))
        if any(id(p) not in self._param_of for p in owned):
            self._refresh()
        params = [p for p in owned if id(p) in self._param_of]
        ref, owns = weakref.ref(optimizer), _owned(optimizer)
        if not params:
            self._foreign[id(optimizer)] = (ref, owns)
            self.others.update(map(id, owned))
            self._entries.pop(id(optimizer), None)
            return None
        indices = [self._param_of[id(p)] for p in params]
        before = self._predecessor(optimizer, indices)
        serial = len(self._infos) if before is None else before.serial
        info = self._describe(optimizer, before)
        self._infos[serial : serial + 1] = [info]
        self.any_seen = True
        entry = Entry(
            key=id(optimizer),
            ref=ref,
            groups=len(optimizer.param_groups),
            owns=owns,
            serial=serial,
            info=info,
            params=params,
            by_group=_by_group(optimizer, self._param_of),
            first_group=info.groups[0],
            updates=Updates(indices, params, self._blueprint.axes(indices)),
        )
        self._entries[entry.key] = entry
        self._leader = entry.key if self._leader is None else self._leader
        return entry

    def _predecessor(self, optimizer: torch.optim.Optimizer, indices: list[int]) -> Entry | None:
        """Take out and return the entry that an optimizer takes over.

        That is its own from before parameters were added, or one that is gone and shared some with it.
        """
        mine = set(indices)
        for key, other in list(self._entries.items()):
            found = other.ref()
            shared = not mine.isdisjoint(other.updates.indices)
            if found is optimizer or (found is None and shared):
                del self._entries[key]
                self._leader = id(optimizer) if key == self._leader else self._leader
                return other
        return None

    def _describe(self, optimizer: torch.optim.Optimizer, before: Entry | None) -> OptimizerInfo:
        count = len(optimizer.param_groups)
        if before is not None and len(before.info.groups) == count:
            first = before.first_group
        else:
            first = 1 + max((i for info in self._infos for i in info.groups), default=-1)
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                index = self._param_of.get(id(parameter))
                if index is not None:
                    self._groups[index] = first + number
        return OptimizerInfo(
            type=type(optimizer).__name__,
            family=_family(type(optimizer).__name__),
            groups=tuple(range(first, first + count)),
            defaults=_settings(optimizer.param_groups[0]),
        )

    def leads(self, entry: Entry) -> bool:
        """Count a step and return whether it ends the tick.

        With several optimizers the first one seen beats time; another that steps twice while it rests
        takes over, at once if it steps just the parameters of the first.
        """
        key = entry.key
        if key != self._leader and self._replaces_leader(entry):
            self._leader = key
        if key == self._leader:
            self._since_leader.clear()
            return True
        self._since_leader[key] = self._since_leader.get(key, 0) + 1
        if self._since_leader[key] < 3:
            return False
        self._leader = key
        self._since_leader.clear()
        return True

    def _replaces_leader(self, entry: Entry) -> bool:
        leader = self._entries.get(self._leader or 0)
        return leader is None or set(leader.updates.indices) == set(entry.updates.indices)

    def settings(self, entry: Entry, *, closely: bool) -> tuple[Keys, tuple[float, ...]]:
        """Return names and groups, and values, of learning rates, weight decays and momenta.

        The learning rate is looked at in every step; the others when it changed, and on request.
        """
        optimizer = entry.ref()
        if optimizer is None:
            return (), ()
        rates = [group.get("lr") for group in optimizer.param_groups]
        tensors = [rate for rate in rates if isinstance(rate, Tensor)]
        # One on a device is read when there is time.
        far = any(rate.is_cuda for rate in tensors)
        if closely or (not far and (entry.restless or rates != entry.rates)):
            entry.rates = rates
            # A tensor changes without becoming another object.
            entry.restless = bool(tensors) and not far
            found = _columns(optimizer.param_groups, entry.first_group)
            entry.keys = tuple(key for key, _ in found)
            entry.values = tuple(value for _, value in found)
        return entry.keys, entry.values

    def rate_jumped(self, keys: Keys, values: tuple[float, ...]) -> bool:
        """Return whether the learning rate rose at once beyond three times all it was before."""
        jumped = self.rises(keys, values)
        self._peak = max(self._peak, _highest(keys, values))
        return jumped

    def rises(self, keys: Keys, values: tuple[float, ...]) -> bool:
        """Return whether such a learning rate would be a jump."""
        return 0.0 < self._peak * RATE_JUMP < _highest(keys, values)

    def look_at_residue(self, *, closely: bool) -> list[nn.Parameter]:
        """A backward pass begins: see whether gradients of the last step are still there.

        Returns
        -------
        list of Parameter
            Those whose gradients are found to have been left while others were cleared.
        """
        forgotten: list[nn.Parameter] = []
        for entry in self._entries.values():
            entry.backwards += 1
            if entry.cleared is not True:
                # A list of parameters to clear may be older than the last group.
                entry.cleared = once(entry.cleared, partial(_are_all_cleared, entry))
                # Of several passes of a step the first comes upon what the step before left.
                if closely and entry.backwards == 1 and (left := _left_over(entry)):
                    forgotten += left
                    if entry.cleared is True:
                        # From now on one of them is asked at every step.
                        entry.by_group.append(left[:1])
                        entry.cleared = are_cleared(left[:1])
        return forgotten

    def residue(self, entry: Entry) -> Tensor | float | None:
        """A step ended: return 1.0 if its gradients were never cleared since the step before, else 0.0."""
        entry.steps += 1
        if not entry.backwards:
            return _put_by_hand(entry)
        value = unless(entry.cleared)
        if not isinstance(value, Tensor) and value and _put_by_hand(entry) == 0.0:
            # A backward pass added to them, and then others were put in their place.
            value = 0.0
        entry.cleared, entry.backwards = False, 0
        return value if entry.steps > 1 else None

    def before(self, entry: Entry) -> None:
        """Take samples just before a step."""
        optimizer = entry.ref()
        if optimizer is not None:
            entry.updates.before(optimizer)

    def after(self, entry: Entry) -> list[Rows]:
        """Return what the step did."""
        return entry.updates.after()

    def release(self) -> None:
        """Let go of every tensor."""
        self._entries.clear()


def _highest(keys: Keys, values: tuple[float, ...]) -> float:
    """Return the highest learning rate of all groups."""
    return max((v for (name, _), v in zip(keys, values, strict=True) if name == "lr"), default=0.0)


def _owned(optimizer: torch.optim.Optimizer) -> int:
    """Return a number that tells which parameters an optimizer owns: one may be put in the place of another."""
    return hash(tuple(id(p) for group in optimizer.param_groups for p in group["params"]))


def _by_group(
    optimizer: torch.optim.Optimizer, known: Mapping[int, int]
) -> list[list[nn.Parameter]]:
    """Return the parameters of the model in the first groups of an optimizer."""
    groups = optimizer.param_groups[:GROUPS]
    return [[p for p in group["params"] if id(p) in known] for group in groups]


def _are_all_cleared(entry: Entry) -> bool | Tensor:
    return all_of(are_cleared(own, entry.residues) for own in entry.by_group)


def _left_over(entry: Entry) -> list[nn.Parameter]:
    """Return parameters whose gradients were not cleared: touched since the last close look, and not empty then."""
    left = []
    for parameter in entry.params[:: -(-len(entry.params) // ASKED)]:
        seen = id(parameter) in entry.closely
        if are_cleared([parameter], entry.closely) is not True and seen:
            left.append(parameter)
    return left


def _put_by_hand(entry: Entry) -> float | None:
    """Return 0.0 if gradients that no backward pass left are other tensors than before: then they are no sum."""
    asked = entry.params[:: -(-len(entry.params) // ASKED)]
    gradients = [p.grad for p in asked if p.grad is not None]
    before = entry.gradients if entry.looked == entry.steps - 1 else []
    entry.gradients, entry.looked = [weakref.ref(g) for g in gradients], entry.steps
    fresh = all(g is not old() for g, old in zip(gradients, before, strict=False))
    return 0.0 if before and gradients and fresh else None


def _columns(groups: list[dict[str, Any]], first: int) -> list[tuple[tuple[str, int], float]]:
    out = []
    for place, group in enumerate(groups, first):
        betas = group.get("betas") or (None,)
        momentum = group.get("momentum", betas[0])
        found = (
            ("lr", group.get("lr")),
            ("weight_decay", group.get("weight_decay", group.get("wd"))),
            ("momentum", momentum),
        )
        out += [((name, place), number) for name, x in found if (number := _number(x)) is not None]
    return out


def _family(name: str) -> str:
    lower = name.lower()
    return next((family for part, family in FAMILIES if part in lower), "other")


def _settings(group: dict[str, object]) -> dict[str, Fact]:
    out: dict[str, Fact] = {}
    for name in ("lr", "weight_decay", "momentum", "eps"):
        value = _number(group.get(name, group.get("wd") if name == "weight_decay" else None))
        if value is not None:
            out[name] = value
    betas = group.get("betas")
    if isinstance(betas, (tuple, list)) and len(betas) == 2:
        out["beta1"], out["beta2"] = _number(betas[0]), _number(betas[1])
    return out


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float, Tensor)) else None
