"""Mechanisms of the network itself: initial weights, depth, units."""

from __future__ import annotations

from neuraldbg.catalogue.links import effects, variants
from neuraldbg.records.catalogue import Mechanism

__all__ = ["MECHANISMS"]

MECHANISMS = (
    Mechanism(
        slug="saturated_activations",
        claim="activations saturated by weights or inputs that are too large",
        story=(
            "A bounded nonlinearity works on its flat parts, where its derivative is almost zero; the layers "
            "before it stop learning."
        ),
        prior=0.02,
        effects=effects(
            {
                "saturated_initial": 0.75,
                "saturated": 0.85,
                "initialization_outlier_large": 0.4,
                "bias_initial_large": 0.3,
            },
            initialization_large=0.5,
            initialization_huge=0.4,
            gradient_vanishing=0.35,
            loss_slow=0.6,
            loss_stuck=0.25,
            output_constant=0.15,
            epsilon_dominates=0.3,
            parameters_without_gradient=0.2,
            gradient_zero=0.2,
            gradient_absent=0.05,
            output_silent=0.2,
            second_moment_inflated=0.15,
            activations_shrink_with_depth=0.15,
        ),
        requires=("has_bounded",),
        role="state",
        layered=True,
        p_whole=0.05,
        spread="backward",
        forbids=effects(loss_solved=0.2),
        remedy="re-initialise '{layer}' with gain {gain:.2f} (Xavier), or normalise its input",
        look_alikes=("dead_units", "initialization_too_large"),
        source="Glorot & Bengio 2010",
    ),
    *variants(
        Mechanism(
            slug="dead_units",
            claim="units that never fire (dead ReLU)",
            story=(
                "Pre-activations lie below zero for every sample; the units pass no signal and get no gradient, "
                "so they cannot recover."
            ),
            prior=0.03,
            effects=effects(
                gradient_zero=0.4,
                gradient_vanishing=0.2,
                loss_slow=0.65,
                loss_stuck=0.35,
                loss_at_prior=0.4,
                output_constant=0.35,
                parameters_without_gradient=0.2,
                epsilon_dominates=0.4,
                output_silent=0.4,
                update_small=0.3,
                update_toward_zero=0.2,
                decay_dominates=0.2,
                update_tiny=0.15,
                activations_shrink_with_depth=0.2,
            ),
            role="state",
            layered=True,
            p_whole=0.05,
            spread="both",
            forbids=effects(loss_solved=0.2),
            remedy=(
                "re-initialise '{layer}' with gain {gain:.2f} (He) and zero bias, or use LeakyReLU or GELU after it; "
                "where a threshold of your own has to be passed, lower it or scale up what comes before"
            ),
            sites=("passes_through",),
            look_alikes=("depth_attenuation", "learning_rate_too_high"),
            source="Lu et al. 2019, Dying ReLU and Initialization; Sokar et al. 2023",
        ),
        rectifier=(
            1.0,
            effects(
                {
                    "dead_units_initial": 0.75,
                    "dead_units": 0.85,
                    "layer_dead": 0.6,
                    "bias_initial_large": 0.25,
                },
                gradient_absent=0.3,
            ),
            ("has_rectifier",),
        ),
        # A threshold of the user's own that nothing passes, as of spiking units: only the layer after it tells.
        threshold=(
            0.3,
            effects(
                {"signal_lost": 0.97},
                gradient_absent=0.4,
                parameters_without_gradient=0.6,
                loss_stuck=0.6,
                output_constant=0.6,
                output_silent=0.6,
            ),
            ("has_threshold",),
        ),
    ),
    *variants(
        Mechanism(
            slug="initialization_too_large",
            claim="initial weights too large",
            story="Activations grow layer by layer and so do gradients; the first loss is far above chance.",
            prior=0.03,
            effects=effects(
                step_predicted_large=0.4,
                loss_slow=0.35,
                loss_stuck=0.12,
                loss_diverged=0.06,
                saturated_initial=0.3,
                saturated=0.3,
                attention_collapsed=0.2,
                attention_collapsed_everywhere=0.1,
                attention_sharp_initial=0.1,
                attention_logits_huge=0.2,
                gradient_grows_in_time=0.15,
                update_ratio_high=0.1,
                loss_initial_high=0.5,
                confident_wrong=0.4,
                loss_at_prior=0.1,
                dead_units=0.1,
            ),
            layered=True,
            p_whole=0.3,
            spread="forward",
            remedy="re-initialise {where} with gain {gain:.2f} (He for ReLU, Xavier for tanh)",
            look_alikes=("learning_rate_too_high", "unnormalized_inputs"),
            source="He et al. 2015; Glorot & Bengio 2010",
        ),
        everywhere=(
            0.6,
            effects(
                {"initialization_large": 0.93, "initialization_huge": 0.5},
                activations_grow_with_depth=0.6,
                gradient_amplified=0.5,
            ),
        ),
        layer=(
            0.4,
            effects(
                {
                    "initialization_large": 0.85,
                    "initialization_huge": 0.6,
                    "initialization_outlier_large": 0.93,
                    "bias_initial_large": 0.1,
                },
                activations_grow_with_depth=0.2,
                gradient_amplified=0.2,
            ),
        ),
        # What a network writes for another one are no weights of its own: only the first loss shows their size, where
        # it can be compared with that of a guess.
        written=(
            0.15,
            effects(loss_initial_high=0.95, loss_slow=0.5, loss_stuck=0.3),
            ("first_loss",),
        ),
        # The frequency inside of a sine belongs to the weights of its layer: one over it was forgotten. Few programs
        # have sines; of those that do no fewer have this fault than others have the rest of it.
        sines=(
            1.0,
            effects({"sines_wrapped_initial": 0.95}, loss_slow=0.5),
            ("has_sines",),
            "draw the weights of {where} from U(-b, b) with b = sqrt(6 / inputs) / the frequency inside of its sine",
        ),
    ),
    *variants(
        Mechanism(
            slug="initialization_too_small",
            claim="initial weights too small",
            story="The signal fades layer by layer in both directions; only the last bias learns at first.",
            prior=0.03,
            effects=effects(
                loss_slow=0.65,
                loss_stuck=0.4,
                loss_at_prior=0.4,
                output_silent=0.5,
                output_constant=0.35,
                update_small=0.05,
                gradient_vanishing=0.35,
                step_predicted_tiny=0.15,
                weights_grew=0.4,
                activations_exploded=0.4,
                units_identical=0.3,
                update_ratio_extreme=0.25,
                update_ratio_high=0.3,
                second_moment_stale=0.3,
                dead_units=0.2,
                gradient_grown=0.15,
                update_toward_zero=0.1,
            ),
            forbids=effects(loss_solved=0.3),
            layered=True,
            p_whole=0.3,
            spread="forward",
            remedy="re-initialise {where} with gain {gain:.2f} (He for ReLU, Xavier for tanh)",
            look_alikes=("depth_attenuation", "learning_rate_too_low", "dead_units"),
            equivalents=(
                (
                    "depth_attenuation",
                    "re-initialise with He or Xavier scale and run 50 steps",
                ),
            ),
            source="He et al. 2015; Glorot & Bengio 2010",
        ),
        everywhere=(
            0.6,
            effects(
                {"initialization_small": 0.93, "initialization_tiny": 0.6},
                activations_shrink_with_depth=0.6,
                gradient_decaying=0.5,
            ),
        ),
        layer=(
            0.4,
            effects(
                {
                    "initialization_small": 0.85,
                    "initialization_tiny": 0.7,
                    "initialization_outlier_small": 0.93,
                },
                activations_shrink_with_depth=0.3,
                gradient_decaying=0.2,
            ),
        ),
        table=(
            0.3,
            effects({"table_initial_small": 0.9}, update_tiny=0.3),
            ("has_tables",),
            "draw the entries of {where} with a standard deviation of 0.02 or more",
        ),
    ),
    Mechanism(
        slug="symmetric_initialization",
        claim="units that start identical and stay so",
        story="Identical rows give identical activations and gradients; the layer is one unit wide.",
        prior=0.01,
        effects=effects(
            {
                "units_identical": 0.85,
                "units_identical_initial": 0.8,
                "weights_zero": 0.3,
            },
            gradient_zero=0.25,
            parameters_without_gradient=0.25,
            loss_slow=0.7,
            loss_stuck=0.4,
            loss_at_prior=0.4,
            output_constant=0.3,
            output_silent=0.3,
            initialization_small=0.3,
            initialization_tiny=0.2,
            normalization_flat=0.2,
            epsilon_dominates=0.2,
            update_ratio_high=0.3,
            dead_units=0.2,
            layer_dead=0.2,
            dead_units_initial=0.2,
            second_moment_inflated=0.1,
            gradient_vanishing=0.1,
            update_toward_zero=0.1,
        ),
        layered=True,
        several=True,
        p_whole=0.01,
        forbids=effects(loss_solved=0.15),
        remedy="initialise '{layer}' with random weights (torch.nn.init.kaiming_normal_)",
        look_alikes=("initialization_too_small", "dead_units"),
        source="Goodfellow, Bengio & Courville 2016, chapter 8",
    ),
    *variants(
        Mechanism(
            slug="depth_attenuation",
            claim="gradients that fade with depth or time",
            story=(
                "Every layer or time step passes on less gradient than it got; the first layers stall and the last "
                "ones learn only the label frequencies."
            ),
            prior=0.03,
            effects=effects(
                loss_slow=0.75,
                loss_stuck=0.45,
                loss_at_prior=0.45,
                output_constant=0.4,
                update_small=0.15,
                output_silent=0.5,
                dead_units=0.3,
                dead_units_initial=0.2,
                second_moment_inflated=0.25,
                second_moment_stale=0.3,
                update_toward_zero=0.1,
            ),
            forbids=effects(initialization_tiny=0.3, loss_solved=0.2),
            role="state",
            remedy="add residual connections or normalization, or replace the saturating nonlinearity by ReLU{gradient_loss}",
            look_alikes=("initialization_too_small", "dead_units", "saturated_activations"),
            equivalents=(
                (
                    "initialization_too_small",
                    "re-initialise with He or Xavier scale and run 50 steps",
                ),
            ),
            layered=True,
            stacked=True,
            spread="backward",
            source="Pascanu et al. 2013; Glorot & Bengio 2010",
        ),
        depth=(
            0.75,
            effects(
                gradient_decaying=0.9,
                gradient_vanishing=0.8,
                activations_shrink_with_depth=0.45,
                update_tiny=0.15,
                step_predicted_tiny=0.2,
            ),
        ),
        time=(
            0.25,
            effects(
                {"gradient_fades_along_sequence": 0.9},
                gradient_decays_in_time=0.95,
                gradient_vanishing=0.2,
            ),
        ),
    ),
    *variants(
        Mechanism(
            slug="depth_amplification",
            claim="gradients that grow with depth or time",
            story="Every layer or time step passes on more gradient than it got; the first layers explode.",
            prior=0.02,
            effects=effects(
                gradient_burst=0.35,
                loss_diverged=0.25,
                loss_spike=0.25,
                loss_slow=0.4,
                update_ratio_high=0.25,
                step_predicted_large=0.4,
                loss_nonfinite=0.1,
                gradient_nonfinite=0.1,
                nonfinite_after_growth=0.15,
                activations_exploded=0.3,
                nonfinite_forward=0.15,
                gradient_vanishing=0.1,
                # Where gradients are clipped, it is the large ones of the first layers that use the norm up.
                gradients_clipped_hard=0.4,
                gradients_clipped_constant=0.3,
                update_small=0.15,
            ),
            forbids=effects(initialization_large=0.25, initialization_huge=0.1),
            role="state",
            layered=True,
            stacked=True,
            spread="backward",
            remedy="clip the gradient norm at {clip_90:.2g}, and scale residual branches or use pre-norm",
            look_alikes=("initialization_too_large", "learning_rate_too_high"),
            source="Pascanu et al. 2013; Zhang et al. 2019, Fixup",
        ),
        depth=(
            0.7,
            effects(
                gradient_amplified=0.85,
                activations_grow_with_depth=0.55,
                loss_initial_high=0.5,
            ),
        ),
        time=(
            0.3,
            effects(
                {"gradient_swells_along_sequence": 0.9},
                gradient_grows_in_time=0.95,
                loss_initial_high=0.1,
            ),
        ),
    ),
)
