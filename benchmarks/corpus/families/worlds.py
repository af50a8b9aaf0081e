"""Families with a world of their own: graphs, ratings, twins, games, fine-tuning, laws, bags, denoisers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import nn

from benchmarks.corpus import criteria
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families.common import finish
from benchmarks.corpus.models.dense import Mlp
from benchmarks.corpus.models.others import (
    BagClassifier,
    Denoiser,
    FieldNet,
    Game,
    GraphNet,
    LowRank,
    Siamese,
    SineNet,
)
from benchmarks.corpus.models.others import (
    Recommender as RecommenderNet,
)
from benchmarks.corpus.program import Program, Turn
from benchmarks.corpus.tasks import tables, texts, worlds

__all__ = ["FAMILIES"]


def graph(draw: Draw) -> Program:
    """Return a graph network: a class per node or a number per graph."""
    pooled = draw.chance(0.4)
    task = worlds.molecules() if pooled else worlds.communities()
    config = {
        "inputs": task.shape[-1],
        "outputs": task.outputs,
        "width": draw.pick([16, 24, 32]),
        "depth": draw.whole(2, 3),
        "act": draw.pick(["relu", "relu", "elu", "tanh"]),
        "drop": draw.pick([0.0, 0.0, 0.2]),
        "init": draw.pick(["default", "xavier"]),
        "pooled": pooled,
        "degree": not pooled,
    }
    rates = {"adam": (4e-3, 0.01), "adamw": (4e-3, 0.01), "rmsprop": (2e-3, 5e-3)}
    return finish(draw, "graph", GraphNet, config, task, rates, steps=(150, 220), sizes=(16, 32))


def recommender(draw: Draw) -> Program:
    """Return a rating model with user and item embeddings."""
    task = worlds.ratings()
    config = {
        "width": draw.pick([8, 12, 16]),
        "hidden": draw.pick([24, 32]),
        "depth": draw.whole(1, 2),
        "act": draw.pick(["relu", "relu", "tanh", "silu"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "he"]),
        "std": draw.pick([0.2, 0.3, 0.5]),
        "dot": draw.chance(0.7),
    }
    rates = {
        "adam": (0.01, 0.03),
        "adamw": (0.01, 0.03),
        "rmsprop": (5e-3, 0.01),
        "adagrad": (0.1, 0.2),
    }
    return finish(
        draw, "recommender", RecommenderNet, config, task, rates, steps=(200, 320), sizes=(64, 128)
    )


def siamese(draw: Draw) -> Program:
    """Return an encoder trained to bring two views of the same thing together."""
    task = worlds.pairs()
    contrast = draw.chance(0.65)
    config = {
        "inputs": 24,
        "outputs": draw.pick([8, 16]),
        "width": draw.pick([48, 64]),
        "depth": draw.whole(1, 2),
        "act": draw.pick(["relu", "relu", "gelu", "tanh"]),
        "drop": 0.0,
        "init": draw.pick(["default", "he"]),
        "unit": contrast or draw.chance(0.5),
    }
    loss = (
        criteria.named(criteria.info_nce, temperature=draw.pick([0.1, 0.2]))
        if contrast
        else criteria.named(criteria.triplet, margin=draw.pick([0.5, 1.0]))
    )
    rates = {"momentum": (0.05, 0.1), "adam": (2e-3, 5e-3), "adamw": (2e-3, 5e-3)}
    return finish(
        draw, "siamese", Siamese, config, task, rates, turns=(Turn(criterion=loss),),
        steps=(200, 300), sizes=(64, 128),
    )  # fmt: skip


def gan(draw: Draw) -> Program:
    """Return two networks that play against one another."""
    task = worlds.cloud(draw.pick(["ring", "moons"]))
    config = {
        "noise": draw.pick([2, 4, 8]),
        "width": draw.pick([48, 64]),
        "depth": 2,
        "act": draw.pick(["relu", "leaky", "tanh"]),
        "init": "default",
    }
    smooth = draw.pick([0.0, 0.1])
    turns = (
        Turn(
            criterion=criteria.named(criteria.real_and_fake, smooth=smooth),
            part="discriminator",
            forward=criteria.judge_forward,
        ),
        Turn(criterion=criteria.fooled, part="generator", forward=criteria.fool_forward),
    )
    program = finish(
        draw, "gan", Game, config, task, {"adam": (2e-3, 4e-3)}, turns=turns, steps=(250, 350),
        sizes=(64, 128), predict=criteria.game_samples, precision="float32", notes=frozenset({"game"}),
    )  # fmt: skip
    return program.but(
        options={"betas": draw.pick([(0.0, 0.9), (0.0, 0.95)])},
        schedule=None,
        schedule_name="none",
        clip=None,
        tidy="start",
    )


class Adapted(Mlp):
    """A classifier that learned half of a task before, with a frozen part or low-rank adapters."""

    def __init__(self, mode: str, rank: int = 4, **config: object) -> None:
        super().__init__(**config)  # type: ignore[arg-type]
        # The checkpoint is the same whatever dropout fine-tuning uses; only the place of layers counts.
        known = {**config, "drop": 0.1 if config.get("drop") else 0.0}
        self.load_state_dict(checkpoint(tuple(sorted(known.items()))))
        hidden = list(self.sites.hidden)
        if mode == "head":
            self.requires_grad_(requires_grad=False)
            getattr(self, self.head_name).requires_grad_(requires_grad=True).reset_parameters()
        elif mode == "partial":
            for name in hidden[:-1]:
                self.get_submodule(name).requires_grad_(requires_grad=False)
            getattr(self, self.head_name).reset_parameters()
        elif mode == "lora":
            self._adapt(hidden, rank)
        else:
            getattr(self, self.head_name).reset_parameters()

    def _adapt(self, hidden: list[str], rank: int) -> None:
        for name in hidden:
            parent, _, leaf = name.rpartition(".")
            owner = self.get_submodule(parent)
            layer = LowRank(self.get_submodule(name), rank, 2.0 * rank)  # type: ignore[arg-type]
            setattr(owner, leaf, layer)
        getattr(self, self.head_name).reset_parameters()
        self.sites.body = hidden


@lru_cache(maxsize=64)
def checkpoint(config: tuple[tuple[str, Any], ...]) -> dict[str, torch.Tensor]:
    """Return weights that learned other names for the same digits, as a downloaded checkpoint would have."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(7)
        model = Mlp(**dict(config))
        (x,), y = tables.class_table("digits").train
        x, y = x[:600], (y[:600] * 3 + 1) % 10
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(60):
            rows = torch.arange(step * 40, step * 40 + 64) % 600
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


def finetune(draw: Draw) -> Program:
    """Return fine-tuning from weights that know a related task."""
    task = tables.class_table("digits")
    config = {
        "mode": draw.pick(["head", "partial", "lora", "lora", "full"]),
        "rank": draw.pick([2, 4, 8]),
        "inputs": 64,
        "outputs": 10,
        "width": draw.pick([48, 64]),
        "depth": draw.whole(2, 3),
        "act": draw.pick(["relu", "gelu", "tanh"]),
        "style": "attributes" if draw.chance(0.5) else "dict",
        "drop": draw.pick([0.0, 0.1]),
        "init": "default",
        "head": draw.pick(["head", "classifier"]),
    }
    if config["mode"] == "lora":
        config["style"] = "sequential"
    full = config["mode"] == "full"
    rates = {
        "momentum": (0.01, 0.04),
        "adam": (5e-4, 2e-3) if full else (2e-3, 6e-3),
        "adamw": (5e-4, 2e-3) if full else (2e-3, 6e-3),
    }
    return finish(draw, "finetune", Adapted, config, task, rates, steps=(100, 180))


def physics(draw: Draw) -> Program:
    """Return a network that must obey an equation (its loss holds second derivatives), or a sine network."""
    name = draw.pick(["oscillator", "poisson", "picture"])
    task = worlds.field(name)
    if name == "picture":
        config = {
            "width": draw.pick([32, 48]),
            "depth": draw.whole(2, 3),
            "omega": draw.pick([4.0, 6.0]),
        }
        return finish(
            draw, "physics", SineNet, config, task, {"adam": (1e-3, 3e-3), "adamw": (1e-3, 3e-3)},
            steps=(200, 300), sizes=(64, 128), precision="float32",
        )  # fmt: skip
    config = {
        "width": draw.pick([20, 24, 32]),
        "depth": draw.whole(2, 3),
        "act": draw.pick(["tanh", "tanh", "silu", "gelu"]),
        "init": draw.pick(["xavier", "default"]),
    }
    scale = 1 / 16 if name == "oscillator" else 0.2
    turns = (
        Turn(
            criterion=criteria.named(criteria.physics, weight=draw.pick([1.0, 2.0, 5.0])),
            forward=criteria.named(criteria.law_forward, name=name, scale=scale),
        ),
    )
    return finish(
        draw, "physics", FieldNet, config, task, {"adam": (5e-3, 0.012), "adamw": (5e-3, 0.012)},
        turns=turns, steps=(250, 350), sizes=(32, 64), precision="float32",
        notes=frozenset({"derivatives"}),
    )  # fmt: skip


def bag_text(draw: Draw) -> Program:
    """Return a classifier of passages from a bag of words."""
    task = texts.subjects()
    config = {
        "words": 400,
        "outputs": task.outputs,
        "width": draw.pick([16, 24, 32]),
        "hidden": draw.pick([24, 32]),
        "act": draw.pick(["relu", "relu", "tanh", "gelu"]),
        "drop": draw.pick([0.0, 0.0, 0.2]),
        "init": draw.pick(["default", "he"]),
        "mode": draw.pick(["mean", "mean", "sum"]),
    }
    rates = {
        "adam": (5e-3, 0.015),
        "adamw": (5e-3, 0.015),
        "rmsprop": (2e-3, 6e-3),
        "adagrad": (0.05, 0.1),
    }
    return finish(draw, "bag_text", BagClassifier, config, task, rates, steps=(130, 220))


def diffusion(draw: Draw) -> Program:
    """Return a denoiser of points."""
    task = worlds.cloud(draw.pick(["ring", "moons"]))
    config = {
        "width": draw.pick([48, 64]),
        "depth": draw.whole(2, 3),
        "act": draw.pick(["silu", "silu", "relu", "gelu"]),
        "init": draw.pick(["default", "xavier"]),
        "norm": draw.chance(0.3),
    }
    turns = (Turn(criterion=criteria.noise_error, forward=criteria.diffusion_forward),)
    rates = {"adam": (2e-3, 6e-3), "adamw": (2e-3, 6e-3)}
    return finish(
        draw, "diffusion", Denoiser, config, task, rates, turns=turns, steps=(200, 300),
        sizes=(64, 128), predict=criteria.diffusion_samples,
    )  # fmt: skip


FAMILIES = {
    "graph": graph,
    "recommender": recommender,
    "siamese": siamese,
    "gan": gan,
    "finetune": finetune,
    "physics": physics,
    "bag_text": bag_text,
    "diffusion": diffusion,
}
