"""Signals that fade or grow from layer to layer, or from one time step to the next."""

from __future__ import annotations

from functools import partial

from torch import nn

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program, layer_of
from benchmarks.corpus.tasks.sequences import sequence_classes

__all__ = ["FAULTS"]

STACKS = {
    "mlp_relu",
    "mlp_smooth",
    "tabular",
    "autoencoder",
    "vae",
    "siamese",
    "recommender",
    "graph",
}


def _shallow(program: Program, **changes: object) -> Program:
    return program.configured(**{"depth": 2, "init": "xavier", "drop": 0.0, **changes})


def _deep(program: Program, draw: Draw) -> Injection | None:
    if program.family not in STACKS:
        return None
    act = draw.pick(["sigmoid", "sigmoid", "sigmoid", "tanh"])
    depth = draw.whole(6, 10) if act == "sigmoid" else draw.whole(14, 20)
    init = "xavier" if act == "sigmoid" else "default"
    return Injection(
        broken=program.configured(depth=depth, act=act, init=init, drop=0.0),
        twin=_shallow(program, act="tanh"),
        symptom="vanishing_gradients",
        strength=f"{depth} {act} layers",
    )


def _deep_default(program: Program, draw: Draw) -> Injection | None:
    if program.family not in STACKS | {"cnn_plain"}:
        return None
    depth = draw.whole(8, 11) if program.family == "cnn_plain" else draw.whole(14, 22)
    act = draw.pick(["relu", "relu", "gelu"])
    return Injection(
        broken=program.configured(depth=depth, act=act, init="default", drop=0.0),
        twin=program.configured(depth=2, act=act, init="he", drop=0.0),
        accept=("initialization_too_small",),
        symptom="vanishing_gradients",
        strength=f"{depth} {act} layers at the default initialization",
    )


def _recurrent_scale(model: nn.Module, name: str, factor: float) -> None:
    for key, weight in layer_of(model, name).named_parameters():
        if "weight_hh" in key:
            weight.mul_(factor)


def _long_memory(program: Program, length: int) -> Program:
    """Ask for the first symbol of a longer sequence, which needs a recurrent path that keeps it."""
    task = sequence_classes("recall", length)
    return program.but(task=task).configured(inputs=task.shape[1], outputs=task.outputs)


def _fading_memory(program: Program, draw: Draw) -> Injection | None:
    if program.family != "rnn" or program.config.get("pool") == "mean":
        return None
    longer = _long_memory(program, draw.pick([10, 12, 14]))
    factor = draw.log(0.02, 0.3)
    return Injection(
        broken=longer.plus(
            dress=partial(_recurrent_scale, name=longer.sites().recurrent[0], factor=factor)
        ),
        twin=longer,
        accept=("initialization_too_small",),
        symptom="vanishing_gradients",
        strength=f"recurrent weights x {factor:g} over {longer.task.shape[0]} steps",
    )


def _forgets(model: nn.Module, name: str, size: float) -> None:
    layer = layer_of(model, name)
    for key, bias in layer.named_parameters():
        if "bias_ih" in key:
            quarter = bias.shape[0] // 4
            bias[quarter : 2 * quarter] = -size


def _forget_gate(program: Program, draw: Draw) -> Injection | None:
    memory = program.family == "lstm" and program.task.name.startswith(("recall", "order"))
    if not memory or program.config.get("pool") == "mean" or program.config.get("both"):
        return None
    size = draw.uniform(5.0, 9.0)
    return Injection(
        broken=program.plus(dress=partial(_forgets, name="rnn", size=size)),
        symptom="vanishing_gradients",
        strength=f"forget gates closed with a bias of {-size}",
    )


def _state_decays(model: nn.Module, low: float, high: float) -> None:
    for key, decay in model.named_parameters():
        if key.endswith("decay"):
            decay.uniform_(low, high)


def _fading_state(program: Program, draw: Draw) -> Injection | None:
    """Ask a state-space network, read out at its end, for what came first, and let it forget."""
    if program.family != "state_space":
        return None
    longer = _long_memory(program, draw.pick([20, 24])).configured(pool="last")
    high = draw.uniform(0.15, 0.5)
    return Injection(
        broken=longer.plus(dress=partial(_state_decays, low=0.3 * high, high=high)),
        twin=longer,
        accept=("initialization_too_small",),
        layers=tuple(f"blocks.{i}.ssm" for i in range(longer.config["depth"])),
        symptom="vanishing_gradients",
        strength=f"states that keep at most {high:.2g} a step over {longer.task.shape[0]} steps",
    )


def _residual(program: Program, draw: Draw) -> Injection | None:
    if program.family != "deep_residual":
        return None
    depth = draw.whole(18, 28)
    deep = program.configured(depth=depth, init="he", act="relu")
    return Injection(
        broken=deep.configured(scale=1.0),
        twin=deep.configured(scale=round(1 / depth, 3)),
        symptom="exploding_gradients",
        strength=f"{depth} residual branches at full size",
    )


def _plain_residual(program: Program, draw: Draw) -> Injection | None:
    if program.family not in {"mlp_relu", "tabular", "autoencoder", "cnn_plain", "mlp_smooth"}:
        return None
    depth = draw.whole(9, 12) if program.family == "cnn_plain" else draw.whole(16, 26)
    act = draw.pick(["relu", "leaky", "elu"])
    same = program.configured(act=act, init="he", drop=0.0, skip=True)
    return Injection(
        broken=same.configured(depth=depth),
        twin=same.configured(depth=2),
        symptom="exploding_gradients",
        strength=f"{depth} layers with skips and without normalization",
    )


def _growing_memory(program: Program, draw: Draw) -> Injection | None:
    if program.family != "rnn":
        return None
    longer = _long_memory(program, draw.pick([10, 14])) if draw.chance(0.5) else program
    factor = draw.log(2.0, 4.0) if program.config.get("act") == "relu" else draw.log(3.0, 8.0)
    name = longer.sites().recurrent[0]
    return Injection(
        broken=longer.plus(dress=partial(_recurrent_scale, name=name, factor=factor)),
        twin=longer,
        accept=("initialization_too_large",),
        symptom="exploding_gradients",
        strength=f"recurrent weights x {factor:g}",
    )


def _sums_neighbours(program: Program, draw: Draw) -> Injection | None:
    if program.family != "graph" or program.config["pooled"]:
        return None
    depth = draw.whole(5, 8)
    same = program.configured(depth=depth, init="he", act="relu", drop=0.0)
    return Injection(
        broken=same.configured(degree=False),
        twin=same.configured(depth=2),
        symptom="exploding_gradients",
        strength=f"{depth} layers that sum over neighbours",
    )


FAULTS = (
    Fault(mechanism="depth_attenuation", variant="sigmoid", inject=_deep, weight=2),
    Fault(mechanism="depth_attenuation", variant="default", inject=_deep_default),
    Fault(mechanism="depth_attenuation", variant="time", inject=_fading_memory, weight=2),
    Fault(mechanism="depth_attenuation", variant="forget", inject=_forget_gate),
    Fault(mechanism="depth_attenuation", variant="state", inject=_fading_state, weight=2),
    Fault(mechanism="depth_amplification", variant="residual", inject=_residual),
    Fault(mechanism="depth_amplification", variant="skips", inject=_plain_residual),
    Fault(mechanism="depth_amplification", variant="time", inject=_growing_memory),
    Fault(mechanism="depth_amplification", variant="graph", inject=_sums_neighbours),
)
