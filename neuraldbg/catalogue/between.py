"""Mechanisms of what stands between weights: attention and normalization."""

from __future__ import annotations

from dataclasses import replace

from neuraldbg.catalogue.links import effects, variants
from neuraldbg.records.catalogue import Mechanism

__all__ = ["MECHANISMS"]

_NORMALIZATION = Mechanism(
    slug="degenerate_normalization",
    claim="normalization over too few values or a constant channel",
    story="The statistic behind a normalization is unusable: it amplifies noise or erases the signal.",
    prior=0.02,
    effects=effects(
        loss_slow=0.3,
        gradient_burst=0.2,
        loss_spike=0.1,
        loss_stuck=0.25,
        loss_at_prior=0.25,
        output_silent=0.25,
        activations_shrink_with_depth=0.2,
        gradient_vanishing=0.2,
        gradient_decaying=0.15,
        epsilon_dominates=0.2,
        dead_units=0.2,
        activations_exploded=0.2,
        second_moment_inflated=0.15,
    ),
    requires=("has_norm",),
    layered=True,
    several=True,
    p_whole=0.01,
    spread="forward",
    remedy=(
        "use GroupNorm or LayerNorm in place of '{layer}', a larger batch, or a lower momentum (PyTorch's is the share "
        "of the new batch: 0.01 where others write 0.99)"
    ),
    look_alikes=("learning_rate_too_high", "corrupted_batch"),
    source="Ioffe 2017, Batch Renormalization; Wu & He 2018, Group Normalization",
)

MECHANISMS = (
    Mechanism(
        slug="attention_entropy_collapse",
        claim="attention that became one-hot before it learnt anything",
        sites=("attends_in",),
        story="Attention logits grow until softmax picks one key; its gradient is then almost zero.",
        prior=0.02,
        effects=effects(
            {
                "attention_collapsed": 0.9,
                "attention_sharp_initial": 0.5,
                "attention_logits_huge": 0.55,
            },
            attention_collapsed_everywhere=0.6,
            gradient_burst=0.25,
            loss_slow=0.8,
            loss_stuck=0.5,
            loss_spike=0.15,
        ),
        requires=("has_attention",),
        role="state",
        layered=True,
        p_whole=0.1,
        spread="backward",
        forbids=effects(loss_solved=0.3),
        remedy="normalise queries and keys in '{layer}' (QK-norm), or lower its learning rate",
        look_alikes=("learning_rate_too_high",),
        source="Zhai et al. 2023; Dehghani et al. 2023, ViT-22B",
    ),
    *variants(
        _NORMALIZATION,
        few=(
            0.5,
            effects(
                {"normalization_few": 0.97},
                normalization_gap=0.5,
                normalization_flat=0.3,
                output_constant=0.1,
            ),
        ),
        flat=(
            0.3,
            effects(
                {"normalization_flat": 0.97},
                gradient_amplified=0.1,
                gradient_zero=0.1,
                output_constant=0.2,
            ),
        ),
        gap=(
            0.2,
            effects({"normalization_gap": 0.8, "normalization_slow": 0.6}),
            ("running_statistics",),
        ),
        unscaled=(
            0.1,
            effects(
                {"normalization_unscaled": 0.95},
                activations_grow_with_depth=0.3,
                gradient_amplified=0.3,
                gradients_clipped_hard=0.3,
                gradients_clipped_constant=0.3,
            ),
        ),
    ),
    # What is wrong with running statistics alone shows in evaluation, not in training.
    *variants(
        replace(_NORMALIZATION, effects=()),
        forgetful=(0.2, effects({"normalization_forgets": 0.95}), ("running_statistics",)),
    ),
)
