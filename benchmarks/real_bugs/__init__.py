"""Training failures that users reported in public threads, re-expressed as small programs with their accepted fix.

Code, data and words are our own; each module names its thread in ``SOURCE``. ``TRUTH`` follows the accepted
answer: the first mechanism is the one that the answer names, the others are answers that say the same from
another side. Nothing is ever learned from these programs.
"""

from types import ModuleType

from benchmarks.real_bugs import (
    adf_linear_zeros,
    amp_clip_before_unscale,
    attention_over_one,
    batchnorm_momentum_zero,
    bf16_weights,
    binning_vae_log_zero,
    captioner_detached_encoder,
    charrnn_negative_nll,
    critic_broadcast,
    densenet_keep_prob,
    depth_net_weight_decay,
    federated_double_softmax,
    forecaster_nan_targets,
    gmsd_sqrt,
    halved_adam_eps,
    inception_high_rate,
    lab_rate_after_scaling,
    labels_before_shuffle,
    layers_in_list,
    linear_target_shape,
    masked_half_attention,
    multimodal_missing_group,
    peptide_relu_head,
    pinn_solution_scale,
    postln_no_warmup,
    projected_lstm_long,
    pruned_stale_optimizer,
    recommender_double_sigmoid,
    resumed_adapter_frozen,
    siamese_integer_division,
    sigmoid_autoencoder,
    stuck_at_chance,
    summed_loss_scratch,
    superres_scheduler_every_batch,
    trainer_no_zero_grad,
    video_black_frames,
    xray_pixel_range,
    zero_grad_per_epoch,
)
from neuraldbg.demos.case import Case

__all__ = ["CASES", "MODULES"]

MODULES: tuple[ModuleType, ...] = (
    adf_linear_zeros,
    amp_clip_before_unscale,
    attention_over_one,
    batchnorm_momentum_zero,
    bf16_weights,
    binning_vae_log_zero,
    captioner_detached_encoder,
    charrnn_negative_nll,
    critic_broadcast,
    densenet_keep_prob,
    depth_net_weight_decay,
    federated_double_softmax,
    forecaster_nan_targets,
    gmsd_sqrt,
    halved_adam_eps,
    inception_high_rate,
    lab_rate_after_scaling,
    labels_before_shuffle,
    layers_in_list,
    linear_target_shape,
    masked_half_attention,
    multimodal_missing_group,
    peptide_relu_head,
    pinn_solution_scale,
    postln_no_warmup,
    projected_lstm_long,
    pruned_stale_optimizer,
    recommender_double_sigmoid,
    resumed_adapter_frozen,
    siamese_integer_division,
    sigmoid_autoencoder,
    stuck_at_chance,
    summed_loss_scratch,
    superres_scheduler_every_batch,
    trainer_no_zero_grad,
    video_black_frames,
    xray_pixel_range,
    zero_grad_per_epoch,
)

CASES: tuple[Case, ...] = tuple(
    Case(id=m.ID, truth=m.TRUTH, train=m.train, family=m.FAMILY, title=m.TITLE) for m in MODULES
)
