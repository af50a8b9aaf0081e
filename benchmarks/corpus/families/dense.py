"""Families of fully connected networks."""

from __future__ import annotations

from benchmarks.corpus import criteria
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families.common import finish
from benchmarks.corpus.models.dense import AutoEncoder, DeepResidual, Mixer, Mlp, Vae
from benchmarks.corpus.program import Program, Turn
from benchmarks.corpus.tasks import images, tables

__all__ = ["FAMILIES"]

STYLES = ("attributes", "sequential", "dict", "blocks")


def mlp_relu(draw: Draw) -> Program:
    """Return a ReLU classifier of rows."""
    binary = draw.chance(0.25)
    name = draw.pick(
        ["rings", "breast_cancer"] if binary else ["digits", "teacher", "blobs", "digits"]
    )
    task = tables.binary_table(name) if binary else tables.class_table(name)
    depth = draw.whole(2, 4)
    config = {
        "inputs": task.shape[0],
        "outputs": task.outputs,
        "width": draw.pick([32, 48, 64, 96]),
        "depth": depth,
        "act": draw.pick(["relu", "relu", "relu", "leaky"]),
        "style": draw.pick(STYLES),
        "drop": draw.pick([0.0, 0.0, 0.1, 0.2]),
        "init": "he" if depth >= 4 else draw.pick(["default", "he", "he-uniform", "xavier"]),
        "head": draw.pick(["head", "fc_out", "classifier", "out"]),
    }
    rates = {
        "sgd": (0.08, 0.25),
        "momentum": (0.015, 0.05),
        "nesterov": (0.015, 0.05),
        "adam": (1e-3, 5e-3),
        "adamw": (1e-3, 5e-3),
        "rmsprop": (5e-4, 2e-3),
        "adagrad": (0.01, 0.04),
    }
    return finish(draw, "mlp_relu", Mlp, config, task, rates, steps=(120, 260))


def mlp_smooth(draw: Draw) -> Program:
    """Return a classifier with a smooth nonlinearity; sigmoids only where they are shallow."""
    task = tables.class_table(draw.pick(["digits", "teacher", "spirals", "wine", "blobs"]))
    act = draw.pick(["tanh", "tanh", "tanh", "gelu", "silu", "elu", "sigmoid", "sigmoid"])
    depth = 1 if act == "sigmoid" else draw.whole(2, 3)
    config = {
        "inputs": task.shape[0],
        "outputs": task.outputs,
        "width": draw.pick([24, 32, 48, 64]),
        "depth": depth,
        "act": act,
        "style": draw.pick(STYLES),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["xavier", "orthogonal", "default"]),
        "head": draw.pick(["head", "logits", "fc_out"]),
    }
    wide = 3.0 if act == "sigmoid" or task.name == "spirals" else 1.0
    rates = {
        "sgd": (0.1 * wide, 0.3 * wide),
        "momentum": (0.03 * wide, 0.08 * wide),
        "adam": (2e-3 * wide, 6e-3 * wide),
        "adamw": (2e-3 * wide, 6e-3 * wide),
        "rmsprop": (1e-3, 4e-3),
        "adagrad": (0.03, 0.08),
    }
    steps = (250, 400) if task.name == "spirals" else (150, 280)
    return finish(draw, "mlp_smooth", Mlp, config, task, rates, steps=steps)


def tabular(draw: Draw) -> Program:
    """Return a regression of rows with targets of order one."""
    task = tables.number_table(draw.pick(["diabetes", "housing", "friedman", "friedman", "waves"]))
    config = {
        "inputs": task.shape[0],
        "outputs": 1,
        "width": draw.pick([24, 32, 64]),
        "depth": draw.whole(2, 3),
        "act": draw.pick(["relu", "relu", "tanh", "silu", "leaky"]),
        "style": draw.pick(STYLES),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "he", "xavier"]),
        "head": draw.pick(["head", "regressor", "out"]),
    }
    rates = {
        "sgd": (0.06, 0.15),
        "momentum": (7e-3, 0.025),
        "adam": (2e-3, 8e-3),
        "adamw": (2e-3, 8e-3),
        "rmsprop": (1e-3, 3e-3),
        "adagrad": (0.02, 0.05),
    }
    return finish(draw, "tabular", Mlp, config, task, rates, steps=(150, 280))


def deep_residual(draw: Draw) -> Program:
    """Return a deep residual network without normalization, its branches scaled down."""
    number = draw.chance(0.4)
    task = (
        tables.number_table(draw.pick(["friedman", "housing"]))
        if number
        else tables.class_table(draw.pick(["digits", "teacher"]))
    )
    depth = draw.whole(8, 14)
    config = {
        "inputs": task.shape[0],
        "outputs": task.outputs,
        "width": draw.pick([24, 32, 40]),
        "depth": depth,
        "act": draw.pick(["relu", "relu", "gelu", "tanh"]),
        "scale": round(1.0 / depth, 3),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["he", "xavier"]),
    }
    rates = {
        "sgd": (0.01, 0.03),
        "momentum": (2e-3, 6e-3),
        "adam": (1e-3, 3e-3),
        "adamw": (1e-3, 3e-3),
    }
    return finish(draw, "deep_residual", DeepResidual, config, task, rates, steps=(100, 180))


def autoencoder(draw: Draw) -> Program:
    """Return an autoencoder of digits or curves."""
    task = images.reconstruction(draw.pick(["digits", "curves"]))
    config = {
        "inputs": task.shape[0],
        "code": draw.pick([6, 8, 12]),
        "width": draw.pick([32, 48, 64]),
        "depth": draw.whole(1, 2),
        "act": draw.pick(["tanh", "relu", "gelu", "elu"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "xavier"]),
    }
    rates = {
        "momentum": (0.08, 0.2),
        "adam": (3e-3, 8e-3),
        "adamw": (3e-3, 8e-3),
        "rmsprop": (1e-3, 3e-3),
        "adagrad": (0.03, 0.06),
    }
    return finish(draw, "autoencoder", AutoEncoder, config, task, rates, steps=(180, 300))


def vae(draw: Draw) -> Program:
    """Return a variational autoencoder."""
    task = images.reconstruction(draw.pick(["digits", "curves"]))
    config = {
        "inputs": task.shape[0],
        "code": draw.pick([4, 6]),
        "width": draw.pick([48, 64]),
        "depth": draw.whole(1, 2),
        "act": draw.pick(["relu", "tanh", "silu"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "xavier"]),
    }
    beta = draw.pick([0.5, 1.0, 1.0])
    turns = (Turn(criterion=criteria.named(criteria.elbo, beta=beta)),)
    rates = {"adam": (3e-3, 8e-3), "adamw": (3e-3, 8e-3), "rmsprop": (1.5e-3, 3e-3)}
    return finish(
        draw, "vae", Vae, config, task, rates, turns=turns, steps=(180, 280),
        predict=lambda model, inputs: model(*inputs)[0],
    )  # fmt: skip


def mixer(draw: Draw) -> Program:
    """Return an MLP-mixer."""
    task = images.image_classes(draw.pick(["digits", "shapes", "stripes"]))
    side = task.shape[-1]
    config = {
        "side": side,
        "outputs": task.outputs,
        "patch": 2 if side == 8 else 3,
        "width": draw.pick([16, 24, 32]),
        "depth": draw.whole(1, 3),
        "act": draw.pick(["gelu", "gelu", "relu", "silu"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "xavier"]),
    }
    rates = {"momentum": (0.05, 0.12), "adam": (2e-3, 6e-3), "adamw": (2e-3, 6e-3)}
    return finish(draw, "mixer", Mixer, config, task, rates, steps=(100, 180))


FAMILIES = {
    "mlp_relu": mlp_relu,
    "mlp_smooth": mlp_smooth,
    "tabular": tabular,
    "deep_residual": deep_residual,
    "autoencoder": autoencoder,
    "vae": vae,
    "mixer": mixer,
}
