"""Take the recordings of all ranks one after the other; give that of the run, and what they say of one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuraldbg.errors import RecordingError
from neuraldbg.merging.columns import Axis, Pool, Squares
from neuraldbg.merging.compare import Comparison, far_losses
from neuraldbg.merging.origin import first_of, told_once
from neuraldbg.merging.rules import rule_of, shard_rule_of
from neuraldbg.records.ranks import Ranks, named
from neuraldbg.records.recording import (
    Column,
    LossCall,
    Occurrence,
    ParamInfo,
    Recording,
    Topology,
    Unobserved,
)

__all__ = ["Merger"]

AXES = {"step": "steps", "group": "steps", "grad": "steps", "layer": "sampled", "param": "sampled"}
# Calls of loss functions are alike on all ranks: those of a few stand for all.
LOSSES_OF = 4
WHOLE = "whole parameters"
Key = tuple[str, str]


@dataclass(slots=True)
class _Kept:
    """What is kept of one rank after its columns were added."""

    occurrences: Sequence[Occurrence]
    losses: tuple[NDArray[np.int64], NDArray[np.float32]]
    finished: bool
    shards: NDArray[np.int64]


class Merger:
    """Joins the recordings of one run."""

    def __init__(self) -> None:
        self._axes = {"steps": Axis(), "sampled": Axis()}
        self._pools: dict[Key, Pool] = {}
        self._squares: dict[Key, Squares] = {}
        self._comparison = Comparison()
        self._kept: dict[int, _Kept] = {}
        self._calls: list[LossCall] = []
        self._unobserved: dict[Unobserved, int] = {}
        self._first: Recording | None = None
        self._count = 1

    def take(self, rank: int, recording: Recording, *, count: int = 1) -> None:
        """Take the recording of one rank.

        Parameters
        ----------
        rank
            Its number; recordings may come in any order.
        recording
            What it saw.
        count
            How many ranks took part, as far as this one knows.

        Raises
        ------
        RecordingError
            If that rank was taken already, or the recording is of another model.
        """
        self._check(rank, recording)
        if self._first is None:
            # Its numbers are in the tables below; what is kept of it is what does not change with the rank.
            self._first = replace(recording, step={}, group={}, grad={}, layer={}, param={})
        self._count = max(self._count, count, rank + 1)
        places = {name: axis.place(getattr(recording, name)) for name, axis in self._axes.items()}
        for family, axis in AXES.items():
            for name, column in getattr(recording, family).items():
                self._add((family, name), column, places[axis], recording)
        self._comparison.take(rank, recording)
        self._keep(rank, recording)

    def _check(self, rank: int, recording: Recording) -> None:
        if rank in self._kept:
            msg = (
                f"two of the recordings are of rank {rank}: they are of different runs, which "
                "`neuraldbg triage` tells apart."
            )
            raise RecordingError(msg)
        if self._first is not None and _names(recording) != _names(self._first):
            msg = (
                f"the recording of rank {rank} is of another model than that of "
                f"rank {min(self._kept)}: merge the ranks of one run, and of one stage of a pipeline."
            )
            raise RecordingError(msg)

    def _add(self, key: Key, column: Column, rows: NDArray[np.intp], recording: Recording) -> None:
        family, name = key
        axis = self._axes[AXES[family]]
        shape = (axis.steps.size, *column.values.shape[1:])
        if key not in self._pools:
            self._pools[key] = Pool(rule_of(name), shape)
            axis.tables.append(self._pools[key])
        self._pools[key].take(column, rows)
        if shard_rule_of(name) == "mean" or not _sharded(recording.topology):
            return
        if key not in self._squares:
            self._squares[key] = Squares(shape)
            axis.tables.append(self._squares[key])
        self._squares[key].take(column, rows, _weight(name, recording))

    def _keep(self, rank: int, recording: Recording) -> None:
        loss = recording.step.get("loss")
        seen = np.zeros(recording.steps.shape, bool) if loss is None else loss.observed
        values = np.zeros(0, np.float32) if loss is None else loss.values[seen]
        self._kept[rank] = _Kept(
            occurrences=recording.occurrences,
            losses=(recording.steps[seen], values),
            finished=bool(recording.facts.get("finished")) or "exception" in recording.facts,
            shards=np.array([p.shard for p in recording.topology.params], np.int64),
        )
        if len(self._kept) <= LOSSES_OF:
            self._calls += recording.losses
        for item in recording.unobserved:
            self._unobserved[item] = self._unobserved.get(item, 0) + 1

    # -- the run --------------------------------------------------------------------------------

    def ranks(self) -> Ranks:
        """Return what the recordings say of one another."""
        drifts = self._comparison.drifts()
        lost = far_losses({rank: kept.losses for rank, kept in self._kept.items()})
        ended = [rank for rank, kept in self._kept.items() if kept.finished]
        return Ranks(
            ranks=tuple(sorted(self._kept)),
            count=self._count,
            sharded=self._first is not None and _sharded(self._first.topology),
            first=first_of({rank: kept.occurrences for rank, kept in self._kept.items()}),
            drifts=(*drifts, *(() if lost is None else (lost,))),
            unfinished=tuple(sorted(self._kept.keys() - set(ended))) if ended else (),
        )

    def recording(self) -> Recording:
        """Return the recording of the run.

        Raises
        ------
        RecordingError
            If no recording was taken.
        """
        if self._first is None:
            msg = "there is no recording to merge"
            raise RecordingError(msg)
        ranks = self.ranks()
        seen = {rank: kept.occurrences for rank, kept in self._kept.items()}
        facts = {k: v for k, v in self._first.facts.items() if k != "rank"}
        finished = all(kept.finished for kept in self._kept.values())
        laid: dict[str, Any] = {family: self._columns(family) for family in AXES}
        return replace(
            self._first,
            facts={**facts, "ranks": self._count, "finished": finished and facts.get("finished")},
            topology=_whole(self._first.topology),
            steps=self._axes["steps"].steps,
            sampled=self._axes["sampled"].steps,
            losses=tuple(sorted(self._calls, key=lambda call: call.step)),
            occurrences=told_once(seen, ranks.first),
            unobserved=self._not_seen(ranks),
            **laid,
        )

    def _not_seen(self, ranks: Ranks) -> tuple[Unobserved, ...]:
        found = [
            item
            if count == len(self._kept)
            else Unobserved(item.what, f"{item.why} ({count} ranks)")
            for item, count in self._unobserved.items()
            # What is missing of a rank's parameters is what the other ranks hold.
            if item.what != WHOLE or ranks.missing
        ]
        if ranks.missing:
            found.append(Unobserved(named(ranks.missing), "there is no recording of them"))
        return tuple(found)

    def _columns(self, family: str) -> Mapping[str, Column]:
        out = {}
        for (mine, name), pool in self._pools.items():
            if mine == family:
                out[name] = self._column((family, name), pool)
        return out

    def _column(self, key: Key, pool: Pool) -> Column:
        column = pool.column()
        if key not in self._squares:
            return column
        held = np.stack([kept.shards for kept in self._kept.values()])
        needed, whole = _shares(held, self._params())
        family, name = key
        squares = self._squares[key]
        if family == "step":
            return squares.column(needed=len(self._kept), whole=_replicas(held, self._params()))
        if shard_rule_of(name) == "root":
            joined = squares.column(needed=needed, whole=whole)
        else:
            joined = squares.column(needed=1, whole=None)
        sharded = (held >= 0).any(axis=0)
        return Column(
            np.where(sharded, joined.values, column.values),
            np.where(sharded, joined.observed, column.observed),
        )

    def _params(self) -> Sequence[ParamInfo]:
        return () if self._first is None else self._first.topology.params


def _names(recording: Recording) -> tuple[tuple[str, ...], tuple[str, ...]]:
    topology = recording.topology
    return tuple(x.name for x in topology.layers), tuple(x.name for x in topology.params)


def _sharded(topology: Topology) -> bool:
    return any(p.shard >= 0 for p in topology.params)


def _whole(topology: Topology) -> Topology:
    return replace(topology, params=tuple(replace(p, shard=-1) for p in topology.params))


def _weight(name: str, recording: Recording) -> NDArray[np.float64]:
    """Return the weight of the square of every cell of a rank's column."""
    rule = shard_rule_of(name)
    if rule == "rms":
        sizes = [max(p.shard, 0) for p in recording.topology.params]
        return np.array(sizes, np.float64)
    if rule == "ratio":
        norms = recording.param["weight_norm"]
        with np.errstate(all="ignore"):
            found: NDArray[np.float64] = np.where(norms.observed, norms.values, np.nan).astype(
                float
            )
            return found**2
    return np.ones(1)


def _shares(
    held: NDArray[np.int64], params: Sequence[ParamInfo]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return by how many ranks a part of each parameter is held, and how often each of its entries is."""
    sizes = np.array([max(int(np.prod(p.shape)), 1) for p in params], np.float64)
    copies = np.maximum(held, 0).sum(axis=0) / sizes
    needed: NDArray[np.int64] = (held > 0).sum(axis=0)
    return needed, np.where(copies > 0, copies, 1.0)


def _replicas(held: NDArray[np.int64], params: Sequence[ParamInfo]) -> float:
    """Return how often each entry of the sharded parameters together is held."""
    mine: Any = (held >= 0).any(axis=0)
    sizes = np.array([float(np.prod(p.shape)) for p in params])
    return float(np.maximum(held, 0)[:, mine].sum() / max(sizes[mine].sum(), 1.0)) or 1.0
