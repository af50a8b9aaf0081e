"""Families of transformers."""

from __future__ import annotations

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families.common import finish
from benchmarks.corpus.models.attention import EncoderClassifier, LanguageModel, OwnPostNorm
from benchmarks.corpus.program import Program
from benchmarks.corpus.tasks import sequences, texts

__all__ = ["FAMILIES"]


def transformer_lm(draw: Draw) -> Program:
    """Return a pre-norm character model with its own attention."""
    length = draw.pick([16, 24])
    task = texts.characters(length)
    config = {
        "vocabulary": texts.VOCABULARY,
        "length": length,
        "width": draw.pick([24, 32]),
        "depth": draw.whole(1, 3),
        "heads": draw.pick([2, 4]),
        "act": draw.pick(["gelu", "gelu", "relu", "silu"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "fused": draw.chance(0.4),
        "sdpa": draw.chance(0.4),
        "tied": draw.chance(0.2),
    }
    rates = {"adam": (5e-3, 1.2e-2), "adamw": (5e-3, 1.2e-2)}
    return finish(
        draw, "transformer_lm", LanguageModel, config, task, rates, steps=(170, 240), sizes=(12, 16)
    )


def transformer_post(draw: Draw) -> Program:
    """Return a post-norm classifier of sequences or passages, from PyTorch's own attention."""
    rates = {"adam": (1.5e-3, 4e-3), "adamw": (1.5e-3, 4e-3)}
    config = {
        "width": draw.pick([24, 32]),
        "depth": draw.whole(1, 2),
        "heads": draw.pick([2, 4]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
    }
    if draw.chance(0.35):
        task = texts.subjects()
        words = {"vocabulary": 400, "length": 20, "outputs": task.outputs}
        config |= words | {"act": draw.pick(["relu", "gelu"])}
        return finish(
            draw, "transformer_post", EncoderClassifier, config, task, rates,
            steps=(120, 180), sizes=(16, 32),
        )  # fmt: skip
    name, length = draw.pick([("rows", 8), ("order", 12), ("recall", 8), ("pitch", 12)])
    task = sequences.sequence_classes(name, length)
    config |= {"outputs": task.outputs, "length": length, "inputs": task.shape[1]}
    if draw.chance(0.5):
        config |= {"act": draw.pick(["relu", "gelu"]), "first": draw.chance(0.2)}
        return finish(
            draw, "transformer_post", EncoderClassifier, config, task, rates,
            steps=(130, 200), sizes=(16, 32),
        )  # fmt: skip
    config["act"] = draw.pick(["gelu", "relu"])
    return finish(
        draw, "transformer_post", OwnPostNorm, config, task, rates, steps=(130, 200), sizes=(16, 32)
    )


FAMILIES = {"transformer_lm": transformer_lm, "transformer_post": transformer_post}
