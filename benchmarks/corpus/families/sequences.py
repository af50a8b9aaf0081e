"""Families of recurrent networks and of state-space networks."""

from __future__ import annotations

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families.common import finish
from benchmarks.corpus.models.recurrent import CellNet, RecurrentLm, RecurrentNet, Seq2Seq
from benchmarks.corpus.models.state import StateNet
from benchmarks.corpus.program import Program
from benchmarks.corpus.tasks import sequences, texts

__all__ = ["FAMILIES"]

FUSED = frozenset({"fused"})


def rnn(draw: Draw) -> Program:
    """Return a vanilla recurrent classifier: a loop over a cell, or ``nn.RNN``."""
    name, length = draw.pick([("rows", 8), ("pitch", 12), ("recall", 8), ("order", 10)])
    task = sequences.sequence_classes(name, length)
    config = {
        "inputs": task.shape[1],
        "outputs": task.outputs,
        "width": draw.pick([24, 32, 48]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "orthogonal": True,
    }
    rates = {
        "sgd": (0.08, 0.15),
        "momentum": (0.015, 0.04),
        "adam": (2e-3, 5e-3),
        "adamw": (2e-3, 5e-3),
        "rmsprop": (1e-3, 2e-3),
    }
    if draw.chance(0.5):
        config["act"] = draw.pick(["tanh", "tanh", "relu"])
        return finish(draw, "rnn", CellNet, config, task, rates, steps=(150, 240))
    config |= {"kind": "rnn", "pool": draw.pick(["last", "mean"]), "lift": draw.chance(0.4)}
    return finish(
        draw, "rnn", RecurrentNet, config, task, rates, steps=(150, 240), notes=FUSED,
        precision="float32",
    )  # fmt: skip


def _gated(draw: Draw, kind: str) -> Program:
    rates = {"adam": (5e-3, 0.015), "adamw": (5e-3, 0.015), "rmsprop": (2e-3, 6e-3)}
    if draw.chance(0.35):
        task = texts.characters(20)
        config = {
            "vocabulary": texts.VOCABULARY,
            "kind": kind,
            "width": draw.pick([32, 40]),
            "drop": draw.pick([0.0, 0.0, 0.1]),
        }
        return finish(
            draw, kind, RecurrentLm, config, task, rates, steps=(120, 160), sizes=(16, 32),
            notes=FUSED, precision="float32",
        )  # fmt: skip
    name, length = draw.pick([("rows", 8), ("pitch", 14), ("recall", 10), ("order", 12)])
    task = sequences.sequence_classes(name, length)
    config = {
        "inputs": task.shape[1],
        "outputs": task.outputs,
        "kind": kind,
        "width": draw.pick([24, 32, 40]),
        "layers": draw.pick([1, 1, 2]),
        "both": draw.chance(0.2),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "pool": draw.pick(["last", "last", "mean"]),
        "lift": draw.chance(0.4),
    }
    return finish(
        draw, kind, RecurrentNet, config, task, rates | {"momentum": (0.2, 0.4)},
        steps=(130, 220), notes=FUSED, precision="float32",
    )  # fmt: skip


def lstm(draw: Draw) -> Program:
    """Return an LSTM classifier or language model."""
    return _gated(draw, "lstm")


def gru(draw: Draw) -> Program:
    """Return a GRU classifier or language model."""
    return _gated(draw, "gru")


def seq2seq(draw: Draw) -> Program:
    """Return an encoder–decoder with attention that turns strings round."""
    length = draw.pick([5, 6, 8])
    task = sequences.strings(length)
    config = {
        "symbols": 10,
        "width": draw.pick([32, 40]),
        "kind": draw.pick(["gru", "lstm"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
    }
    rates = {"adam": (0.01, 0.02), "adamw": (0.01, 0.02), "rmsprop": (4e-3, 8e-3)}
    return finish(
        draw, "seq2seq", Seq2Seq, config, task, rates, steps=(150, 220), sizes=(32, 48),
        notes=FUSED, precision="float32",
    )  # fmt: skip


def state_space(draw: Draw) -> Program:
    """Return a state-space classifier: linear recurrences step by step, or as one convolution."""
    name, length = draw.pick([("rows", 8), ("pitch", 16), ("recall", 16), ("order", 20)])
    task = sequences.sequence_classes(name, length)
    config = {
        "inputs": task.shape[1],
        "outputs": task.outputs,
        "width": draw.pick([16, 24, 32]),
        "depth": draw.whole(1, 3),
        "states": draw.pick([2, 4]),
        "act": draw.pick(["gelu", "gelu", "relu", "silu"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "loop": draw.chance(0.3),
        "pool": draw.pick(["last", "last", "mean"]),
    }
    rates = {"adam": (2e-3, 6e-3), "adamw": (2e-3, 6e-3)}
    return finish(
        draw, "state_space", StateNet, config, task, rates, steps=(130, 220), precision="float32"
    )


FAMILIES = {"rnn": rnn, "lstm": lstm, "gru": gru, "seq2seq": seq2seq, "state_space": state_space}
