"""Mechanisms of numerics: singular points, and the range and steps of half precision."""

from __future__ import annotations

from dataclasses import replace

from neuraldbg.catalogue.links import effects, variants
from neuraldbg.records.catalogue import Mechanism

__all__ = ["MECHANISMS"]

_ABSORBED = Mechanism(
    slug="low_precision_update_absorption",
    claim="updates rounded away in half-precision weights",
    story="The update is smaller than half a unit in the last place of the weight and is lost.",
    prior=0.03,
    effects=(),
    layered=True,
    several=True,
    p_whole=0.01,
    requires=("half_parameters",),
    remedy="keep float32 weights of '{layer}' (autocast instead of .to(bfloat16), averages in float32), or take larger steps",
    look_alikes=("learning_rate_too_low",),
    source="Zamirai et al. 2020, Revisiting BFloat16 Training",
)

MECHANISMS = (
    *variants(
        Mechanism(
            slug="numerical_singularity",
            place="the loss",
            claim="an operation at a point where it or its derivative is infinite",
            story="A logarithm, root, division or power meets zero; values before it were ordinary.",
            prior=0.02,
            effects=effects(
                nonfinite_sudden=0.93,
                risky_operation=0.5,
                gradient_nonfinite=0.95,
                loss_slow=0.2,
            ),
            forbids=effects(
                nonfinite_after_growth=0.1, input_nonfinite=0.02, target_nonfinite=0.05
            ),
            layered=True,
            sites=("nonfinite_forward", "nonfinite_gradient"),
            p_whole=0.05,
            spread="backward",
            remedy="guard {operation}: add an epsilon inside the root or logarithm, or clamp its input",
            look_alikes=(
                "nonfinite_data",
                "half_precision_overflow",
                "learning_rate_too_high",
            ),
            source="PyTorch notes on numerical accuracy; Bekman, Machine Learning Engineering",
        ),
        forward=(
            0.5,
            effects(
                {"nonfinite_forward": 0.95},
                singular_operation=0.75,
                loss_nonfinite=0.97,
            ),
        ),
        backward=(0.5, effects({"nonfinite_backward": 0.97}, loss_nonfinite=0.85)),
    ),
    *variants(
        Mechanism(
            slug="half_precision_overflow",
            claim="values beyond the range of half precision",
            story=(
                "Activations or scaled gradients pass 65504 and become infinite; what is divided by them is zero, and "
                "says nothing of it."
            ),
            prior=0.02,
            effects=effects(overflow_in_half=0.4),
            forbids=effects(input_nonfinite=0.02),
            requires=("fp16",),
            layered=True,
            sites=("nonfinite_forward", "nonfinite_gradient"),
            spread="forward",
            remedy="use bfloat16, or keep '{layer}' in float32",
            look_alikes=("numerical_singularity", "nonfinite_data"),
            source="Micikevicius et al. 2018, Mixed Precision Training",
        ),
        seen=(
            1.0,
            effects(
                {"nonfinite_forward": 0.6, "nonfinite_in_half": 0.6},
                nonfinite_backward=0.3,
                step_skipped=0.5,
                loss_nonfinite=0.7,
                gradient_nonfinite=0.8,
                activations_exploded=0.3,
                nonfinite_sudden=0.8,
                singular_operation=0.3,
                loss_initial_high=0.15,
            ),
        ),
        # What divides by an infinite number is zero: the loss is finite, and no longer about its inputs. As often as not it
        # happens to some examples or positions only, and the others go on to say something.
        hidden=(
            0.5,
            effects(
                {"overflow_in_half": 0.98},
                output_constant=0.35,
                output_silent=0.3,
                loss_stuck=0.5,
                loss_slow=0.7,
                loss_at_prior=0.4,
                parameters_without_gradient=0.3,
                gradient_vanishing=0.2,
                dead_units_initial=0.2,
                signal_lost=0.2,
                normalization_flat=0.25,
            ),
        ),
    ),
    *variants(
        Mechanism(
            slug="half_precision_underflow",
            claim="numbers too small for half precision",
            story=(
                "Small gradients, or their squares and the optimizer's epsilon, are flushed to zero in float16: layers "
                "stop, or a step divides by zero."
            ),
            prior=0.02,
            effects=(),
            requires=("fp16",),
            forbids=effects(loss_solved=0.2),
            remedy="scale the loss (torch.amp.GradScaler) over float32 weights, or use bfloat16",
            look_alikes=("depth_attenuation", "dead_units"),
            source="Micikevicius et al. 2018, Mixed Precision Training",
        ),
        gradient=(
            0.5,
            effects(
                gradient_below_half=0.85,
                gradient_zero=0.6,
                gradient_absent=0.1,
                gradient_vanishing=0.5,
                parameters_unmoved=0.3,
                loss_slow=0.7,
                loss_stuck=0.6,
                epsilon_dominates=0.5,
                parameters_without_gradient=0.5,
                update_small=0.5,
                update_tiny=0.3,
                decay_dominates=0.3,
                update_toward_zero=0.3,
            ),
        ),
        # Where a part of the network computes in float16, the others learn: little else is to be seen.
        part=(
            0.3,
            effects(
                gradient_below_half=0.97, gradient_zero=0.6, epsilon_dominates=0.4, loss_slow=0.6
            ),
        ),
        epsilon=(
            # Of programs with float16 weights most break in this way: epsilon is 1e-8 by default.
            0.5,
            effects(nonfinite_step=0.95, loss_nonfinite=0.97, gradient_nonfinite=0.9),
            ("half_parameters",),
        ),
    ),
    *variants(
        replace(_ABSORBED, forbids=effects(loss_solved=0.2)),
        step=(
            0.8,
            effects(
                {"updates_rounded_away": 0.95},
                loss_slow=0.7,
                loss_stuck=0.4,
                update_small=0.4,
                update_tiny=0.2,
                step_predicted_tiny=0.15,
                loss_at_prior=0.15,
                gradient_coherent=0.25,
            ),
        ),
    ),
    # What is rounded away is the average; the network that is averaged learns as ever.
    *variants(_ABSORBED, average=(0.2, effects({"average_rounded_away": 0.97}))),
)
