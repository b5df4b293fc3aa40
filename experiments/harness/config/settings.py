"""Declarations of all settings of all commands: the kind of each, and its purpose in a line.

Defaults are in ``conf/``, where they are composed, and where the settings of a paper have their page. They
are not repeated here.

Settings of objects of this package and of Keras (task, model, rule, estimator, optimizer) are declared by
name, for all objects that have them. Constructors decide which settings an object has, and check those that
are not declared here.
"""

from __future__ import annotations

from typing import Any

from . import kinds
from .kinds import Kind, Setting, either, one_of, optional
from .problem_settings import PROBLEM
from .task_settings import TASK

BACKENDS = {
    "wandb": ("mode", "project", "group", "name", "interval", "histogram_interval"),
    "tensorboard": ("interval", "histogram_interval"),
    "none": (),
}
"""The settings of each tracker."""

MODES = ("offline", "online", "disabled")

_LEARNABLE = either(kinds.POSITIVE, kinds.OBJECT)
_MOMENTUM = either(kinds.FRACTION, kinds.OBJECT)
_HYPERPARAMETER = either(kinds.POSITIVE_OR_ZERO, kinds.OBJECT)

_DECAYS = {
    "momentum": "fraction of the previous update that is kept",
    "beta_1": "decay of the mean of gradients",
    "beta_2": "decay of the mean of squared gradients",
    "rho": "decay of the mean of squared gradients",
}
_TERMS = {
    "epsilon": "added to the denominator",
    "weight_decay": "of parameters, decoupled from the gradient",
    "initial_accumulator_value": "sum of squared gradients at the start",
}
_VARIANTS = {
    "amsgrad": "divide by the largest mean of squared gradients so far",
    "centered": "divide by the variance of gradients",
}
"""Settings of rules and of optimizers, which have the same names."""

SETTINGS: dict[str, Setting] = {
    "name": Setting(kinds.FOLDER_NAME, "of the experiment: runs are kept in <paths.runs>/<name>/<id>"),
    "label": Setting(kinds.TEXT, "name of the run in tables and figures; does not affect results"),
    "seed": Setting(kinds.SEED, "of the initial parameters and of the training tasks"),
    "packages": Setting(
        kinds.PACKAGES,
        "that are trusted: a configuration may name their definitions; changes no result",
    ),
    "callbacks": Setting(
        kinds.OBJECTS, "called during training, from your packages, see metalearn.callbacks"
    ),
    "problem": Setting(
        optional(kinds.OBJECT), "that returns a learner, instead of model, rule, estimator and learner"
    ),
    **PROBLEM,
    "learner.loss": Setting(
        either(kinds.TEXT, kinds.OBJECT),
        "of the inner and the outer problem: mse, cross_entropy, or a function of yours, mylab.losses.huber",
    ),
    "learner.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps while training; 0 is ordinary training"),
    "learner.adapted": Setting(
        kinds.TEXT, "parameters that the inner loop updates: all, head, body, context or a glob"
    ),
    "learner.proximal": Setting(kinds.POSITIVE_OR_ZERO, "strength of the proximal term in the inner loss"),
    "learner.head": Setting(optional(kinds.OBJECT), "solver of the last layer before the first inner step"),
    "learner.step_weights": Setting(optional(kinds.OBJECT), "weights of the inner steps in the meta-loss"),
    "learner.mapping": Setting(
        one_of("auto", "vectorized", "sequential"), "over tasks; auto chooses by the model"
    ),
    "learner.statistics": Setting(
        optional(one_of("batch", "support", "moving", "per_step", "per_step_affine")),
        "that layers with batch statistics normalise by",
    ),
    "learner.metrics": Setting(kinds.METRICS, "reported with the query loss: accuracy, mylab.metrics.bias"),
    "learner.attack": Setting(optional(kinds.OBJECT), "of the queries while training, metalearn.attacks.pgd"),
    "training.iterations": Setting(kinds.COUNT, "updates of the meta-parameters"),
    "training.meta_batch_size": Setting(kinds.COUNT, "tasks of an iteration"),
    "training.workers": Setting(kinds.COUNT, "processes that share the tasks of an iteration"),
    "training.loss_interval": Setting(
        kinds.COUNT, "iterations between those with the losses before and after adaptation"
    ),
    "training.clip_task_value": Setting(optional(kinds.POSITIVE), "largest entry of a task's meta-gradient"),
    "training.clip_task_norm": Setting(optional(kinds.POSITIVE), "largest length of a task's meta-gradient"),
    "training.carry": Setting(
        optional(either(kinds.COUNT, one_of("forever"))),
        "iterations through which an inner loop is continued before it restarts",
    ),
    "training.jit_compile": Setting(optional(kinds.SWITCH), "with XLA; null chooses by the model"),
    "evaluation.tasks": Setting(kinds.TWO_OR_MORE, "number of held-out tasks, the same for every algorithm"),
    "evaluation.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps"),
    "evaluation.seed": Setting(kinds.SEED, "of the list of tasks"),
    "evaluation.queries_at_once": Setting(
        either(kinds.COUNT, one_of("all", "class")), "of a task, which form a batch for batch normalisation"
    ),
    "evaluation.task": Setting(
        optional(Kind("a section of settings of the task", dict[str, Any])),
        "what differs from the training tasks",
    ),
    "evaluation.rule": Setting(
        optional(Kind("a section of settings of the rule", dict[str, Any])),
        "what differs from the inner rule in training",
    ),
    "evaluation.attacks": Setting(
        optional(kinds.OBJECT), "for which metrics are also reported: metalearn.attacks.pgd_at"
    ),
    "validation.interval": Setting(optional(kinds.COUNT), "iterations between validations"),
    "validation.tasks": Setting(
        kinds.TWO_OR_MORE, "tasks that are neither of training nor of the evaluation"
    ),
    "validation.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps before the validation loss"),
    "validation.seed": Setting(kinds.SEED, "of the list of tasks; not that of the evaluation"),
    "validation.task": Setting(
        optional(Kind("a section of settings of the task", dict[str, Any])),
        "what differs from the training tasks",
    ),
    "diagnostics.interval": Setting(
        optional(kinds.COUNT), "iterations between diagnoses of the meta-gradient"
    ),
    "diagnostics.horizon": Setting(kinds.SWITCH, "draw where cotangents grow, and variance at equal cost"),
    "tracking.backend": Setting(one_of(*BACKENDS), "service or file format that a run is logged to"),
    "tracking.mode": Setting(one_of(*MODES), "of Weights & Biases; offline needs no account"),
    "tracking.project": Setting(kinds.TEXT, "of Weights & Biases"),
    "tracking.group": Setting(optional(kinds.TEXT), "of runs; in a sweep, its folder's name"),
    "tracking.name": Setting(
        optional(kinds.TEXT), "of the run, before its id; null for algorithm and task, in a sweep what varies"
    ),
    "tracking.interval": Setting(kinds.COUNT, "iterations that are averaged in one logged point"),
    "tracking.histogram_interval": Setting(kinds.COUNT, "iterations between histograms of the meta-gradient"),
    "run.checkpoint_seconds": Setting(kinds.POSITIVE, "time between checkpoints"),
    "run.fresh": Setting(kinds.SWITCH, "start a new run even if one exists"),
    "run.resume": Setting(one_of("same", "changed"), "changed: resume a run that other code has started"),
    "run.check_derivatives": Setting(
        kinds.SWITCH, "compare derivatives with differences, and the compiled program with eager mode"
    ),
    "paths.data": Setting(kinds.PATH, "folder of sets of images"),
    "paths.runs": Setting(kinds.PATH, "folder that all runs are kept in"),
    **TASK,
    "model.input_size": Setting(kinds.COUNT, "numbers of an input"),
    "model.output_size": Setting(kinds.COUNT, "numbers of an output"),
    "model.hidden": Setting(kinds.COUNTS, "widths of the hidden layers"),
    "model.image": Setting(kinds.COUNTS, "height, width and channels of an image"),
    "model.ways": Setting(kinds.TWO_OR_MORE, "classes, the length of an output"),
    "model.filters": Setting(either(kinds.COUNT, kinds.COUNTS), "of each convolution, or of each block's"),
    "model.average": Setting(kinds.SWITCH, "features are means over the image"),
    "model.reduce": Setting(one_of("stride", "pool"), "how a block halves the image"),
    "model.output": Setting(one_of("glorot_uniform", "zeros"), "initializer of the last kernel"),
    "model.activation": Setting(kinds.TEXT, "of the hidden layers, a name that Keras knows"),
    "model.context": Setting(kinds.COUNT, "number of context parameters"),
    "model.dtype": Setting(optional(kinds.TEXT), "of parameters and arithmetic; null for Keras' floatx"),
    "rule.learning_rate": Setting(_LEARNABLE, "of the inner steps"),
    "rule.adapted": Setting(kinds.SWITCH, "also adapt the learned matrices in the inner loop"),
    "rule.hyper_rate": Setting(kinds.POSITIVE_OR_ZERO, "of the descent of the learning rate"),
    "rule.hidden": Setting(kinds.COUNTS, "widths of the hidden layers of the learned network"),
    "rule.units": Setting(kinds.COUNT, "of each recurrent layer"),
    "rule.layers": Setting(kinds.COUNT, "recurrent layers"),
    "rule.preprocessing": Setting(kinds.POSITIVE, "negative logarithm of the smallest gradient that counts"),
    "rule.decays": Setting(kinds.FRACTIONS, "decays of the means of gradients"),
    "rule.second_decay": Setting(kinds.BELOW_ONE, "decay of the mean of squared gradients"),
    "rule.scale": Setting(kinds.POSITIVE, "of the outputs of the learned network"),
    "rule.rule": Setting(kinds.OBJECT, "that is wrapped"),
    "rule.limit": Setting(_LEARNABLE, "of the clipping"),
    "rule.rate": Setting(_HYPERPARAMETER, "of the decay, times the learning rate"),
    **{f"rule.{name}": Setting(_MOMENTUM, text) for name, text in _DECAYS.items()},
    **{f"rule.{name}": Setting(_HYPERPARAMETER, text) for name, text in _TERMS.items()},
    **{f"rule.{name}": Setting(kinds.SWITCH, text) for name, text in _VARIANTS.items()},
    "estimator.checkpoints": Setting(
        either(one_of("all", "sqrt", "log"), kinds.COUNT),
        "states of the inner loop that are stored at a time",
    ),
    "estimator.windows": Setting(
        optional(kinds.COUNT), "iterations after which an inner loop restarts; null for never"
    ),
    "estimator.warm_start": Setting(kinds.SWITCH, "start the solver from its previous solution"),
    "estimator.sigma": Setting(kinds.POSITIVE, "standard deviation of the perturbations"),
    "estimator.pairs": Setting(kinds.COUNT, "antithetic pairs of each task"),
    "estimator.limit": Setting(kinds.COUNT, "largest number of scalars in the meta-parameters"),
    "estimator.solver": Setting(kinds.TEXT, "conjugate_gradient or neumann"),
    "estimator.iterations": Setting(kinds.COUNT, "of the solver, or of the annealing"),
    "estimator.damping": Setting(kinds.POSITIVE_OR_ZERO, "added to the diagonal of the Hessian"),
    "estimator.scale": Setting(optional(kinds.POSITIVE), "of the Neumann series"),
    "estimator.window": Setting(
        kinds.COUNT_OR_ZERO, "inner steps at the end that are differentiated exactly"
    ),
    "estimator.of": Setting(
        one_of("loss", "step"), "solution is a minimum of the loss, or a fixed point of the step"
    ),
    "estimator.fraction": Setting(kinds.FRACTION, "of the iterations, in which the estimator is annealed"),
    "estimator.first": Setting(kinds.OBJECT, "estimator before the annealing"),
    "estimator.then": Setting(kinds.OBJECT, "estimator after the annealing"),
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
    **{f"optimizer.{name}": Setting(kinds.FRACTION, text) for name, text in _DECAYS.items()},
    **{f"optimizer.{name}": Setting(kinds.POSITIVE_OR_ZERO, text) for name, text in _TERMS.items()},
    "optimizer.weight_decay": Setting(optional(kinds.POSITIVE_OR_ZERO), _TERMS["weight_decay"]),
    **{f"optimizer.{name}": Setting(kinds.SWITCH, text) for name, text in _VARIANTS.items()},
    "optimizer.nesterov": Setting(kinds.SWITCH, "Nesterov's momentum"),
    "optimizer.use_ema": Setting(kinds.SWITCH, "keep a moving average of the meta-parameters"),
    "optimizer.ema_momentum": Setting(kinds.FRACTION, "decay of that average"),
    "optimizer.ema_overwrite_frequency": Setting(
        kinds.COUNT, "number of iterations after which that average replaces the meta-parameters"
    ),
}
"""Settings of a training."""

_WRITE = "file into which the tables are written, between <!-- {0}:begin --> and <!-- {0}:end -->"

_MEASURED = {
    "inner_steps": Setting(kinds.COUNTS, "numbers of inner steps to measure"),
    "rounds": Setting(kinds.COUNT, "rounds, in each of which all programs are measured in turn"),
}


def _of(*beginnings: str) -> dict[str, Setting]:
    return {path: setting for path, setting in SETTINGS.items() if path.startswith(beginnings)}


TAKEN: dict[str, dict[str, Setting]] = {
    "train": SETTINGS,
    "check_gradients": _of(
        *("seed", "packages", "problem", "task.", "model.", "rule.", "estimator.", "learner."),
        "training.meta_batch_size",
    ),
    "evaluate": {"run": Setting(kinds.PATH, "folder of a run"), **_of("packages", "evaluation.", "task.")},
    "reproduce": {
        "run": Setting(kinds.PATH, "folder of a run, or one with runs in it"),
        "until": Setting(optional(kinds.COUNT), "iterations to compare; null for all"),
        **_of("packages"),
    },
    "report": {
        "runs": Setting(kinds.PATH, "folder with runs in it"),
        "baseline": Setting(kinds.TEXT, "label of the runs that others are compared with, task by task"),
        "write": Setting(optional(kinds.PATH), _WRITE.format("report")),
        "formats": Setting(kinds.FORMATS, "of figures; the page always has SVG"),
        **_of("packages"),
    },
    "audit_keras": {"write": Setting(optional(kinds.PATH), _WRITE.format("audit"))},
    "benchmark": {
        "device": Setting(one_of("cpu", "gpu"), "that programs run on: the CPU, or the first GPU"),
        **{f"training.{name}": setting for name, setting in _MEASURED.items()},
        "training.width": Setting(kinds.COUNT, "of the two hidden layers"),
        **{f"steps.{name}": setting for name, setting in _MEASURED.items()},
        "steps.width": Setting(kinds.COUNT, "of the two hidden layers"),
        **{f"sizes.{name}": setting for name, setting in _MEASURED.items()},
        "sizes.width": Setting(kinds.COUNTS, "of hidden layers, of which there are two otherwise"),
        "sizes.depth": Setting(kinds.COUNTS, "numbers of hidden layers, which have 40 units otherwise"),
        "sizes.examples": Setting(kinds.COUNTS, "of support and of query, 10 otherwise"),
        "sizes.tasks": Setting(kinds.COUNTS, "of an iteration, 25 otherwise"),
        **{f"images.{name}": setting for name, setting in _MEASURED.items()},
        "images.shots": Setting(kinds.COUNTS, "support images of a class"),
        **{f"bilevel.{name}": setting for name, setting in _MEASURED.items()},
        "bilevel.examples": Setting(kinds.COUNT, "half for the inner, half for the outer loss"),
        **{f"estimators.{name}": setting for name, setting in _MEASURED.items()},
        "estimators.widths": Setting(kinds.COUNTS, "of the two hidden layers"),
        **{f"start.{name}": setting for name, setting in _MEASURED.items()},
        "workers.counts": Setting(kinds.COUNTS, "numbers of workers that share a training on images"),
        "workers.iterations": Setting(kinds.COUNT, "of that training"),
        "workers.rounds": Setting(kinds.COUNT, "trainings by each number of workers"),
        "limit_seconds": Setting(kinds.POSITIVE, "for a program to import and compile"),
        "paths.runs": Setting(kinds.PATH, "folder that the measurements are kept in"),
    },
}
"""The settings of each command that have an effect."""
