"""Held-out learning: every architecture family is judged by numbers that were learned without it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar

from benchmarks.learning.fit import Batch, Numbers, Options, encode, fit, learned, scores
from benchmarks.learning.judge import Verdict, judge
from benchmarks.learning.table import Row
from neuraldbg.explain.claims import stated_probability
from neuraldbg.inference.location import OriginNetwork, origin_network, origin_posterior
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.learned import ClaimMap, Learned, LocationWeights, OnsetError

__all__ = [
    "Held",
    "claim_map",
    "held_out",
    "learn_all",
    "location_weights",
    "logistic_map",
    "onset_error",
    "restated",
]

UNKNOWN = "unknown_cause"
COVER = 0.95
# The quantile of the surprise of the corpus from which evidence is unlike any seen.
USUAL = 0.95
MOST_ORIGINS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was learned without a group of families, and the verdicts on them.

    ``raw`` are those that state the network's own posterior, before the claim map.
    """

    families: tuple[str, ...]
    numbers: Learned
    raw: list[Verdict]
    verdicts: list[Verdict]


def folds(rows: Sequence[Row], count: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Return groups of families, none split, of nearly equal numbers of families; another seed groups them anew."""
    names = sorted({row.label.family for row in rows})
    if seed:
        names = np.random.default_rng(seed).permutation(names).tolist()
    return [tuple(names[k::count]) for k in range(min(count, len(names)))]


def _without(rows: Sequence[Row], left_out: tuple[str, ...], beside: Sequence[Row]) -> list[Row]:
    return [*(r for r in rows if r.label.family not in left_out), *beside]


def _fit_without(job: tuple[Sequence[Row], Catalogue, Options]) -> Numbers:
    rest, catalogue, options = job
    torch.set_num_threads(1)
    return fit(rest, catalogue, options)


def _judge_fold(
    job: tuple[Sequence[Row], tuple[str, ...], Sequence[Row], Catalogue, Learned, bool],
) -> Held:
    rows, left_out, beside, catalogue, numbers, location = job
    if location:
        rest = _without(rows, left_out, beside)
        numbers = replace(numbers, location=location_weights(rest, catalogue.refined(numbers), 60))
    raw = judge([r for r in rows if r.label.family in left_out], catalogue.refined(numbers))
    return Held(families=left_out, numbers=numbers, raw=raw, verdicts=raw)


def held_out(
    rows: Sequence[Row],
    catalogue: Catalogue,
    *,
    corpus: str,
    options: Options | None = None,
    beside: Sequence[Row] = (),
    location: bool = True,
    count: int = 8,
    workers: int = 2,
    seed: int = 0,
) -> tuple[list[Held], float]:
    """Return the held-out verdicts of every family, and the temperature that they were made with.

    Families are left out in groups, so that a family is judged by numbers learned without it and without
    several others. The temperature is the one that makes the held-out likelihood largest over all groups
    together; the claim map of a group is fitted on the held-out verdicts of the others. Runs in ``beside`` are
    learned from for every group and judged in none.
    """
    chosen = options or Options()
    groups = folds(rows, count, seed)
    with get_context("spawn").Pool(workers) as pool:
        fits = _progress(
            "learning",
            len(groups),
            pool.imap(
                _fit_without, [(_without(rows, g, beside), catalogue, chosen) for g in groups]
            ),
        )
        temperature = _temperature(
            [_scored(rows, g, catalogue, n) for g, n in zip(groups, fits, strict=True)]
        )
        jobs = []
        for group, numbers in zip(groups, fits, strict=True):
            ready = learned(numbers, catalogue, corpus=corpus, temperature=temperature)
            jobs.append(
                (rows, group, beside, catalogue, replace(ready, claim=ClaimMap(cap=1.0)), location)
            )
        raw = _progress("judging", len(groups), pool.imap(_judge_fold, jobs))
        mapped = [(held, raw, rows, catalogue) for held in raw]
        return _progress("stating", len(groups), pool.imap(_with_map, mapped)), temperature


def _progress(word: str, total: int, found: Iterable[Any]) -> list[Any]:
    out = []
    for item in found:
        out.append(item)
        sys.stderr.write(f"\r{word} {len(out)}/{total} ")
    sys.stderr.write("\n")
    return out


def _scored(
    rows: Sequence[Row], group: tuple[str, ...], catalogue: Catalogue, numbers: Numbers
) -> tuple[torch.Tensor, Batch]:
    batch = encode([r for r in rows if r.label.family in group], catalogue)
    with torch.no_grad():
        return scores(numbers, batch), batch


def _with_map(job: tuple[Held, Sequence[Held], Sequence[Row], Catalogue]) -> Held:
    held, every, rows, catalogue = job
    others = [v for other in every if other.families != held.families for v in other.raw]
    numbers = replace(held.numbers, claim=claim_map(others), onset=onset_error(others))
    mine = [r for r in rows if r.label.family in held.families]
    return replace(held, numbers=numbers, verdicts=judge(mine, catalogue.refined(numbers)))


def _temperature(losses: Sequence[tuple[torch.Tensor, Batch]]) -> float:
    def loss(t: float) -> float:
        total = 0.0
        for score, batch in losses:
            log_p = torch.log_softmax(score / t, dim=1).masked_fill(~batch.right, -1e9)
            found = torch.logsumexp(log_p, dim=1).clamp_min(-12.0)
            total -= float((batch.importance * found).sum())
        return total

    return float(minimize_scalar(loss, bounds=(0.5, 6.0), method="bounded").x)


def _joint(p: float) -> float:
    return float(np.log(max(p, 1e-9)) - np.log(max(1 - p, 1e-9)))


def claim_map(verdicts: Sequence[Verdict]) -> ClaimMap:
    """Return the logistic map from the odds of the leading claim to how often it was right.

    Verdicts must state the network's own posterior (an identity map).
    """
    told = [v for v in verdicts if v.claims and _counts(v)]
    surprise = np.array([v.surprise for v in told])
    usual = float(np.quantile(surprise, USUAL)) if told else 1.0
    stated = np.array([v.claims[0].probability for v in told])
    return logistic_map(stated, surprise, np.array([v.correct for v in told]), usual=usual)


def logistic_map(
    stated: np.ndarray, surprise: np.ndarray, right: np.ndarray, *, usual: float
) -> ClaimMap:
    """Return the map from the network's posterior of the leading claim to how often it was right.

    Parameters
    ----------
    stated, surprise, right
        The posterior, the surprise in nats per event type, and whether mechanism and layer were right; one a run.
    usual
        The surprise from which evidence is unlike any that was learned from.
    """
    x = np.array([_joint(p) for p in stated])
    excess = np.maximum(surprise - usual, 0.0)
    y = right.astype(float)

    def loss(theta: np.ndarray) -> float:
        z = theta[0] * x + theta[1] - np.exp(theta[2]) * excess
        fit = np.logaddexp(0.0, -z) * y + np.logaddexp(0.0, z) * (1 - y)
        return float(
            fit.mean() + 0.002 * ((theta[0] - 1) ** 2 + theta[1] ** 2 + (theta[2] - 2) ** 2)
        )

    slope, offset, novelty = minimize(loss, np.array([1.0, 0.0, 2.0]), method="Nelder-Mead").x
    return ClaimMap(
        slope=round(float(slope), 4),
        offset=round(float(offset), 4),
        novelty=round(float(np.exp(novelty)), 4),
        usual=round(usual, 4),
        cap=0.99,
    )


def restated(verdict: Verdict, found: ClaimMap) -> Verdict:
    """Return a verdict of the network's own posteriors as it is stated through a map."""

    def state(p: float) -> float:
        return stated_probability(p, verdict.surprise, found)

    claims = tuple(
        replace(c, p_mechanism=state(c.p_mechanism), probability=state(c.probability))
        for c in verdict.claims
    )
    return replace(verdict, claims=claims)


def _counts(verdict: Verdict) -> bool:
    """Return whether a run says how right claims are: a fault that did no harm does not."""
    return verdict.label.hurts is not False


def onset_error(verdicts: Sequence[Verdict]) -> OnsetError:
    """Return the quantiles of how far the true onset lies before and behind the stated step."""
    early, late, share = [0.0], [0.0], [0.0]
    inside = []
    pairs = [
        (v.claims[0].step, v.label.onset)
        for v in verdicts
        if v.hit and v.label.hurts and v.label.onset
    ]
    for step, (low, high) in pairs:
        early.append(max(step - high, 0))
        late.append(max(low - step, 0))
        share.append(max(step - high, 0) / max(step, 1))
    found = OnsetError(
        early=int(np.ceil(np.quantile(early, COVER))),
        late=int(np.ceil(np.quantile(late, COVER))),
        share=round(float(np.quantile(share, COVER)) if len(share) > 50 else 0.0, 3),
    )
    # The share would widen late onsets by what only early ones need: it is capped at the sampling rhythm.
    found = replace(found, share=min(found.share, 0.05))
    for step, (low, high) in pairs:
        reach = max(found.early, found.share * step)
        inside.append(step - reach <= high and low <= step + found.late)
    return replace(found, coverage=round(float(np.mean(inside)), 3) if inside else 0.0)


def location_weights(
    rows: Sequence[Row], catalogue: Catalogue, evaluations: int
) -> LocationWeights:
    """Return the location numbers that make the true places likeliest, given the true mechanism.

    Strangers name a layer where they are sure of it: that they name none does not say that a fault has none, and only
    runs of the corpus are learned from.
    """
    placed = [r for r in rows if r.label.source == "corpus" and _has_place(r, catalogue)]
    whole = _whole(placed)
    # Where many layers are right at once there is no one origin to learn from.
    chosen = [r for r in placed if r.label.layers is None or len(r.label.layers) <= MOST_ORIGINS]
    if catalogue.learned is None or not chosen:
        return LocationWeights(whole=whole)
    base = catalogue.learned

    def weights(theta: np.ndarray) -> LocationWeights:
        a, b, c = (1 / (1 + np.exp(-theta[:3]))).tolist()
        late, strong = np.exp(theta[3:5]).tolist()
        numbers = [round(float(x), 4) for x in (a, b, c, late, strong, theta[5])]
        names = ("propagated", "elsewhere", "everywhere", "lateness", "strength", "flow")
        return LocationWeights(**dict(zip(names, numbers, strict=True)), whole=whole)

    def loss(theta: np.ndarray) -> float:
        ready = catalogue.refined(replace(base, location=weights(theta)))
        missed = [_place_loss(row, ready) for row in chosen]
        return float(np.mean(missed)) + 0.01 * float(((theta - START) ** 2).sum())

    found = minimize(loss, START, method="Powell", options={"maxfev": evaluations})
    return weights(found.x)


# Judgement of the location network before learning, on the scales that are searched.
START = np.array([0.0, -2.9, 1.7, 0.0, 0.0, 0.0])


def _has_place(row: Row, catalogue: Catalogue) -> bool:
    label = row.label
    if not label.mechanisms or not label.hurts or label.mechanisms[0] not in catalogue.slugs():
        return False
    first = catalogue.mechanism(label.mechanisms[0])
    return first.layered and not first.several and len(_network(row, catalogue).places) > 1


def _whole(rows: Sequence[Row]) -> dict[str, float]:
    """Return, by mechanism, the smoothed share of runs in which it acted on the whole network."""
    out = {}
    for slug in sorted({r.label.mechanisms[0] for r in rows}):
        mine = [r.label.layers is None for r in rows if r.label.mechanisms[0] == slug]
        out[slug] = round((sum(mine) + 0.5) / (len(mine) + 2.0), 4)
    return out


def _network(row: Row, catalogue: Catalogue) -> OriginNetwork:
    """Return the location network of the true mechanism, in the variant that shows most evidence."""
    variants = [m for m in catalogue.mechanisms if m.slug == row.label.mechanisms[0]]
    seen = [
        sum(e.event in present for e in m.effects)
        for present in [{n for n, f in row.evidence.findings.items() if f.present}]
        for m in variants
    ]
    return origin_network(variants[int(np.argmax(seen))], row.evidence, catalogue)


def _place_loss(row: Row, catalogue: Catalogue) -> float:
    network = _network(row, catalogue)
    places = dict(
        zip(
            network.places,
            origin_posterior(network) if len(network.places) > 1 else [1.0],
            strict=True,
        )
    )
    wanted: tuple[str | None, ...] = row.label.layers if row.label.layers is not None else (None,)
    return -float(np.log(max(sum(places.get(w, 0.0) for w in wanted), 1e-3)))


def learn_all(
    rows: Sequence[Row],
    catalogue: Catalogue,
    *,
    corpus: str,
    temperature: float,
    verdicts: Sequence[Verdict],
    claim: ClaimMap,
) -> Learned:
    """Return the numbers to ship: learned on every family, temperature and onsets from held-out verdicts."""
    numbers = learned(fit(rows, catalogue), catalogue, corpus=corpus, temperature=temperature)
    numbers = replace(numbers, location=location_weights(rows, catalogue.refined(numbers), 150))
    return replace(numbers, claim=claim, onset=onset_error(verdicts))
