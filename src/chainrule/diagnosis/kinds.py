"""The vocabulary of findings: each kind with what it means."""

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "output_activation_wrong": "the output's activation does not fit the task or the loss",
    "missing_output_activation": "the loss expects probabilities and gets raw outputs",
    "double_softmax": "softmax before a loss that applies it",
    "target_range_mismatch": "targets outside of the range of the output",
    "loss_wrong": "the loss does not fit the task",
    "loss_reduction_wrong": "a sum where a mean is meant, or over the wrong axis",
    "loss_shape_broadcast": "output and target broadcast against each other",
    "unprotected_log": "the logarithm of 0",
    "missing_hidden_activation": "layers with weights in a row, without an activation between",
    "hidden_activation_wrong": "a hidden activation that hinders the training",
    "vanishing_gradient": "the first layers get hardly any gradient",
    "exploding_gradient": "the gradient grows from layer to layer, or from step to step",
    "dead_relu": "units that are 0 for every row",
    "saturated_activation": "units at the ends of their range, where the slope is 0",
    "init_too_large": "first weights that spread too far",
    "init_too_small": "first weights that spread too little",
    "init_symmetric": "units that begin with equal weights",
    "batchnorm_missing": "a deep network without normalization",
    "lr_too_high": "the learning rate is too high",
    "lr_too_low": "the learning rate is too low",
    "optimizer_unsuited": "the optimizer, or its epsilon, does not fit",
    "gradient_ascent": "steps along the gradient, not against it",
    "batch_too_large": "few steps per epoch",
    "batch_too_small": "gradients of few rows, which are noise",
    "too_few_epochs": "the training ends before the network has learned",
    "inputs_not_scaled": "raw inputs",
    "inputs_overscaled": "inputs that hardly vary, as after being divided twice",
    "targets_not_scaled": "targets far from unit scale",
    "targets_overscaled": "targets that hardly vary",
    "train_test_mismatch": "held-out data that is prepared in another way",
    "label_encoding_wrong": "labels that were scaled, or numbered in another way",
    "labels_misaligned": "inputs and targets that do not belong together",
    "data_not_shuffled": "rows in the order of their classes in each epoch",
    "regularisation_missing": "rows are learned by heart: held-out rows get worse",
    "regularisation_too_strong": "dropout or weight decay that hinders the training",
    "inference_mode_wrong": "a model that computes something else in evaluation mode",
}
