"""Demo cases with a named fault, each with its healthy twin (``fixed=True``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos import harms
from neuraldbg.demos.case import Case, Truth
from neuraldbg.demos.loop import Recipe, as_case
from neuraldbg.demos.models import (
    AutoEncoder,
    ConvNet,
    Decoder,
    Mlp,
    Recommender,
    ResNet,
    SequenceNet,
    plain_mlp,
)

__all__ = ["FAULTS"]

Optimizer = Callable[[nn.Module, bool], torch.optim.Optimizer]


def _adam(rate: float, wrong: float | None = None) -> Optimizer:
    return lambda m, fixed: torch.optim.Adam(
        m.parameters(), lr=rate if fixed or wrong is None else wrong
    )


def _sgd(rate: float, wrong: float | None = None, momentum: float = 0.0) -> Optimizer:
    return lambda m, fixed: torch.optim.SGD(
        m.parameters(), lr=rate if fixed or wrong is None else wrong, momentum=momentum
    )


MLP = Recipe(model=lambda _: Mlp(), data="digits", optimizer=_adam(1e-3))
TANH = Recipe(model=lambda _: plain_mlp(nn.Tanh, 4), data="digits", optimizer=_sgd(0.1))
CNN = Recipe(model=lambda _: ConvNet(), data="digits", optimizer=_adam(2e-3), steps=120)
RES = Recipe(model=lambda _: ResNet(), data="digits", optimizer=_adam(2e-3), steps=120)
LSTM = Recipe(model=lambda _: SequenceNet("lstm"), data="digits", optimizer=_adam(5e-3), steps=150)
CELL = Recipe(model=lambda _: SequenceNet("cell"), data="digits", optimizer=_adam(2e-3), steps=200)


def _text_loss(o: Tensor, y: Tensor, _fixed: bool) -> Tensor:
    return F.cross_entropy(o.flatten(0, 1), y.flatten())


TEXT = Recipe(
    model=lambda _: Decoder(),
    data="characters",
    optimizer=lambda m, _: torch.optim.AdamW(m.parameters(), lr=3e-3, weight_decay=0.01),
    loss=_text_loss,
    steps=150,
    size=16,
)


def _mse(o: Tensor, y: Tensor, _fixed: bool) -> Tensor:
    return F.mse_loss(o, y)


AUTO = Recipe(model=lambda _: AutoEncoder(), data="autoencode", optimizer=_adam(3e-3), loss=_mse)
RATE = Recipe(
    model=lambda _: Recommender(),
    data="ratings",
    optimizer=_adam(1e-2),
    loss=_mse,
    steps=250,
)
TABLE = Recipe(
    model=lambda _: plain_mlp(nn.ReLU, 2, 32, 10, 1),
    data="diabetes",
    optimizer=_adam(3e-3),
    loss=_mse,
    steps=200,
)


def _case(
    slug: str,
    family: str,
    title: str,
    recipe: Recipe,
    mechanisms: list[str],
    *,
    layers: list[str] | None = None,
    onset: int | tuple[int, int] | None = 0,
    symptom: str = "loss_plateau",
) -> Case:
    truth = Truth(mechanisms=mechanisms, layers=layers, onset=onset, symptom=symptom)
    return as_case(slug, family, title, recipe, truth)


FAULTS: tuple[Case, ...] = (
    _case(
        "mlp-learning-rate-too-high",
        "mlp",
        "Adam at 0.3 on a small classifier",
        replace(MLP, optimizer=_adam(1e-3, 0.3)),
        ["learning_rate_too_high"],
        symptom="optimizer_instability",
    ),
    _case(
        "mlp-dead-units",
        "mlp",
        "a hidden layer whose bias starts far below zero",
        replace(MLP, model=harms.broken(Mlp, harms.dead_bias), optimizer=_sgd(0.1)),
        ["dead_units"],
        layers=["encoder.fc2"],
        symptom="dead_units",
    ),
    _case(
        "tanh-saturated-activations",
        "tanh-mlp",
        "one tanh layer with weights fifty times too large",
        replace(TANH, model=harms.broken(lambda: plain_mlp(nn.Tanh, 4), harms.scaled("4", 50.0))),
        ["saturated_activations", "initialization_too_large"],
        layers=["4", "5"],
        symptom="saturated_activations",
    ),
    _case(
        "sigmoid-depth-attenuation",
        "sigmoid-mlp",
        "twelve sigmoid layers under SGD",
        replace(
            TANH,
            model=lambda fixed: plain_mlp(nn.Tanh if fixed else nn.Sigmoid, 12 if not fixed else 4),
        ),
        ["depth_attenuation"],
        symptom="vanishing_gradients",
    ),
    _case(
        "autoencoder-initialization-too-small",
        "autoencoder",
        "all weights a hundred times too small",
        replace(
            AUTO,
            model=harms.broken(AutoEncoder, harms.scaled_all(0.01)),
            optimizer=_sgd(0.5),
        ),
        ["initialization_too_small", "depth_attenuation"],
        symptom="loss_plateau",
    ),
    _case(
        "resnet-learning-rate-jump",
        "resnet",
        "the scheduler multiplies the learning rate by 300 at step 60",
        replace(RES, schedule=harms.jump_at(60, 300.0)),
        ["learning_rate_schedule_bug", "learning_rate_too_high"],
        onset=60,
        symptom="loss_divergence",
    ),
    _case(
        "cnn-schedule-decays-too-fast",
        "cnn",
        "an epoch schedule that is stepped once per batch",
        replace(CNN, optimizer=_sgd(0.02), schedule=harms.fast_decay, steps=200),
        ["learning_rate_schedule_bug", "learning_rate_too_low"],
        onset=(0, 60),
    ),
    _case(
        "cnn-nonfinite-data",
        "cnn",
        "one NaN in one image at step 70",
        replace(CNN, batch=harms.nan_sample),
        ["nonfinite_data"],
        onset=70,
        symptom="nonfinite_values",
    ),
    _case(
        "resnet-unnormalized-inputs",
        "resnet",
        "pixels from 0 to 255 fed as they are",
        # In fewer steps the loss of the healthy twin hardly falls.
        replace(RES, optimizer=_sgd(0.05), batch=harms.raw_inputs, steps=240),
        ["unnormalized_inputs"],
        symptom="data_anomaly",
    ),
    _case(
        "lstm-corrupted-batch",
        "lstm",
        "three batches of wrong scale from step 100",
        replace(LSTM, batch=harms.scaled_batches),
        ["corrupted_batch"],
        onset=100,
        symptom="loss_spike",
    ),
    _case(
        "lstm-shuffled-labels",
        "lstm",
        "labels shifted against their inputs",
        replace(LSTM, batch=harms.shuffled_labels),
        ["label_noise"],
    ),
    _case(
        "rnn-gradients-not-cleared",
        "rnn",
        "a loop without zero_grad",
        replace(CELL, clears=lambda fixed: fixed),
        ["gradients_not_cleared"],
        onset=(0, 2),
    ),
    _case(
        "lstm-excessive-gradient-clipping",
        "lstm",
        "gradients clipped to a norm of 1e-4 under SGD",
        replace(LSTM, optimizer=_sgd(0.5, momentum=0.9), before_step=harms.clip(1e-4)),
        ["excessive_gradient_clipping"],
    ),
    _case(
        "transformer-learning-rate-too-low",
        "transformer",
        "AdamW at 1e-7 on a character model",
        replace(
            TEXT,
            optimizer=lambda m, fixed: torch.optim.AdamW(
                m.parameters(), lr=3e-3 if fixed else 1e-7
            ),
        ),
        ["learning_rate_too_low"],
    ),
    _case(
        "transformer-attention-collapse",
        "transformer",
        "queries and keys of the first layer start forty times too large",
        replace(TEXT, model=harms.broken(Decoder, harms.sharp_attention)),
        ["attention_entropy_collapse", "initialization_too_large"],
        layers=["layers.0.attn.q", "layers.0.attn.k", "layers.0.attn"],
    ),
    _case(
        "mlp-softmax-twice",
        "mlp",
        "probabilities given to cross_entropy",
        replace(MLP, loss=harms.softmax_twice),
        ["loss_output_mismatch"],
    ),
    _case(
        "regression-broadcast-loss",
        "regression",
        "predictions of shape [B] against targets of shape [B, 1]",
        replace(TABLE, loss=harms.broadcast),
        ["loss_output_mismatch"],
    ),
    _case(
        "regression-unnormalized-targets",
        "regression",
        "targets in the hundreds",
        replace(TABLE, batch=harms.raw_targets),
        ["unnormalized_targets"],
    ),
    _case(
        "recommender-singular-root",
        "recommender",
        "a square root in the loss that meets zero",
        # Absolute errors pull more gently than squares: the twin needs longer to learn.
        replace(RATE, loss=harms.root_loss, steps=900),
        ["numerical_singularity"],
        onset=(0, 40),
        symptom="nonfinite_values",
    ),
    _case(
        "mlp-parameters-not-updated",
        "mlp",
        "an optimizer that owns the head only",
        replace(MLP, optimizer=harms.head_only),
        ["parameters_not_updated"],
        layers=["encoder", "encoder.fc1", "encoder.fc2", "encoder.fc3"],
    ),
    _case(
        "autoencoder-excessive-weight-decay",
        "autoencoder",
        "AdamW with a weight decay of 12",
        replace(AUTO, optimizer=harms.decaying),
        ["excessive_weight_decay"],
        onset=(0, 20),
    ),
    _case(
        "mlp-excessive-dropout",
        "mlp",
        "97 % of a layer dropped",
        replace(MLP, model=harms.dropped),
        ["excessive_dropout"],
        layers=["4"],
    ),
    _case(
        "mlp-low-precision-updates",
        "mlp",
        "bfloat16 weights at a learning rate of 1e-4",
        replace(MLP, optimizer=harms.half_weights, batch=harms.half_inputs, steps=300),
        ["low_precision_update_absorption"],
    ),
    _case(
        "tanh-symmetric-initialization",
        "tanh-mlp",
        "all weights equal",
        replace(TANH, model=harms.broken(lambda: plain_mlp(nn.Tanh, 4), harms.constant)),
        ["symmetric_initialization"],
    ),
    _case(
        "mlp-excessive-momentum",
        "mlp",
        "SGD with momentum 0.998",
        replace(
            MLP,
            optimizer=lambda m, fixed: torch.optim.SGD(
                m.parameters(), lr=0.05, momentum=0.8 if fixed else 0.998
            ),
        ),
        ["excessive_momentum", "learning_rate_too_high"],
        onset=(0, 60),
    ),
)
