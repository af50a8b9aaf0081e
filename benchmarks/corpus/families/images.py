"""Families of convolutional networks."""

from __future__ import annotations

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families.common import finish
from benchmarks.corpus.models.conv import ConvNet, Dilated, ResNet, UNet
from benchmarks.corpus.program import Program
from benchmarks.corpus.tasks import images, sequences

__all__ = ["FAMILIES"]


def cnn_plain(draw: Draw) -> Program:
    """Return a convolutional classifier without normalization."""
    task = images.image_classes(draw.pick(["digits", "digits", "shapes", "stripes"]))
    depth = draw.whole(2, 3)
    config = {
        "outputs": task.outputs,
        "side": task.shape[-1],
        "width": draw.pick([6, 8, 12]),
        "depth": depth,
        "act": draw.pick(["relu", "relu", "relu", "leaky", "gelu", "tanh"]),
        "drop": draw.pick([0.0, 0.0, 0.2]),
        "init": draw.pick(["default", "he"]),
        "style": draw.pick(["features", "named"]),
        "pool": draw.pick(["max", "max", "avg"]),
    }
    rates = {
        "sgd": (0.08, 0.15),
        "momentum": (0.015, 0.04),
        "nesterov": (0.015, 0.04),
        "adam": (2e-3, 5e-3),
        "adamw": (2e-3, 5e-3),
        "rmsprop": (7e-4, 2e-3),
        "adagrad": (0.015, 0.03),
    }
    return finish(draw, "cnn_plain", ConvNet, config, task, rates, steps=(110, 180), sizes=(16, 32))


def cnn_norm(draw: Draw) -> Program:
    """Return a convolutional classifier with batch (sometimes group) normalization."""
    task = images.image_classes(draw.pick(["digits", "shapes", "stripes"]))
    config = {
        "outputs": task.outputs,
        "side": task.shape[-1],
        "width": draw.pick([6, 8, 12]),
        "depth": draw.whole(2, 3),
        "act": draw.pick(["relu", "relu", "silu", "leaky"]),
        "norm": draw.pick(["batch", "batch", "batch", "group"]),
        "drop": draw.pick([0.0, 0.0, 0.2]),
        "init": draw.pick(["default", "he"]),
        "style": draw.pick(["features", "named"]),
        "pool": draw.pick(["max", "avg"]),
    }
    rates = {
        "sgd": (0.05, 0.2),
        "momentum": (0.02, 0.06),
        "nesterov": (0.02, 0.06),
        "adam": (1.5e-3, 6e-3),
        "adamw": (1.5e-3, 6e-3),
        "rmsprop": (7e-4, 2e-3),
    }
    return finish(draw, "cnn_norm", ConvNet, config, task, rates, steps=(90, 150), sizes=(16, 32))


def resnet(draw: Draw) -> Program:
    """Return a residual classifier with batch or group normalization."""
    task = images.image_classes(draw.pick(["digits", "shapes", "stripes"]))
    config = {
        "outputs": task.outputs,
        "width": draw.pick([6, 8]) if task.shape[-1] > 8 else draw.pick([8, 12]),
        "depth": draw.whole(1, 2),
        "act": draw.pick(["relu", "relu", "silu"]),
        "norm_kind": draw.pick(["batch", "group"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "he"]),
    }
    if config["norm_kind"] == "group":
        config["width"] = 8
    rates = {
        "sgd": (0.06, 0.2),
        "momentum": (0.02, 0.06),
        "adam": (3e-3, 8e-3),
        "adamw": (3e-3, 8e-3),
    }
    return finish(draw, "resnet", ResNet, config, task, rates, steps=(90, 140), sizes=(16, 24, 32))


def unet(draw: Draw) -> Program:
    """Return a segmentation of small scenes."""
    task = images.segmentation(draw.pick([2, 3, 4]))
    config = {
        "outputs": task.outputs,
        "width": draw.pick([4, 6, 8]),
        "act": draw.pick(["relu", "relu", "leaky", "silu"]),
        "norm_kind": draw.pick(["batch", "none", "group"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "he"]),
        "up": draw.pick(["nearest", "bilinear"]),
    }
    if config["norm_kind"] == "group":
        config["width"] = 8
    rates = {"momentum": (0.05, 0.1), "adam": (4e-3, 1e-2), "adamw": (4e-3, 1e-2)}
    return finish(draw, "unet", UNet, config, task, rates, steps=(80, 120), sizes=(8, 12, 16))


def forecaster(draw: Draw) -> Program:
    """Return a temporal convolutional forecaster."""
    task = sequences.forecast(draw.pick(["seasons", "oscillator"]))
    config = {
        "outputs": task.outputs,
        "width": draw.pick([10, 16]),
        "depth": draw.whole(3, 4),
        "act": draw.pick(["relu", "relu", "gelu", "tanh"]),
        "norm_kind": draw.pick(["none", "none", "batch"]),
        "drop": draw.pick([0.0, 0.0, 0.1]),
        "init": draw.pick(["default", "xavier"]),
    }
    rates = {
        "sgd": (0.03, 0.06),
        "momentum": (4e-3, 0.01),
        "adam": (2e-3, 6e-3),
        "adamw": (2e-3, 6e-3),
        "rmsprop": (1e-3, 2e-3),
    }
    return finish(
        draw, "forecaster", Dilated, config, task, rates, steps=(110, 180), sizes=(16, 32)
    )


FAMILIES = {
    "cnn_plain": cnn_plain,
    "cnn_norm": cnn_norm,
    "resnet": resnet,
    "unet": unet,
    "forecaster": forecaster,
}
