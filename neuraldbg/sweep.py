"""Several runs side by side: a verdict each, the settings that failed runs share, where two runs part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.answers import Answers
from neuraldbg.records.names import clause
from neuraldbg.records.recording import Column, Recording

__all__ = [
    "Difference",
    "Verdict",
    "common_settings",
    "difference",
    "in_words",
    "settings_of",
    "verdict",
]

# Half a decade is past what another seed does to a layer's number; an exact match is a shared prefix.
PART = 0.5
LASTING = 2
# Sizes only: the logarithm of a mean or a cosine near zero jumps without meaning anything.
COMPARED = frozenset(
    {"loss", "grad_norm_raw", "grad_norm_used", "input_std", "input_absmax", "input_nonfinite"}
    | {"act_rms", "act_std", "act_absmax", "out_grad_rms", "out_grad_norm", "attn_logit_max"}
)


# What is compared, for people; other names speak for themselves.
WORDS = {
    "lr": "learning rate",
    "grad_norm_raw": "gradient norm",
    "grad_norm_used": "gradient norm after clipping",
    "input_std": "spread of the input",
    "input_absmax": "largest input",
    "input_nonfinite": "share of inputs that are not finite",
    "act_rms": "activation size",
    "act_std": "spread of the activations",
    "act_absmax": "largest activation",
    "out_grad_rms": "gradient at the output",
    "out_grad_norm": "norm of the gradient at the output",
    "attn_logit_max": "largest attention logit",
}


def in_words(name: str) -> str:
    """Return a column's name for people."""
    return WORDS.get(name, name.replace("_", " "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One run of a sweep in a line.

    ``mechanism`` is ``"healthy"``, ``"unreadable"`` or the leading mechanism; ``probability`` is that of the
    verdict, ``p_failure`` that anything is wrong.
    """

    name: str
    mechanism: str
    probability: float = 0.0
    p_failure: float = 0.0
    layer: str | None = None
    step: int | None = None
    final_loss: float | None = None
    sentence: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def verdict(run: Answers, name: str) -> Verdict:
    """Return the verdict on one run."""
    diagnosis = run.diagnose()
    loss = diagnosis.facts.get("final_loss")
    first = diagnosis.explanations[0].hypothesis if diagnosis.explanations else None
    return Verdict(
        name=name,
        mechanism="healthy" if first is None else first.mechanism,
        probability=diagnosis.p_healthy if first is None else first.probability,
        p_failure=1 - diagnosis.p_healthy,
        layer=None if first is None else first.layer,
        step=None if first is None else first.step,
        final_loss=float(loss) if isinstance(loss, (int, float)) else None,
        sentence=diagnosis.reason if first is None else str(diagnosis.explanations[0]),
        settings=settings_of(run.recording),
    )


def settings_of(recording: Recording) -> dict[str, str]:
    """Return what a run was set to: model, dtype, optimizer and its numbers."""
    found = {
        name: str(recording.facts.get(name, ""))
        for name in ("model", "dtype", "autocast", "device")
    }
    for i, optimizer in enumerate(recording.optimizers):
        prefix = f"optimizer{i + 1}." if len(recording.optimizers) > 1 else ""
        found[f"{prefix}optimizer"] = optimizer.type
        found |= {f"{prefix}{k}": _short(v) for k, v in sorted(optimizer.defaults.items())}
    return {k: v for k, v in found.items() if v}


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def common_settings(verdicts: Sequence[Verdict]) -> dict[str, dict[str, str]]:
    """Return, per mechanism, the settings that all of its runs have and no run of another verdict has."""
    found: dict[str, dict[str, str]] = {}
    for mechanism in dict.fromkeys(v.mechanism for v in verdicts):
        mine = [v.settings for v in verdicts if v.mechanism == mechanism]
        others = [v.settings for v in verdicts if v.mechanism != mechanism]
        if not others or mechanism == "healthy":
            continue
        found[mechanism] = {
            name: value
            for name, value in dict(mine[0]).items()
            if all(dict(s).get(name) == value for s in mine)
            and not any(dict(s).get(name) == value for s in others)
        }
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two runs part.

    Attributes
    ----------
    step, layer, what
        The first step at which a number of both runs differs lastingly by more than a factor of three, and
        which; None if none does.
    first, second
        That number in both runs.
    also
        What else parts at that step, the largest first.
    same_until
        First step at which any number differs at all, if the runs begin identically.
    settings
        Settings that differ: name, value in the first, value in the second.
    sentences
        What the engine says of each run.
    mechanisms
        Leading mechanism of each, or ``"healthy"``.
    """

    step: int | None = None
    layer: str | None = None
    what: str = ""
    first: float = 0.0
    second: float = 0.0
    also: tuple[str, ...] = ()
    same_until: int | None = None
    settings: tuple[tuple[str, str, str], ...] = ()
    sentences: tuple[str, str] = ("", "")
    mechanisms: tuple[str, str] = ("", "")


class _Pair(NamedTuple):
    """One number of both runs at their common steps."""

    what: str
    layer: str | None
    steps: NDArray[np.int64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    setting: bool = False


class _Parting(NamedTuple):
    step: int
    size: float
    pair: _Pair
    place: int


def difference(a: Answers, b: Answers) -> Difference:
    """Return where two runs part, and what the engine says of each."""
    pairs = list(_pairs(a.recording, b.recording))
    start = min((int(p.steps[0]) for p in pairs), default=0)
    partings = sorted(
        (p for p in map(_parting, pairs) if p is not None and not _is_setting(p, start)),
        key=lambda p: (p.step, -p.size),
    )
    verdicts = verdict(a, "a"), verdict(b, "b")
    settings = [dict(v.settings) for v in verdicts]
    names = sorted(settings[0].keys() | settings[1].keys())
    differing = tuple(
        (n, settings[0].get(n, "–"), settings[1].get(n, "–"))
        for n in names
        if settings[0].get(n) != settings[1].get(n)
    )
    first = partings[0] if partings else None
    return Difference(
        step=None if first is None else first.step,
        layer=None if first is None else first.pair.layer,
        what="" if first is None else first.pair.what,
        first=0.0 if first is None else float(first.pair.first[first.place]),
        second=0.0 if first is None else float(first.pair.second[first.place]),
        also=_also(partings),
        same_until=_same_until(pairs),
        settings=differing,
        sentences=(verdicts[0].sentence, verdicts[1].sentence),
        mechanisms=(verdicts[0].mechanism, verdicts[1].mechanism),
    )


def _is_setting(parting: _Parting, start: int) -> bool:
    """Whether it is a number of the optimizer that differs from the start: told among the settings."""
    return parting.pair.setting and parting.step == start


def _also(partings: list[_Parting]) -> tuple[str, ...]:
    if not partings:
        return ()
    same = [p for p in partings[1:] if p.step == partings[0].step]
    return tuple(f"{in_words(p.pair.what)}{clause(p.pair.layer)}" for p in same[:4])


def _parting(pair: _Pair) -> _Parting | None:
    """Return the first of at least two points in a row that differ by more than a factor of three."""
    with np.errstate(all="ignore"):
        gap = np.abs(np.log10(np.abs(pair.first)) - np.log10(np.abs(pair.second)))
    # Both zero, both infinite: no difference; one of them not finite, or zero: the largest.
    gap = np.where(np.isnan(gap), np.where(_equal(pair.first, pair.second), 0.0, np.inf), gap)
    far = gap > PART
    lasting = far.copy()
    for shift in range(1, min(LASTING, far.size)):
        lasting[:-shift] &= far[shift:]
    found = np.flatnonzero(lasting)
    if not found.size:
        return None
    index = int(found[0])
    return _Parting(int(pair.steps[index]), float(min(gap[index], 99.0)), pair, index)


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _same_until(pairs: list[_Pair]) -> int | None:
    """Return the first step at which anything differs; None if the runs differ from the start."""
    first = [
        int(p.steps[~_equal(p.first, p.second)][0])
        for p in pairs
        if not _equal(p.first, p.second).all()
    ]
    start = min((int(p.steps[0]) for p in pairs), default=0)
    return min(first) if first and min(first) > start else None


class _Line(NamedTuple):
    """One number of one run over time."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def _line(steps: NDArray[np.int64], column: Column, place: int | None = None) -> _Line:
    values, observed = column
    if place is not None:
        values, observed = values[:, place], observed[:, place]
    return _Line(steps[observed], values[observed].astype(np.float64))


def _largest(recording: Recording, name: str) -> _Line:
    """Return the largest value of a setting over the parameter groups."""
    values, observed = recording.group[name]
    folded = np.where(observed, values, -np.inf).max(axis=1, initial=-np.inf)
    return _line(recording.steps, Column(folded.astype(np.float32), np.isfinite(folded)))


def _pairs(a: Recording, b: Recording) -> Iterator[_Pair]:
    for name in sorted(a.step.keys() & b.step.keys() & COMPARED):
        yield from _paired(name, None, _line(a.steps, a.step[name]), _line(b.steps, b.step[name]))
    for name in sorted(a.group.keys() & b.group.keys()):
        for pair in _paired(name, None, _largest(a, name), _largest(b, name)):
            yield pair._replace(setting=True)
    places = [{x.name: i for i, x in enumerate(r.topology.layers)} for r in (a, b)]
    for name in sorted(a.layer.keys() & b.layer.keys() & COMPARED):
        for layer in places[0].keys() & places[1].keys():
            mine = _line(a.sampled, a.layer[name], places[0][layer])
            other = _line(b.sampled, b.layer[name], places[1][layer])
            yield from _paired(name, layer, mine, other)


def _paired(what: str, layer: str | None, a: _Line, b: _Line) -> Iterator[_Pair]:
    steps, i, j = np.intersect1d(a.steps, b.steps, return_indices=True)
    if steps.size:
        yield _Pair(what, layer, steps, a.values[i], b.values[j])
