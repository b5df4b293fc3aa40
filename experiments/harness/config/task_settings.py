"""Settings of tasks, of whichever source: part of :mod:`experiments.harness.config.settings`."""

from __future__ import annotations

from . import kinds
from .kinds import Setting, one_of, optional

TASK: dict[str, Setting] = {
    "task.shots": Setting(kinds.COUNT, "support examples of a task, or of each class"),
    "task.queries": Setting(kinds.COUNT, "query examples of a task, or of each class"),
    "task.ways": Setting(kinds.TWO_OR_MORE, "classes of a task"),
    "task.rotations": Setting(kinds.SWITCH, "quarter turns of a class are additional training classes"),
    "task.reflections": Setting(kinds.SWITCH, "mirror images of a class are additional training classes"),
    "task.distortion": Setting(
        kinds.POSITIVE_OR_ZERO, "standard deviation of random affine maps of training images; 0 for none"
    ),
    "task.split": Setting(optional(kinds.SPLIT), "classes for training, validation and test"),
    "task.path": Setting(kinds.PATH, "folder of the images; or digits, or an .npz file"),
    "task.sizes": Setting(kinds.SIZES, "examples of the inner loss, the outer loss, validation and test"),
    "task.corruption": Setting(kinds.BELOW_ONE, "fraction of the inner examples with a wrong label"),
    "task.labels": Setting(
        one_of("noisy", "clean", "oracle"), "of the inner examples; oracle: only examples with correct labels"
    ),
    "task.batch": Setting(optional(kinds.COUNT), "examples of the outer loss in an iteration; null for all"),
    "task.gaussians": Setting(kinds.COUNT, "on the circle"),
    "task.radius": Setting(kinds.POSITIVE, "of the circle"),
    "task.deviation": Setting(kinds.POSITIVE, "of each Gaussian"),
    "task.examples": Setting(kinds.COUNT, "of a mini-batch"),
    "task.environment": Setting(kinds.OBJECT, "of a policy"),
    "task.trajectories": Setting(kinds.COUNT, "of a rollout"),
    "task.horizon": Setting(kinds.COUNT, "steps of a trajectory"),
    "task.batches": Setting(kinds.COUNT, "rollouts of the support, one for each inner step"),
    "task.population": Setting(optional(kinds.COUNT), "different tasks of a training; null for no limit"),
    "task.noise_size": Setting(kinds.COUNT, "noise dimensions of the generator"),
    "task.features": Setting(kinds.COUNT, "of an input"),
    "task.relevant": Setting(optional(kinds.COUNT), "features that targets depend on; null for all"),
    "task.classes": Setting(kinds.SWITCH, "targets are classes, 0 and 1"),
    "task.size": Setting(kinds.COUNT, "pixels of a side that images are resized to"),
    "task.channels": Setting(kinds.COUNT, "1 for greyscale images, 3 for colour"),
    "task.seed": Setting(kinds.SEED, "of drawings, order and noise"),
    "task.noise": Setting(
        kinds.POSITIVE_OR_ZERO, "standard deviation of Gaussian noise on the support's targets"
    ),
    "task.informed": Setting(kinds.SWITCH, "append the parameters of the task to every input"),
    "task.grid": Setting(kinds.SWITCH, "query inputs evenly spaced over their range"),
    "task.input_size": Setting(kinds.COUNT, "dimensions of an input"),
    "task.degree": Setting(kinds.COUNT_OR_ZERO, "of the polynomial"),
    "task.modes": Setting(kinds.NAMES, "shapes, equally probable"),
    "task.mean": Setting(kinds.NUMBER, "of the coefficients"),
    "task.scale": Setting(kinds.POSITIVE_OR_ZERO, "deviation of the coefficients"),
    **{
        f"task.{name}": Setting(kinds.RANGE, f"range of {what}")
        for name, what in {
            "amplitude": "the amplitude",
            "phase": "the phase",
            "inputs": "inputs",
            "frequency": "the frequency",
            "centre": "the centre of shapes or inputs",
            "slope": "the slope",
            "curvature": "the curvature",
            "offset": "the offset",
            "coefficients": "coefficients",
            "location": "where the step is",
            "low": "the value before the step",
            "high": "the value after the step",
        }.items()
    },
}
"""Declarations by path."""
