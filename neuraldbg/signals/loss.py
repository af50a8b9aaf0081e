"""Signals of the loss curve: spikes, divergence, plateaus, and where a plateau sits."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.data import REGRESSION
from neuraldbg.signals.guess import (
    chance,
    class_counts,
    guessing_loss,
    label_entropy,
    start_over_silence,
    unexplained,
)
from neuraldbg.signals.robust import robust_z, trailing_median
from neuraldbg.signals.terms import other_terms
from neuraldbg.signals.view import run_series, scalar_series

__all__ = ["gradual_fall", "has_level", "initial_loss", "loss_signals"]

Array = NDArray[np.float64]
# Fewer steps than this cannot show progress or its absence.
SHORTEST_CURVE = 16
# A loss that falls by this much from one step to the next, and stays there, was scaled and not learned.
SUDDEN_FALL = 10.0
STROKE = 4
# Steps on either side of a rise that must lie apart, and until when what it leaves is judged first.
SIDE, AFTERWARDS = 12, 36
# How much of a rise is left then, at least and at most, and what share of that at the end, of one that moved the level.
HELD, STAYS = (0.2, 1.3), 0.8
# So near the loss of a guess ends what cannot be learned any more; below this share of it something was known before.
AS_GUESSED, KNOWN = (0.93, 1.1), 0.8
# Steps for which a loss that is lifted stays where it was lifted to, within this share of the rise; how many spreads
# that is at least; what of it is left at most once it is learned, and how many steps it is in between on the way.
LIFT, FLAT, LIFTED, LEARNED, ON_THE_WAY = 8, 0.35, 2.0, 0.25, 8
# Changes of its sign, in all and as a share of the steps, by which a loss has no level.
FEWEST_TURNS, SHARE_OF_TURNS = 8, 0.05
# The logarithm of the number of classes, which is the loss of a guess, has grown by half of one or more.
GROWN = 2
# So much may be left of the variance of targets that come apart; more is slow, as the detector of slow losses has it.
MOST_LEFT = 0.6
# A loss below this share of that of a guess is low, as the detector of solved losses has it.
SOLVED = 0.25
# A loss that is negative in every other step is more than these: weighted by advantages, for example.
_NEVER_NEGATIVE = (REGRESSION - {"difference"}) | {
    "cross_entropy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
}


def loss_signals(recording: Recording, *, adversarial: bool) -> dict[str, Series]:
    """Return the signals of the loss; curve shapes are left out of adversarial programs.

    Parameters
    ----------
    recording
        The run.
    adversarial
        Whether several objectives pull against one another, so that no loss has to fall.
    """
    loss = run_series(recording, "loss")
    if not loss.observed.any():
        return {}
    steps, values = loss.steps[loss.observed], loss.values[loss.observed]
    out = {"loss_nonfinite": _series(steps, (~np.isfinite(values)).astype(float))}
    hovers = _hovers(values) and all(c.function in _NEVER_NEGATIVE for c in recording.losses)
    if not adversarial and not hovers and has_level(recording):
        out |= _curve(steps, values, guessing_loss(recording) or chance(recording))
        out |= _step_up(steps, values, _guess(recording))
        out |= _against_guess(recording, values)
        out |= other_terms(recording)
    elif values.size >= SHORTEST_CURVE:
        out |= _below_guessing(recording, values)
    return out


def _below_guessing(recording: Recording, values: Array) -> dict[str, Series]:
    """Return what is left of the loss of a guess among as many classes as there are at the end, if that is little.

    Of a choice among ever more how much is left says nothing else: it may never become easy.
    """
    left = unexplained(recording)
    if _has_more_classes(recording):
        left = float(trailing_median(values, 16)[-1]) / math.log(class_counts(recording)[-1])
    elif left is None:
        return {}
    return {"loss_remaining": scalar_series(0, left)} if left < SOLVED else {}


def initial_loss(values: Array) -> float:
    """Return the loss before anything was learned: the first, or a lower one right after it."""
    finite = values[:3][np.isfinite(values[:3])]
    if not np.isfinite(values[0]) or finite.size == 0:
        return float("nan")
    return float(min(values[0], np.median(finite)))


def gradual_fall(recording: Recording, at: NDArray[np.int64]) -> Array:
    """Return how many times lower the loss is than it was, by learning and not at one stroke, shape ``(len(at),)``.

    A gradient falls with the loss that is solved; what is left over of a fall came about in another way. The count
    begins anew where the loss of four steps lies ten times below that of the four before. 1 where no loss was seen,
    or one that is not positive.

    Parameters
    ----------
    recording
        The run.
    at
        Steps for which the fall is wanted.
    """
    loss = run_series(recording, "loss")
    steps, values = loss.steps[loss.observed], loss.values[loss.observed]
    if _follows_choices(recording):
        # What is drawn for a policy that is sure of itself asks for nothing, from whichever side.
        values = np.abs(values)
    if values.size < SHORTEST_CURVE or not (values[np.isfinite(values)] > 0).all():
        return np.ones(at.size)
    cuts = _strokes(values)
    level = np.concatenate([trailing_median(part, 8) for part in np.split(values, cuts)])
    highest = np.concatenate([np.fmax.accumulate(part) for part in np.split(level, cuts)])
    fall: Array = np.nan_to_num(highest / np.maximum(level, 1e-12), nan=1.0)
    return fall[np.clip(np.searchsorted(steps, at, side="right") - 1, 0, None)]


def _strokes(values: Array) -> NDArray[np.int64]:
    """Return where the loss falls at one stroke and stays low: ten times below, four steps on both sides."""
    clean = np.where(np.isfinite(values), values, np.nan)
    # A run may begin right before the stroke.
    windows = sliding_window_view(np.concatenate([np.full(STROKE - 1, np.inf), clean]), 2 * STROKE)
    lowest, highest = windows[:, :STROKE].min(axis=1), windows[:, STROKE:].max(axis=1)
    return np.flatnonzero(lowest > SUDDEN_FALL * highest) + 1


def _hovers(values: Array) -> bool:
    """Return whether a loss goes up and down around zero, as the differences of scores do that play against one another.

    How low it is says nothing then; one that passes zero once and goes on is a likelihood.
    """
    sign = np.sign(values[np.isfinite(values)])
    turns = np.count_nonzero(np.diff(sign))
    return bool(turns >= max(FEWEST_TURNS, SHARE_OF_TURNS * sign.size))


def has_level(recording: Recording) -> bool:
    """Return whether the loss at one step can be compared with that at another: the same is asked for in the same way."""
    return not (_follows_choices(recording) or _is_another_task(recording))


def _follows_choices(recording: Recording) -> bool:
    """Return whether the loop drew from what the model gave out, as policies act: its loss has a gradient, not a level.

    It may have a critic as well; what a regression adds up to is never negative.
    """
    if not any(x.kind == "drawn_from_output" for x in recording.occurrences):
        return False
    loss = run_series(recording, "loss")
    critic = all(c.function in REGRESSION for c in recording.losses)
    return not recording.losses or (critic and bool((loss.values[loss.observed] < 0).any()))


def _is_another_task(recording: Recording) -> bool:
    """Return whether ever more is asked for, so that a higher loss is no worse."""
    left = unexplained(recording)
    explains = left is not None and left < MOST_LEFT
    return explains or _has_more_classes(recording) or _has_more_rows(recording)


def _has_more_rows(recording: Recording) -> bool:
    """Return whether batches grow under a loss that was written by hand: a sum over those at risk grows with them."""
    rows = run_series(recording, "input_rows")
    sizes = rows.values[rows.observed]
    return not recording.losses and sizes.size > 1 and bool(sizes[-1] >= GROWN * sizes[0])


def _has_more_classes(recording: Recording) -> bool:
    """Return whether there are ever more classes to choose from, as negatives in a queue that fills."""
    sizes = class_counts(recording)
    return len(sizes) > 1 and sizes[-1] >= GROWN * sizes[0]


def _series(steps: NDArray[np.int64], values: Array) -> Series:
    return Series(steps, values, np.isfinite(values))


def _curve(steps: NDArray[np.int64], values: Array, guess: float | None) -> dict[str, Series]:
    start = initial_loss(values)
    if not math.isfinite(start):
        return {}
    parts = np.split(values, _lifts(values))
    shapes = [_shape(part, initial_loss(part)) for part in parts]
    shape = {name: np.concatenate([part[name] for part in shapes]) for name in shapes[0]}
    if len(parts) > 1:
        start, guess = max(map(initial_loss, parts)), None
    return {name: _series(steps, found) for name, found in shape.items()} | _progress(
        steps, values, start if guess is None else min(start, guess)
    )


def _shape(values: Array, start: float) -> dict[str, Array]:
    """Return how far the loss is above its start, how much it gave back, and its sudden rises."""
    level = trailing_median(values, 8)
    quiet = trailing_median(values, 16)
    best = np.fmin.accumulate(np.where(np.isfinite(quiet), quiet, np.inf))
    scale = max(abs(start), 1e-12)
    achieved = np.maximum(start - best, 0.02 * scale)
    before = np.concatenate([[start], level[:-1]])
    spike = (values - before) / np.maximum(np.maximum(start - before, 0.0), 0.1 * scale)
    return {
        "loss_rise": (level - start) / scale,
        "loss_regressed": (level - best) / achieved * (best < 0.9 * start),
        "loss_jump": _jump(values, spike),
    }


def _lifts(values: Array) -> NDArray[np.int64]:
    """Return where another task begins: the loss is lifted at one step, stays there, and is learned down again.

    A bad batch is followed by good ones, and weights that were wrecked go on to change; of a longer horizon, another
    weight of a term or the next stage of a curriculum the loss begins anew. It is compared with itself from there on.
    """
    if values.size < SIDE + LIFT or not np.isfinite(values).all():
        return np.zeros(0, np.int64)
    _, middle, high, spread = _sides(values)
    rises = np.arange(SIDE, values.size - LIFT + 1)
    after = sliding_window_view(values, LIFT)[rises]
    there, before = np.median(after, axis=1), middle[rises - SIDE]
    flat = np.abs(after - there[:, None]).max(axis=1) <= FLAT * (there - before)
    apart = np.where(flat, (after.min(axis=1) - high[rises - SIDE]) / spread[rises - SIDE], 0.0)
    chosen: list[int] = []
    for place in np.argsort(-apart):
        if apart[place] <= LIFTED:
            break
        if all(abs(place - other) >= SIDE for other in chosen):
            chosen.append(int(place))
    chosen.sort()
    starts = [_first_lifted(values, int(rises[p]), before[p], there[p]) for p in chosen]
    learned = [
        start
        for start, end, p in zip(starts, [*starts[1:], values.size], chosen, strict=False)
        if _is_learned(values[start:end], before[p], there[p])
    ]
    return np.array(learned, np.int64)


def _sides(values: Array) -> tuple[Array, Array, Array, Array]:
    """Return low, median and high values of every so many steps in a row, and how far they spread."""
    low, middle, high = np.quantile(sliding_window_view(values, SIDE), [0.2, 0.5, 0.8], axis=1)
    return low, middle, high, high - low + 0.02 * np.abs(middle) + 1e-12


def _first_lifted(values: Array, rise: int, before: float, there: float) -> int:
    """Return the first step of a lift: a quantile does not see that the step before was lifted, too."""
    while rise > 1 and values[rise - 1] - before > 0.5 * (there - before):
        rise -= 1
    return rise


def _is_learned(values: Array, before: float, there: float) -> bool:
    """Return whether a loss that was lifted falls most of the way back, and not at one stroke."""
    left = (trailing_median(values, LIFT) - before) / (there - before)
    between = np.count_nonzero((left > LEARNED) & (left < 1.0 - LEARNED))
    return bool(left.min() < LEARNED and between >= ON_THE_WAY)


def _step_up(steps: NDArray[np.int64], values: Array, guess: float | None) -> dict[str, Series]:
    """Return how far the loss rose from one step to the next, in spreads of it, if it kept about that level.

    Weights that were wrecked are mended or get worse; a bad batch passes; a new task is learned. What stays as it
    began was not done to the weights: from here on something is asked that cannot be learned. What was known is
    unlearned then, until nothing better is left than to guess.
    """
    finite = np.isfinite(values)
    x, at = values[finite], steps[finite]
    if x.size < SIDE + AFTERWARDS:
        return {}
    low, middle, high, spread = _sides(x)
    rises = np.arange(SIDE, x.size - AFTERWARDS + 1)
    after = np.minimum(low[rises], np.minimum(x[rises], x[rises + 1]))
    apart = (after - high[rises - SIDE]) / spread[rises - SIDE]
    place = int(np.argmax(apart))
    rise, before = int(rises[place]), float(middle[place])
    jump = float(x[rise : rise + 3].mean()) - before
    end = float(np.median(x[-max(SIDE, x.size // 10) :]))
    left, last = (
        (level - before) / max(jump, 1e-12)
        for level in (float(np.median(x[rise + SIDE : rise + AFTERWARDS])), end)
    )
    level = guess or math.inf
    guessed = before < KNOWN * level and AS_GUESSED[0] < end / level < AS_GUESSED[1]
    held = HELD[0] < left < HELD[1] and (guessed or STAYS * left < last < HELD[1])
    held = held and jump > 0
    return {"loss_step_up": scalar_series(int(at[rise]), float(apart[place]) if held else 0.0)}


def _jump(values: Array, relative: Array) -> Array:
    """Return the size of sudden rises, in units of the progress made; 0 where the rise is noise."""
    positive = np.nanmin(np.where(np.isfinite(values), values, np.inf)) > 0
    x = np.log(np.where(values > 0, values, np.nan)) if positive else values
    floor = 0.05 if positive else max(float(np.nanstd(values[:32])) * 0.2, 1e-6)
    noisy = robust_z(x, floor=floor) < 6.0
    return np.where(noisy, 0.0, np.nan_to_num(relative))


def _progress(steps: NDArray[np.int64], values: Array, start: float) -> dict[str, Series]:
    finite = values[np.isfinite(values)]
    if finite.size < SHORTEST_CURVE:
        return {}
    tail = max(5, finite.size // 10)
    end = float(np.median(finite[-tail:]))
    remaining = (
        end / start if start > 0 and end >= 0 else 1.0 - (start - end) / max(abs(start), 1e-9)
    )
    middle = float(np.median(finite[finite.size // 2 : finite.size // 2 + tail]))
    late = (middle - end) / max(abs(start), 1e-9)
    noise = max(float(np.std(finite[-tail:])), 1e-9)
    first = int(steps[0])
    # Of a density there is no zero that a loss below it could be measured from: only a great fall or none says something.
    known = start > 0 or remaining < SOLVED or end >= start
    left = {"loss_remaining": scalar_series(first, max(remaining, 0.0))} if known else {}
    return left | {
        "loss_progress_z": scalar_series(
            first, (float(np.mean(finite[:tail])) - end) / noise * math.sqrt(tail)
        ),
        "loss_late_progress": scalar_series(first, late),
    }


def _against_guess(recording: Recording, values: Array) -> dict[str, Series]:
    """Return how a loss stands to that of an answer that ignores its input."""
    sizes = class_counts(recording)
    start = initial_loss(values)
    if not math.isfinite(start):
        return {}
    over = start / math.log(max(sizes)) if sizes else start_over_silence(recording)
    out = {} if over is None else {"loss_over_chance": scalar_series(0, over)}
    guess = _guess(recording)
    if guess is not None and values.size >= SHORTEST_CURVE:
        level = trailing_median(values, 16)[-1]
        out["loss_above_prior"] = scalar_series(0, abs(level / guess - 1.0))
    return out


def _guess(recording: Recording) -> float | None:
    """Return the loss of the best answer that ignores its input, None if that is not known."""
    entropy = label_entropy(recording.losses) if class_counts(recording) else None
    return entropy if entropy is not None and entropy > 0.05 else guessing_loss(recording)
