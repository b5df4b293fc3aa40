"""Every setting of a training, declared once: its kind, and what it is for. Defaults stand in ``conf/``.

Settings of objects (task, model, rule, estimator, optimizer) are declared by name, whichever object has them;
an object's constructor decides which it has, and checks those that are not declared here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import kinds
from .kinds import Kind, either, one_of, optional

BACKENDS = {
    "wandb": ("mode", "project", "group", "name", "interval", "histogram_interval"),
    "tensorboard": ("interval", "histogram_interval"),
    "none": (),
}
"""The settings that each tracker has."""

MODES = ("offline", "online", "disabled")


class Setting(NamedTuple):
    """What a setting may be, and what it is for, in a line."""

    kind: Kind
    help: str


_LEARNABLE = either(kinds.POSITIVE, kinds.OBJECT)
_MOMENTUM = either(kinds.FRACTION, kinds.OBJECT)
_HYPERPARAMETER = either(kinds.POSITIVE_OR_ZERO, kinds.OBJECT)

SETTINGS: dict[str, Setting] = {
    "name": Setting(kinds.FOLDER_NAME, "of the experiment: runs are kept in <paths.runs>/<name>/<id>"),
    "label": Setting(kinds.TEXT, "what tables and figures call the run; changes no result"),
    "seed": Setting(kinds.SEED, "of the initial parameters and of the training tasks"),
    "packages": Setting(
        kinds.PACKAGES,
        "that are trusted: what they define may be named by a configuration; changes no result",
    ),
    "problem": Setting(
        optional(kinds.OBJECT), "that returns a learner, in the place of model, rule, estimator and learner"
    ),
    "learner.loss": Setting(
        either(kinds.TEXT, kinds.OBJECT),
        "of the inner and the outer problem: mse, cross_entropy, or a function of yours, mylab.losses.huber",
    ),
    "learner.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps while training; 0 is ordinary training"),
    "learner.adapted": Setting(
        kinds.TEXT, "parameters that the inner loop moves: all, head, body, context or a glob"
    ),
    "learner.proximal": Setting(kinds.POSITIVE_OR_ZERO, "strength of the proximal term in the inner loss"),
    "learner.head": Setting(
        optional(kinds.OBJECT), "how the last layer is solved for before the first inner step"
    ),
    "learner.step_weights": Setting(optional(kinds.OBJECT), "what inner steps count for in the meta-loss"),
    "learner.mapping": Setting(
        one_of("auto", "vectorized", "sequential"), "over tasks; auto for what the model allows"
    ),
    "learner.statistics": Setting(
        optional(one_of("batch", "support", "moving", "per_step")),
        "what layers with batch statistics normalise by",
    ),
    "learner.metrics": Setting(kinds.METRICS, "reported beside the query loss: accuracy, mylab.metrics.bias"),
    "training.iterations": Setting(kinds.COUNT, "updates of the meta-parameters"),
    "training.meta_batch_size": Setting(kinds.COUNT, "tasks of an iteration"),
    "training.clip_task_value": Setting(optional(kinds.POSITIVE), "largest entry of a task's meta-gradient"),
    "training.clip_task_norm": Setting(optional(kinds.POSITIVE), "largest length of a task's meta-gradient"),
    "training.carry": Setting(
        optional(either(kinds.COUNT, one_of("forever"))),
        "iterations that an inner loop is carried through before it starts anew",
    ),
    "training.jit_compile": Setting(optional(kinds.SWITCH), "with XLA; null for what suits the model"),
    "evaluation.tasks": Setting(kinds.TWO_OR_MORE, "fresh tasks, the same list for every algorithm"),
    "evaluation.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps"),
    "evaluation.seed": Setting(kinds.SEED, "of the list of tasks"),
    "evaluation.task": Setting(
        optional(Kind("a section of settings of the task", dict[str, Any])),
        "what differs from the training tasks",
    ),
    "validation.interval": Setting(optional(kinds.COUNT), "iterations between validations"),
    "validation.tasks": Setting(
        kinds.TWO_OR_MORE, "tasks that are neither of training nor of the evaluation"
    ),
    "validation.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps before the loss that counts"),
    "validation.seed": Setting(kinds.SEED, "of the list of tasks; not that of the evaluation"),
    "validation.task": Setting(
        optional(Kind("a section of settings of the task", dict[str, Any])),
        "what differs from the training tasks",
    ),
    "diagnostics.interval": Setting(
        optional(kinds.COUNT), "iterations between diagnoses of the meta-gradient"
    ),
    "tracking.backend": Setting(one_of(*BACKENDS), "what is informed of the run while it goes on"),
    "tracking.mode": Setting(one_of(*MODES), "of Weights & Biases; offline needs no account"),
    "tracking.project": Setting(kinds.TEXT, "of Weights & Biases"),
    "tracking.group": Setting(optional(kinds.TEXT), "of runs; in a sweep, its folder's name"),
    "tracking.name": Setting(
        optional(kinds.TEXT), "of the run, before its id; null for algorithm and task, in a sweep what varies"
    ),
    "tracking.interval": Setting(kinds.COUNT, "iterations that one logged point is the mean of"),
    "tracking.histogram_interval": Setting(kinds.COUNT, "iterations between histograms of the meta-gradient"),
    "run.checkpoint_seconds": Setting(kinds.POSITIVE, "time between checkpoints"),
    "run.fresh": Setting(kinds.SWITCH, "start anew beside a run that exists"),
    "run.resume": Setting(one_of("same", "changed"), "changed: go on with a run that other code has begun"),
    "run.check_derivatives": Setting(
        kinds.SWITCH, "hold derivatives to differences, and the compiled program to eager execution"
    ),
    "paths.data": Setting(kinds.PATH, "folder of sets of images"),
    "paths.runs": Setting(kinds.PATH, "folder that all runs are kept in"),
    "task.shots": Setting(kinds.COUNT, "support examples of a task; of a class where there are classes"),
    "task.queries": Setting(kinds.COUNT, "query examples of a task; of a class where there are classes"),
    "task.ways": Setting(kinds.TWO_OR_MORE, "classes of a task"),
    "task.rotations": Setting(kinds.SWITCH, "quarter turns of a class are classes of training, too"),
    "task.split": Setting(optional(kinds.SPLIT), "classes for training, validation and test"),
    "task.path": Setting(kinds.PATH, "folder of the images"),
    "task.size": Setting(kinds.COUNT, "pixels of a side that images are resized to"),
    "task.channels": Setting(kinds.COUNT, "1 for grey images, 3 for colours"),
    "task.seed": Setting(kinds.SEED, "of the drawings"),
    "task.noise": Setting(kinds.POSITIVE_OR_ZERO, "deviation of Gaussian noise on the support's targets"),
    "task.informed": Setting(kinds.SWITCH, "append what a task is made from to every input"),
    "task.grid": Setting(kinds.SWITCH, "query inputs evenly spaced over their range"),
    "task.input_size": Setting(kinds.COUNT, "dimensions of an input"),
    "task.degree": Setting(kinds.COUNT_OR_ZERO, "of the polynomial"),
    "task.modes": Setting(kinds.NAMES, "shapes, alike in probability"),
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
    "model.input_size": Setting(kinds.COUNT, "numbers of an input"),
    "model.output_size": Setting(kinds.COUNT, "numbers of an output"),
    "model.hidden": Setting(kinds.COUNTS, "widths of the hidden layers"),
    "model.image": Setting(kinds.COUNTS, "height, width and channels of an image"),
    "model.ways": Setting(kinds.TWO_OR_MORE, "classes, the length of an output"),
    "model.filters": Setting(kinds.COUNT, "of each convolution"),
    "model.reduce": Setting(one_of("stride", "pool"), "how a block halves the image"),
    "model.activation": Setting(kinds.TEXT, "of the hidden layers, a name that Keras knows"),
    "model.context": Setting(kinds.COUNT, "context parameters beside the input"),
    "rule.learning_rate": Setting(_LEARNABLE, "of the inner steps"),
    "rule.rule": Setting(kinds.OBJECT, "that is wrapped"),
    **{
        f"rule.{name}": Setting(_MOMENTUM, "of the inner rule, as Keras' optimizer of its name has it")
        for name in ("momentum", "beta_1", "beta_2", "rho")
    },
    **{
        f"rule.{name}": Setting(_HYPERPARAMETER, "of the inner rule, as Keras' optimizer of its name has it")
        for name in ("epsilon", "weight_decay", "initial_accumulator_value")
    },
    "rule.amsgrad": Setting(kinds.SWITCH, "of the inner rule, as Keras' optimizer of its name has it"),
    "rule.centered": Setting(kinds.SWITCH, "of the inner rule, as Keras' optimizer of its name has it"),
    "estimator.sigma": Setting(kinds.POSITIVE, "standard deviation of the perturbations"),
    "estimator.pairs": Setting(kinds.COUNT, "antithetic pairs of each task"),
    "estimator.limit": Setting(kinds.COUNT, "the most scalars in the meta-parameters that it accepts"),
    "estimator.solver": Setting(kinds.TEXT, "conjugate_gradient or neumann"),
    "estimator.iterations": Setting(kinds.COUNT, "of the solver, or of the annealing"),
    "estimator.damping": Setting(kinds.POSITIVE_OR_ZERO, "added to the diagonal of the Hessian"),
    "estimator.scale": Setting(optional(kinds.POSITIVE), "of the Neumann series"),
    "estimator.window": Setting(
        kinds.COUNT_OR_ZERO, "inner steps at the end that are differentiated exactly"
    ),
    "estimator.of": Setting(one_of("loss", "step"), "what the inner solution solves"),
    "estimator.fraction": Setting(kinds.FRACTION, "of the iterations that the annealing takes"),
    "estimator.first": Setting(kinds.OBJECT, "estimator before"),
    "estimator.then": Setting(kinds.OBJECT, "estimator after"),
    "optimizer.learning_rate": Setting(_LEARNABLE, "of the outer updates: a number or a schedule"),
    "optimizer.clipnorm": Setting(
        optional(kinds.POSITIVE), "each variable's meta-gradient clipped to this norm"
    ),
    "optimizer.clipvalue": Setting(
        optional(kinds.POSITIVE), "each entry of the meta-gradient clipped to this"
    ),
    "optimizer.global_clipnorm": Setting(
        optional(kinds.POSITIVE), "all of the meta-gradient clipped to this norm"
    ),
    "optimizer.weight_decay": Setting(optional(kinds.POSITIVE_OR_ZERO), "of the outer updates"),
    **{
        f"optimizer.{name}": Setting(kinds.FRACTION, "as Keras has it")
        for name in ("momentum", "beta_1", "beta_2", "rho", "ema_momentum")
    },
    "optimizer.epsilon": Setting(kinds.POSITIVE_OR_ZERO, "as Keras has it"),
    **{
        f"optimizer.{name}": Setting(kinds.SWITCH, "as Keras has it")
        for name in ("nesterov", "amsgrad", "centered", "use_ema")
    },
}
