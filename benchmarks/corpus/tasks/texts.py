"""Text of the standard library: the language reference and the licence."""

from __future__ import annotations

import re
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.corpus.task import Task, accuracy, split

__all__ = ["VOCABULARY", "characters", "subjects"]

VOCABULARY = 48


@lru_cache(maxsize=4)
def characters(length: int = 24) -> Task:
    """Return windows of the language reference ``(n, length)`` and the same windows one character later."""
    text = "".join(body for _, body in _topics())[:60_000].lower()
    text = re.sub(r"\s+", " ", text)
    common = sorted(set(text), key=lambda c: (-text.count(c), c))[: VOCABULARY - 1]
    index = {c: i + 1 for i, c in enumerate(common)}
    ids = torch.tensor([index.get(c, 0) for c in text])
    windows = ids.unfold(0, length + 1, 9)
    train, held = split((windows[:, :-1],), windows[:, 1:], 100)
    return Task(
        name=f"characters{length}",
        kind="tokens",
        train=train,
        test=held,
        outputs=VOCABULARY,
        score=accuracy,
        trivial=held[1].flatten().bincount().max().item() / held[1].numel(),
    )


@lru_cache(maxsize=2)
def subjects(length: int = 20, words: int = 400) -> Task:
    """Return passages ``(n, length)`` of word ids and which part of the reference they come from."""
    parts = _parts()
    tokens = [re.findall(r"[a-z_]+", body.lower()) for body in parts]
    counts: dict[str, int] = {}
    for token in (t for part in tokens for t in part):
        counts[token] = counts.get(token, 0) + 1
    common = sorted(counts, key=lambda w: (-counts[w], w))[: words - 2]
    index = {w: i + 2 for i, w in enumerate(common)}
    rows, labels = [], []
    for label, part in enumerate(tokens):
        ids = torch.tensor([index.get(t, 1) for t in part])
        windows = ids.unfold(0, length, 7)[:400]
        rows.append(windows)
        labels.append(torch.full((windows.shape[0],), label))
    x, y = torch.cat(rows), torch.cat(labels)
    train, held = split((_padded(x),), y, 200)
    return Task(
        name="subjects",
        kind="classes",
        train=train,
        test=held,
        outputs=len(parts),
        score=accuracy,
        trivial=held[1].bincount().max().item() / held[1].numel(),
    )


def _padded(ids: Tensor) -> Tensor:
    """End passages at different lengths; 0 is padding."""
    g = torch.Generator().manual_seed(31)
    lengths = torch.randint(ids.shape[1] // 2, ids.shape[1] + 1, (ids.shape[0], 1), generator=g)
    return ids * (torch.arange(ids.shape[1]) < lengths)


def _topics() -> list[tuple[str, str]]:
    from pydoc_data.topics import topics

    return sorted(topics.items())


def _parts() -> list[str]:
    """Return the longest entries of the reference: one subject each."""
    bodies = sorted((body for _, body in _topics()), key=lambda b: (-len(b), b))
    distinct: list[str] = []
    for body in bodies:
        if all(body[:200] not in other for other in distinct):
            distinct.append(body[:20_000])
        if len(distinct) == 5:
            break
    return distinct
