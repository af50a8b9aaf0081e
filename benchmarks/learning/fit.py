"""Conditional-likelihood refinement of the noisy-OR network: the experts' numbers are where it starts.

Over sets S of at most two active causes, with links q, leaks l, event weights w, refutation factors f and prior
log odds b,

    log P(e absent | S)  = log(1 - l_e) + sum over m in S of log(1 - q_me)
    score(S)             = sum over m in S of (b_m + sum over seen e of log f_me)
                           + sum over judged e of w_e * log P(what was seen of e | S)
    P(S | evidence)      = softmax of score over the sets that the context allows

and what is maximised is ``log P(S true | evidence)`` over runs, with an L2 pull towards the experts. The result
is still a noisy-OR network: every number goes back into the catalogue's records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning.table import Row
from neuraldbg.records.catalogue import Catalogue, Effect
from neuraldbg.records.learned import Learned

__all__ = ["Batch", "Numbers", "Options", "encode", "fit", "learned", "scores"]

UNKNOWN = "unknown_cause"
# No link or leak leaves this interval: certainty cannot be argued with.
LOW, HIGH = 1e-3, 0.995
IMPOSSIBLE = -1e9
# So often counts a run of the source of which there are fewer, at most.
MOST_FOLD = 3.0
# Variants this close in likelihood (nats) are both taken for the labelled one.
NEARLY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How far the experts' numbers may be moved.

    Attributes
    ----------
    pull_links, pull_leaks, pull_priors, pull_factors
        Weight of the squared distance from the experts' value (logit or log), a run. How often a mechanism is
        in the table says how often it was injected, not how often it happens: priors are held more tightly.
    pull_new
        Pull towards none of links and factors that the experts did not declare.
    weight_prior
        Where the weights of correlated evidence begin. An exact fact that one mechanism alone brings about begins
        at 1: it is no echo of other evidence.
    pull_weights
        Weight of the squared distance from that beginning (log).
    epochs, rate
        Of Adam over the whole table.
    """

    pull_links: float = 0.3
    pull_leaks: float = 0.3
    pull_priors: float = 1.0
    pull_factors: float = 0.3
    pull_new: float = 1.0
    weight_prior: float = 0.6
    pull_weights: float = 0.3
    new: bool = True
    epochs: int = 200
    rate: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A table as arrays.

    Attributes
    ----------
    causes, events
        The axes M and E.
    present, absent
        Shape ``(N, E)``; reliability of what was seen, 0 where it was not seen so.
    allowed
        Shape ``(N, M)``; whether the context allows the cause.
    sets
        Shape ``(S, M)``; all sets of at most two causes.
    right
        Shape ``(N, S)``; sets that count as the truth.
    importance
        Shape ``(N,)``.
    shown
        Shape ``(M,)``; causes that some run shows.
    """

    causes: tuple[str, ...]
    events: tuple[str, ...]
    present: Tensor
    absent: Tensor
    allowed: Tensor
    sets: Tensor
    right: Tensor
    importance: Tensor
    shown: Tensor


def encode(rows: Sequence[Row], catalogue: Catalogue) -> Batch:
    """Return the arrays of a table."""
    causes = (*(m.key for m in catalogue.mechanisms), UNKNOWN)
    events = tuple(d.name for d in catalogue.detectors)
    column = {name: j for j, name in enumerate(events)}
    shape = (len(rows), len(events))
    present, absent = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, row in enumerate(rows):
        for name, found in row.evidence.findings.items():
            (present if found.present else absent)[i, column[name]] = found.weight
    allowed = np.ones((len(rows), len(causes)), bool)
    for i, row in enumerate(rows):
        for j, mechanism in enumerate(catalogue.mechanisms):
            allowed[i, j] = set(mechanism.requires) <= row.evidence.context
    slugs = [c.split("/")[0] for c in causes]
    sets = _sets(slugs)
    fitting = [_fitting(row, catalogue) for row in rows]
    right = np.stack([_right(r, slugs, sets, fits) for r, fits in zip(rows, fitting, strict=True)])
    return Batch(
        causes=causes,
        events=events,
        present=torch.from_numpy(present),
        absent=torch.from_numpy(absent),
        allowed=torch.from_numpy(allowed),
        sets=torch.from_numpy(sets),
        right=torch.from_numpy(right),
        importance=torch.from_numpy(_importance(rows)),
        shown=torch.from_numpy(_shown(rows, slugs, fitting)),
    )


def _shown(
    rows: Sequence[Row], slugs: Sequence[str], fitting: Sequence[np.ndarray[Any, Any]]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    shown = np.zeros(len(slugs), bool)
    shown[-1] = True
    for row, fits in zip(rows, fitting, strict=True):
        if row.label.hurts is not False:
            shown |= fits & np.isin(slugs, row.label.mechanisms)
    return shown


def _sets(slugs: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    count = len(slugs)
    pairs = [p for p in combinations(range(count), 2) if slugs[p[0]] != slugs[p[1]]]
    out = np.zeros((1 + count + len(pairs), count), bool)
    out[1 : 1 + count] = np.eye(count, dtype=bool)
    for row, pair in enumerate(pairs, start=1 + count):
        out[row, list(pair)] = True
    return out


def _fitting(row: Row, catalogue: Catalogue) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which causes may be the one that a label means, shape ``(M,)``.

    A label names a mechanism; which of its variants it was, the experts' links tell from what was seen. Left
    open, learning would let any variant stand for all of them.
    """
    likely = np.array([_likelihood(row, m.effects) for m in catalogue.mechanisms])
    slugs = np.array([m.slug for m in catalogue.mechanisms])
    best = np.array([likely[slugs == s].max() for s in slugs])
    return np.append(likely >= best - NEARLY, True)


def _likelihood(row: Row, declared: Sequence[Effect]) -> float:
    """Return how well the declared effects of a variant agree with what was seen, in nats."""
    total = 0.0
    for effect in declared:
        found = row.evidence.findings.get(effect.event)
        if found is not None:
            p = effect.link if found.present else 1.0 - effect.link
            total += found.weight * float(np.log(p / 0.05 if found.present else p))
    return total


def _right(
    row: Row,
    slugs: Sequence[str],
    sets: np.ndarray[Any, Any],
    fitting: np.ndarray[Any, np.dtype[np.bool_]],
) -> np.ndarray[Any, Any]:
    """Return which sets count as the truth of a run."""
    label = row.label
    if not label.mechanisms:
        return np.asarray(~sets.any(axis=1))
    primary = np.array([s in label.mechanisms for s in slugs]) & fitting
    second = np.array([s in label.second for s in slugs]) & fitting
    extra = np.array([s in (*label.also, *label.second, *label.mechanisms) for s in slugs])
    inside = ~(sets & ~extra).any(axis=1)
    if label.second:
        both = (sets & primary).any(axis=1) & (sets & second).any(axis=1)
        return np.asarray(inside & (both | (sets.sum(axis=1) == 1)))
    found = (sets & primary).any(axis=1) & inside
    # A fault that did no harm may be left unsaid.
    return np.asarray(found | ~sets.any(axis=1)) if label.hurts is False else np.asarray(found)


def _importance(rows: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return weights that make mechanisms count alike (to the power of a half).

    Causes that the catalogue does not list have one name and are many faults: they count as they are. Balanced
    like one mechanism, whatever looks a little like a listed cause would be it.
    """
    first = [row.label.mechanisms[0] if row.label.mechanisms else "" for row in rows]
    counts = Counter(first)
    listed = [n for mechanism, n in counts.items() if mechanism not in {"", UNKNOWN}]
    typical = float(np.median(listed)) if listed else 1.0
    weight = np.array([1.0 if m in {"", UNKNOWN} else (typical / counts[m]) ** 0.5 for m in first])
    harmless = np.array([0.5 if row.label.hurts is False else 1.0 for row in rows])
    return _alike([row.label.source for row in rows], weight * harmless).astype(np.float32)


def _alike(sources: Sequence[str], weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return weights by which what strangers wrote counts as much in all as the corpus, that of no run more than thrice."""
    names = np.array(sources)
    total = {name: float(weight[names == name].sum()) for name in dict.fromkeys(sources)}
    most = max(total.values(), default=0.0)
    factor = {name: min(most / max(mine, 1e-9), MOST_FOLD) for name, mine in total.items()}
    return weight * np.array([factor[name] for name in sources])


def _first_weights(catalogue: Catalogue, options: Options) -> Tensor:
    """Return the logarithms of the weights of events where learning starts."""
    pairs = {(e.event, m.slug) for m in catalogue.mechanisms for e in m.effects}
    causes = Counter(event for event, _ in pairs)
    alone = [d.reliability >= 1 and causes[d.name] == 1 for d in catalogue.detectors]
    return torch.where(torch.tensor(alone), 0.0, float(np.log(options.weight_prior)))


class Numbers:
    """The parameters as unconstrained tensors, and the experts' values that they are tied to."""

    def __init__(self, catalogue: Catalogue, batch: Batch, options: Options) -> None:
        count, events = len(batch.causes), len(batch.events)
        column = {name: j for j, name in enumerate(batch.events)}
        link = np.full((count, events), np.nan)
        factor = np.full((count, events), np.nan)
        for i, mechanism in enumerate(catalogue.mechanisms):
            for effect in mechanism.effects:
                link[i, column[effect.event]] = effect.link
            for effect in mechanism.forbids:
                factor[i, column[effect.event]] = effect.link
        for detector in catalogue.detectors:
            unlisted = catalogue.unlisted_link(detector)
            if unlisted is not None:
                link[-1, column[detector.name]] = unlisted
        self.declared = torch.tensor(~np.isnan(link))
        self.refuted = torch.tensor(~np.isnan(factor))
        # An unlisted cause is what is left over: it may not learn the look of the few that the corpus holds.
        self.open = torch.full((count, 1), options.new)
        self.open[-1] = False
        self.shown = batch.shown
        self.present = (batch.present > 0).any(dim=0)
        start = np.where(np.isnan(link), 0.004, np.clip(link, LOW, HIGH))
        self.link0 = torch.logit(torch.tensor(start, dtype=torch.float32))
        self.factor0 = torch.tensor(np.log(np.nan_to_num(factor, nan=1.0)), dtype=torch.float32)
        leaks = [min(max(d.leak, 2e-3), 0.5) for d in catalogue.detectors]
        self.leak0 = torch.logit(torch.tensor(leaks))
        priors = [*(m.prior for m in catalogue.mechanisms), catalogue.p_unknown]
        self.prior0 = torch.logit(torch.tensor(priors))
        self.weight0 = _first_weights(catalogue, options)
        self.link = self.link0.clone().requires_grad_()
        self.factor = self.factor0.clone().requires_grad_()
        self.leak = self.leak0.clone().requires_grad_()
        self.deliberate = torch.tensor([d.deliberate for d in catalogue.detectors])
        self.prior = self.prior0.clone().requires_grad_()
        self.weight = self.weight0.clone().requires_grad_()
        self._options = options

    def tensors(self) -> list[Tensor]:
        return [self.link, self.factor, self.leak, self.prior, self.weight]

    def weights(self, temperature: float = 1.0) -> Tensor:
        """Return the weights of events; one that no run shows was never weighed, and counts as it is written."""
        return torch.where(self.present, self.weight.exp().clamp_max(1.5) / temperature, 1.0)

    def leaks(self) -> Tensor:
        """Return the logits of the leaks; of what people do on purpose the expert's."""
        return torch.where(self.deliberate, self.leak0, self.leak)

    def links(self) -> Tensor:
        q = torch.sigmoid(self.link).clamp(0.0, HIGH)
        return q * (self.declared | self.open)

    def factors(self) -> Tensor:
        """Return log factors, never above 0: a refutation speaks against."""
        log = self.factor.clamp(-6.0, 0.0)
        return log * (self.refuted | self.open)

    def pull(self) -> Tensor:
        options = self._options
        links = (self.link - self.link0) ** 2
        factors = (self.factor - self.factor0) ** 2
        return (
            options.pull_links * links[self.declared].sum()
            + options.pull_new * 0.3 * links[~self.declared].sum()
            + options.pull_factors * factors[self.refuted].sum()
            + options.pull_new * factors[~self.refuted].sum()
            + options.pull_leaks * ((self.leak - self.leak0) ** 2).sum()
            + options.pull_priors * ((self.prior - self.prior0) ** 2).sum()
            + options.pull_weights * ((self.weight - self.weight0) ** 2).sum()
        )


def scores(numbers: Numbers, batch: Batch) -> Tensor:
    """Return the score of every set for every run, shape ``(N, S)``."""
    members = batch.sets.float()
    leaked, blocked = -torch.nn.functional.softplus(numbers.leaks()), torch.log1p(-numbers.links())
    quiet = (leaked + members @ blocked).clamp_max(float(np.log1p(-1e-4)))
    loud = torch.log(-torch.expm1(quiet))
    weight = numbers.weights()
    # Few events of many are present; absent ones factorise over causes. Neither needs a product over all sets.
    seen = torch.sparse.mm(batch.present.to_sparse(), (loud * weight).T)
    absent = batch.absent * weight
    single = numbers.prior + batch.present @ numbers.factors().T + absent @ blocked.T
    alone = torch.where(batch.allowed, single, IMPOSSIBLE) @ members.T
    return seen + alone + absent @ leaked[:, None]


def _places(right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns of the sets that are right, padded to the longest row, and what is padding."""
    count = right.sum(dim=1, keepdim=True)
    places = right.int().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
    return places, torch.arange(places.shape[1]) >= count


def fit(rows: Sequence[Row], catalogue: Catalogue, options: Options = Options()) -> Numbers:
    """Return the numbers that maximise the conditional likelihood of the labels."""
    batch = encode(rows, catalogue)
    numbers = Numbers(catalogue, batch, options)
    optimizer = torch.optim.Adam(numbers.tensors(), lr=options.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    places, padding = _places(batch.right)
    for _ in range(options.epochs):
        optimizer.zero_grad()
        score = scores(numbers, batch)
        right = torch.logsumexp(score.gather(1, places).masked_fill(padding, IMPOSSIBLE), dim=1)
        log_p = right - torch.logsumexp(score, dim=1)
        loss = -(batch.importance * log_p.clamp_min(-12.0)).sum() + numbers.pull()
        loss.backward()
        optimizer.step()
        schedule.step()
    return numbers


def learned(
    numbers: Numbers,
    catalogue: Catalogue,
    *,
    corpus: str,
    temperature: float = 1.0,
    least: float = 0.02,
) -> Learned:
    """Return the numbers as a record.

    Parameters
    ----------
    numbers
        What was fitted.
    catalogue
        The experts' catalogue.
    corpus
        Hash of the table.
    temperature
        Divides every weight, prior log odds and log factor, and so every score.
    least
        Links below it that the experts did not declare are dropped.
    """
    # Of a way of failing that no run shows nothing was learned but its absence: the experts' numbers stay.
    shown = numbers.shown
    with torch.no_grad():
        declared = numbers.declared
        expert = torch.sigmoid(numbers.link0) * declared
        links = torch.where(shown[:, None], numbers.links(), expert).numpy()
        factors = torch.where(
            shown[:, None], numbers.factors() / temperature, numbers.factor0
        ).numpy()
        prior = torch.sigmoid(
            torch.where(shown, numbers.prior / temperature, numbers.prior0)
        ).numpy()
        leak, weight = (
            torch.sigmoid(numbers.leaks()).numpy(),
            numbers.weights(temperature).numpy(),
        )
    events = [d.name for d in catalogue.detectors]
    keys = [*(m.key for m in catalogue.mechanisms), UNKNOWN]
    return Learned(
        detectors=catalogue.fingerprint(),
        corpus=corpus,
        links={
            key: {
                event: round(float(links[i, j]), 4)
                for j, event in enumerate(events)
                if bool(declared[i, j]) or links[i, j] >= least
            }
            for i, key in enumerate(keys)
        },
        factors={
            key: {
                event: round(float(np.exp(factors[i, j])), 4)
                for j, event in enumerate(events)
                if factors[i, j] < -0.05
            }
            for i, key in enumerate(keys[:-1])
        },
        priors={key: round(float(p), 6) for key, p in zip(keys, prior, strict=True)},
        leaks={e: round(float(p), 5) for e, p in zip(events, leak, strict=True)},
        weights={e: round(float(w), 4) for e, w in zip(events, weight, strict=True)},
    )
