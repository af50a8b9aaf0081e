"""From a tool's words to our mechanisms: generously, and as data.

An alarm is given every mechanism that its text, its explanation or its advice could be read to name. A run
counts as hit when any of them is an accepted answer. An alarm that is not in the table names nothing, and
counts as an alarm all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TABLE", "Reading", "read"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How one alarm of one tool is read.

    Attributes
    ----------
    tool, kind
        Whose alarm; ``kind`` is the start of its name.
    mechanisms
        All slugs for which it gets credit.
    why
        What in the tool's text gives the credit.
    """

    tool: str
    kind: str
    mechanisms: tuple[str, ...]
    why: str


RATE_HIGH = ("learning_rate_too_high", "learning_rate_schedule_bug", "excessive_momentum")
NONFINITE = (
    "numerical_singularity",
    "nonfinite_data",
    "half_precision_overflow",
    "half_precision_underflow",
    "learning_rate_too_high",
    "depth_amplification",
)
SMALL_STEPS = (
    "learning_rate_too_low",
    "learning_rate_schedule_bug",
    "excessive_gradient_clipping",
    "low_precision_update_absorption",
    "parameters_not_updated",
)
EXPLODED = (
    "depth_amplification",
    "initialization_too_large",
    *RATE_HIGH,
    "unnormalized_inputs",
    "unnormalized_targets",
)
VANISHED = (
    "depth_attenuation",
    "initialization_too_small",
    "saturated_activations",
    "symmetric_initialization",
)
PLATEAU = ("learning_rate_too_low", "label_noise", "unknown_cause", "learning_rate_schedule_bug")

TORCHMORTEM = (
    Reading("torchmortem", "Vanishing gradients", (*VANISHED, "dead_units", "half_precision_underflow"), "names the symptom; advises initialization, normalization, activation"),
    Reading("torchmortem", "Exploding gradients", EXPLODED, "advises clipping, lower rate, initialization"),
    Reading("torchmortem", "Gradient stalling", ("parameters_not_updated", *VANISHED, "dead_units"), "a layer whose gradient is near zero"),
    Reading("torchmortem", "Update ratio too low", SMALL_STEPS, "advises a higher rate for the layer"),
    Reading("torchmortem", "Update ratio too high", (*RATE_HIGH, "gradients_not_cleared"), "advises a lower rate"),
    Reading("torchmortem", "Activation saturation", ("saturated_activations", "initialization_too_large", "unnormalized_inputs"), "names the state; advises input scale and initialization"),
    Reading("torchmortem", "Dead units", ("dead_units", "learning_rate_too_high", "initialization_too_small"), "names the state; advises a lower rate"),
    Reading("torchmortem", "High gradient noise", ("label_noise", "excessive_dropout", "degenerate_normalization"), "noise of the gradient; advises larger batches"),
    Reading("torchmortem", "Training divergence", (*NONFINITE, *RATE_HIGH, "gradients_not_cleared"), "advises a lower rate, clipping, a check for NaN"),
    Reading("torchmortem", "Loss plateau", PLATEAU, "advises a higher rate or a schedule"),
    Reading("torchmortem", "Rank collapse", ("symmetric_initialization", "depth_attenuation", "attention_entropy_collapse", "dead_units"), "representations became alike"),
    Reading("torchmortem", "Weight norm explosion", (*RATE_HIGH, "gradients_not_cleared", "initialization_too_large"), "advises decay and a lower rate"),
    Reading("torchmortem", "Stagnant weight norms", SMALL_STEPS, "weights hardly change"),
    Reading("torchmortem", "Inter-layer weight norm imbalance", ("initialization_too_large", "initialization_too_small"), "norms of layers differ"),
    Reading("torchmortem", "Gradient starvation", ("dead_units", "depth_attenuation"), "insight: vanishing gradients with dead units"),
    Reading("torchmortem", "Instability feedback loop", EXPLODED, "insight: gradients and weights explode"),
    Reading("torchmortem", "Representation bottleneck", ("symmetric_initialization", "depth_attenuation"), "insight: rank collapse with a plateau"),
    Reading("torchmortem", "Training trapped", ("learning_rate_too_high", "learning_rate_too_low"), "insight: curvature with a plateau"),
)  # fmt: skip

DOCTOR = (
    Reading("training-doctor", "Learning rate likely too high", (*RATE_HIGH, *NONFINITE, "gradients_not_cleared"), "its evidence includes NaN and explosions"),
    Reading("training-doctor", "Learning rate may be too low", SMALL_STEPS, "the loss hardly changed; advises a check of the data pipeline"),
    Reading("training-doctor", "Training plateau", PLATEAU, "advises rate, capacity, data quality"),
    Reading("training-doctor", "Early training plateau", PLATEAU, "advises rate, batches, accumulation"),
    Reading("training-doctor", "Gradient instability", (*EXPLODED, "corrupted_batch", "stale_second_moment", "gradients_not_cleared", "degenerate_normalization"), "gradient norm explodes or spikes"),
    Reading("training-doctor", "Possible mixed precision", ("half_precision_overflow", "half_precision_underflow"), "names precision"),
    Reading("training-doctor", "Unusual train/eval", ("degenerate_normalization", "excessive_dropout"), "train and evaluation differ"),
)  # fmt: skip

PYTSCOPE = (
    Reading("pytscope", "CONVERGENCE.DIVERGED", NONFINITE, "lower rate, clipping, bad inputs, log(0), loss scaling"),
    Reading("pytscope", "CONVERGENCE.NO_PROGRESS: Loss is increasing", (*RATE_HIGH, "gradients_not_cleared"), "says rate or unstable optimizer"),
    Reading("pytscope", "CONVERGENCE.NO_PROGRESS: Loss has plateaued", PLATEAU, "advises rate, capacity, data"),
    Reading("pytscope", "CROSS.CORRELATED_INSTABILITY", (*RATE_HIGH, "corrupted_batch", "excessive_gradient_clipping", "nonfinite_data"), "advises schedule, clipping, the batch"),
)  # fmt: skip

TRAINTOOLS = (
    Reading("traintools", "has non-finite gradients", NONFINITE, "gradient NaN or infinite"),
    Reading("traintools", "gradient appears vanished", (*VANISHED, "dead_units", "parameters_not_updated", "half_precision_underflow"), "gradient norm below 1e-12"),
    Reading("traintools", "gradient is very large", (*EXPLODED, "loss_output_mismatch"), "gradient norm above 1e3"),
    Reading("traintools", "update/weight ratio is high", (*RATE_HIGH, "gradients_not_cleared"), "rate times gradient over weight above 0.1"),
    Reading("traintools", "global update/weight ratio is tiny", SMALL_STEPS, "below 1e-8"),
    Reading("traintools", "no gradients found", ("parameters_not_updated",), "no parameter has a gradient"),
    Reading("traintools", "input has non-finite values", ("nonfinite_data",), "names the batch"),
    Reading("traintools", "input abs max", ("unnormalized_inputs", "corrupted_batch"), "names the scale of the batch"),
    Reading("traintools", "input is nearly constant", ("numerical_singularity", "corrupted_batch"), "a batch without variation"),
)  # fmt: skip

NAMESAKE = (
    Reading("namesake", "gradient_vanishing", (*VANISHED, "dead_units", "parameters_not_updated"), "names the symptom"),
    Reading("namesake", "gradient_saturated", (*VANISHED, "dead_units", "learning_rate_too_low"), "gradient below 1e-4"),
    Reading("namesake", "gradient_exploding", EXPLODED, "names the symptom"),
    Reading("namesake", "activation_saturated", ("saturated_activations", "initialization_too_large"), "names the state"),
    Reading("namesake", "activation_dead", ("dead_units", "learning_rate_too_high"), "names the state"),
    Reading("namesake", "activation_anomalous", NONFINITE, "NaN or infinite activations"),
    Reading("namesake", "optimizer_loss_plateau", PLATEAU, "names the symptom"),
    Reading("namesake", "optimizer_loss_spike", (*RATE_HIGH, "corrupted_batch", "stale_second_moment"), "names the symptom"),
    Reading("namesake", "optimizer_diverging", (*RATE_HIGH, "gradients_not_cleared"), "names the symptom"),
    Reading("namesake", "data_nan_detected", ("nonfinite_data",), "names the data"),
    Reading("namesake", "data_inf_detected", ("nonfinite_data", "half_precision_overflow"), "names the data"),
    Reading("namesake", "data_distribution_shift", ("corrupted_batch", "unnormalized_inputs"), "names the data"),
)  # fmt: skip

TABLE: tuple[Reading, ...] = (*TORCHMORTEM, *DOCTOR, *PYTSCOPE, *TRAINTOOLS, *NAMESAKE)


def read(tool: str, kind: str) -> frozenset[str]:
    """Return the mechanisms for which an alarm gets credit; a slug of ours (the rules') stands for itself."""
    for reading in TABLE:
        if reading.tool == tool and kind.startswith(reading.kind):
            return frozenset(reading.mechanisms)
    return frozenset({kind}) if tool == "rules" else frozenset()
