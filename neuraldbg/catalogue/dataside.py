"""Mechanisms of data, loss and numerics."""

from __future__ import annotations

from dataclasses import replace

from neuraldbg.catalogue.links import effects, variants
from neuraldbg.records.catalogue import Mechanism

__all__ = ["MECHANISMS"]

# What makes the prediction is named where it does not fit: not where shapes or the sum over a batch do not.
_MISMATCH = Mechanism(
    slug="loss_output_mismatch",
    place="the loss",
    claim="a loss that does not fit the model's output",
    story="Head and loss disagree (softmax twice, raw scores into nll, broadcast shapes): the gradient is misshaped.",
    prior=0.04,
    effects=effects(
        loss_slow=0.35,
        loss_stuck=0.15,
        gradient_coherent=0.15,
        activations_exploded=0.1,
        second_moment_inflated=0.1,
    ),
    layered=True,
    several=True,
    p_whole=0.01,
    requires=("labelled",),
    remedy="{mismatch}",
    look_alikes=("learning_rate_too_low", "label_noise"),
    source="Schoop et al. 2021, UMLAUT; Karpathy 2019",
)

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
            slug="unnormalized_inputs",
            place="the data",
            claim="inputs that are not normalised",
            story="The raw scale or offset of the input is carried through the network and makes it ill-conditioned.",
            prior=0.04,
            effects=effects(
                loss_initial_high=0.3,
                step_predicted_large=0.4,
                dead_units=0.2,
                saturated_initial=0.3,
                saturated=0.25,
                update_ratio_high=0.15,
                loss_slow=0.3,
                loss_spike=0.12,
                loss_diverged=0.12,
                loss_stuck=0.15,
                layer_dead=0.1,
                loss_at_prior=0.1,
                second_moment_stale=0.3,
                second_moment_inflated=0.15,
                output_constant=0.15,
                activations_exploded=0.1,
                loss_nonfinite=0.05,
                gradient_nonfinite=0.05,
                activations_shrink_with_depth=0.1,
            ),
            requires=("float_input",),
            remedy="standardise the input{input_of}: its root mean square is {input_scale:.3g}, aim for 1",
            look_alikes=("initialization_too_large", "learning_rate_too_high"),
            source="LeCun et al. 1998, Efficient BackProp",
        ),
        scale=(
            0.6,
            effects(input_scale_large=0.98, input_offset=0.2, input_feature_spread=0.3),
        ),
        offset=(0.2, effects(input_offset=0.97)),
        spread=(0.2, effects(input_feature_spread=0.97, input_scale_large=0.4)),
    ),
    *variants(
        Mechanism(
            slug="unnormalized_targets",
            place="the data",
            claim="regression targets far from unit scale",
            story="The loss and its gradient are dominated by the scale of the target; the output must travel far.",
            prior=0.03,
            effects=effects(
                loss_slow=0.25,
                loss_stuck=0.15,
                step_predicted_large=0.2,
                update_ratio_high=0.12,
                gradient_coherent=0.3,
                activations_exploded=0.3,
                loss_diverged=0.15,
                loss_regressed=0.15,
                weights_grew=0.2,
                update_ratio_extreme=0.1,
                loss_initial_high=0.05,
            ),
            requires=("regression",),
            forbids=effects(loss_solved=0.2),
            remedy="standardise the targets: their root mean square is {target_scale:.3g}, aim for 1",
            look_alikes=("learning_rate_too_low", "learning_rate_too_high"),
            source="LeCun et al. 1998, Efficient BackProp",
        ),
        large=(0.85, effects(target_scale_large=0.98)),
        small=(0.15, effects(target_scale_small=0.98, loss_initial_high=0.8)),
    ),
    *variants(
        Mechanism(
            slug="nonfinite_data",
            place="the data",
            claim="NaN or infinity in the data",
            story="A bad sample enters, the loss becomes NaN, and one step later every weight is NaN.",
            prior=0.03,
            effects=effects(loss_nonfinite=0.97, gradient_nonfinite=0.95),
            remedy="assert torch.isfinite on every batch, and clean the sample of step {step}",
            look_alikes=("numerical_singularity", "half_precision_overflow"),
            source="Bekman, Machine Learning Engineering (instabilities)",
        ),
        input=(0.7, effects(input_nonfinite=0.98)),
        target=(0.3, effects(target_nonfinite=0.95, nonfinite_sudden=0.3)),
    ),
    *variants(
        Mechanism(
            slug="corrupted_batch",
            place="the data",
            claim="a batch unlike the others",
            story="One or more batches carry wrong scale or content; the loss spikes at the same step.",
            prior=0.03,
            effects=effects(
                loss_spike=0.6,
                loss_stepped_up=0.12,
                loss_regressed=0.25,
                gradient_burst=0.6,
                second_moment_stale=0.35,
                loss_diverged=0.1,
                activations_exploded=0.2,
                attention_logits_huge=0.02,
                second_moment_inflated=0.25,
                loss_nonfinite=0.08,
                gradient_nonfinite=0.08,
                loss_slow=0.3,
                loss_stuck=0.2,
                gradient_coherent=0.2,
                update_against_gradient=0.15,
                update_ratio_high=0.2,
            ),
            remedy="look at the data of step {step}; skip or clip such batches",
            look_alikes=("learning_rate_too_high", "stale_second_moment"),
            source="Chowdhery et al. 2022, PaLM section 5.1",
        ),
        input=(0.6, effects(input_anomaly=0.97, input_anomaly_extreme=0.7)),
        labels=(0.2, effects(label_anomaly=0.95), ("labelled",)),
        targets=(0.2, effects(target_anomaly=0.95), ("regression",)),
    ),
    *variants(
        Mechanism(
            slug="label_noise",
            place="the data",
            claim="labels that do not belong to their inputs",
            story="Gradients are healthy everywhere, but what they ask for contradicts itself; the loss stays at a floor.",
            prior=0.03,
            # Labels that come apart from their inputs at some step, as after a wrong shuffle, show as a regress.
            effects=effects(
                loss_slow=0.7, loss_regressed=0.15, loss_diverged=0.06, loss_spike=0.06
            ),
            forbids=effects(
                loss_solved=0.1,
                update_tiny=0.1,
                gradient_vanishing=0.3,
                gradient_decaying=0.2,
                gradient_fades_along_sequence=0.2,
                layer_dead=0.2,
                update_ratio_extreme=0.2,
                dropout_heavy=0.3,
                output_constant=0.5,
            ),
            requires=("labelled",),
            remedy="check the pairing of inputs and labels on a few samples; train on a small clean subset",
            look_alikes=(
                "depth_attenuation",
                "excessive_dropout",
                "learning_rate_too_low",
            ),
            equivalents=(
                (
                    "unknown_cause",
                    "overfit one clean batch: noise in the labels cannot hinder that",
                ),
            ),
            source="Zhang et al. 2017, Understanding deep learning requires rethinking generalization",
        ),
        all=(0.5, effects(loss_stuck=0.75, loss_at_prior=0.6, output_constant=0.2)),
        some=(0.3, effects(confident_wrong=0.6, label_conflict=0.2)),
        later=(
            0.2,
            effects(
                loss_stepped_up=0.75,
                loss_regressed=0.6,
                loss_diverged=0.5,
                loss_spike=0.45,
                loss_stuck=0.4,
                loss_at_prior=0.2,
                second_moment_stale=0.15,
                gradient_coherent=0.15,
            ),
        ),
    ),
    *variants(
        replace(_MISMATCH, sites=("made_by",)),
        softmax=(0.3, effects({"loss_softmax_twice": 0.98})),
        nll=(0.15, effects({"loss_nll_on_raw": 0.98}, loss_diverged=0.1)),
        sigmoid=(0.15, effects({"loss_sigmoid_twice": 0.98})),
        rectified=(0.1, effects({"loss_rectified": 0.98}, dead_units=0.1)),
        bounded=(0.1, effects({"loss_bounded": 0.98})),
        unsigned=(0.05, effects({"loss_unsigned": 0.98})),
        one=(0.05, effects({"loss_of_one": 0.98}, parameters_without_gradient=0.7)),
    ),
    *variants(
        _MISMATCH,
        broadcast=(0.2, effects({"loss_broadcast": 0.98})),
        sum=(
            0.05,
            effects(
                {"loss_sum": 0.98},
                loss_spike=0.3,
                loss_regressed=0.2,
                step_predicted_large=0.4,
                update_ratio_high=0.4,
            ),
        ),
    ),
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
