"""Model compression: pruning, quantisation and distillation with soft targets."""

from metalearn.compression.learned_masks import mask_problem
from metalearn.compression.learners import pruning, quantization, soft_targets
from metalearn.compression.masks import masked, masks, prunable
from metalearn.compression.optimal_brain import Surgeon, damage, surgeon
from metalearn.compression.quantization import first_step_sizes, quantization_problem, quantize
from metalearn.compression.saliency import grasp, magnitude, snip
from metalearn.compression.soft_targets import soft_target_loss, soft_target_problem

__all__ = [
    "Surgeon",
    "damage",
    "first_step_sizes",
    "grasp",
    "magnitude",
    "mask_problem",
    "masked",
    "masks",
    "prunable",
    "pruning",
    "quantization",
    "quantization_problem",
    "quantize",
    "snip",
    "soft_target_loss",
    "soft_target_problem",
    "soft_targets",
    "surgeon",
]
