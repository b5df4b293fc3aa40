"""Adapted parameters, predictions and Keras models from the meta-parameters of a Keras model."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn.execution.choice import differentiable_maps
from metalearn.execution.programs import traced_once
from metalearn.execution.task_map import map_tasks
from metalearn.nest import matched, names
from metalearn.nn import functional
from metalearn.nn.cloning import clone
from metalearn.problems.keras_problem import KerasProblem
from metalearn.types import Adaptation, Batch, Inner, Meta, Parameters, Rule, Structure, Task, TaskMapping


def completed(
    functions: KerasProblem, phi: Meta, inner: Inner, losses: tf.Tensor, inputs: Structure
) -> Adaptation:
    """Return the outcome of inner loops, with shared parameters repeated for each task."""
    tasks = tf.shape(losses)[0]
    shared = {
        key: tf.repeat(value[None], tasks, axis=0)
        for key, value in functions.complete(phi).items()
        if key not in inner.parameters
    }
    return Adaptation({**shared, **inner.parameters}, losses, inner.model, inputs)


def observed(
    functions: KerasProblem, phi: Meta, tasks: Task, inner: Inner, mapping: TaskMapping
) -> Structure:
    """Return the mean over the tasks of the moving statistics after their inner loops."""
    of_tasks = map_tasks(
        lambda task, inner: functions.observed(phi, task, inner),
        tasks,
        inner._replace(step=()),
        mapping=mapping,
    )
    return tf.nest.map_structure(lambda leaf: tf.reduce_mean(leaf, 0), of_tasks)


def predicted(
    functions: KerasProblem,
    adapted: Adaptation | Parameters,
    inputs: Structure,
    mapping: TaskMapping,
    statistics: str | None,
) -> Structure:
    """Return outputs for the inputs of every task; see :meth:`metalearn.MetaLearner.predict`."""
    needs_support = functions.mode.needs_support
    if not isinstance(adapted, Adaptation):
        if needs_support or functions.keeps_state:
            raise ValueError(
                f"with statistics={statistics!r} outputs depend on more than parameters: pass the result of "
                "adapt"
            )
        adapted = Adaptation(adapted, tf.zeros([1]), (), ())
    require_task_axis(functions, "inputs", inputs)
    support = adapted.inputs if needs_support else ()
    return traced_once(functions, _answers, mapping)(adapted.parameters, adapted.model, support, inputs)


def _answers(functions: KerasProblem, mapping: TaskMapping, *of_tasks: Structure) -> Structure:
    with differentiable_maps():
        return map_tasks(lambda *of_one: functions.answer(*of_one)[0], *of_tasks, mapping=mapping)


def require_task_axis(functions: KerasProblem, what: str, examples: Structure) -> None:
    """Raise ValueError, with the remedy, if examples have no axis of tasks."""
    inputs = examples.inputs if isinstance(examples, Batch) else examples
    if _leading_axes(functions, inputs) == 0:
        raise ValueError(
            f"{what}: the inputs have the shape {_shapes(inputs)}, which for this model are the examples of "
            "one task, [N, ...], but a leading axis of tasks is needed, [T, N, ...]. For a single task "
            f"give tf.nest.map_structure(lambda x: x[None], {what}), and take [0] of the result"
        )


def require_single_task(functions: KerasProblem, support: Batch) -> None:
    """Raise ValueError, with the remedy, if a support has an axis of tasks."""
    if _leading_axes(functions, support.inputs) == 1:
        raise ValueError(
            "support: the inputs have the shape "
            f"{_shapes(support.inputs)}, with an axis of tasks, but one Keras model is adapted to one task, "
            "[N, ...]: give tf.nest.map_structure(lambda x: x[0], support)"
        )


def _leading_axes(functions: KerasProblem, inputs: Structure) -> int | None:
    """Return the number of axes that inputs have beyond those of the model; None if it cannot be known."""
    known = [spec.shape for spec in tf.nest.flatten(functions.input_spec)]
    given = [tf.convert_to_tensor(leaf).shape for leaf in tf.nest.flatten(inputs)]
    ranks = {
        shape.rank - spec.rank
        for shape, spec in zip(given, known, strict=False)
        if shape.rank is not None and spec[1:].is_compatible_with(shape[shape.rank - spec.rank + 1 :])
    }
    return ranks.pop() if len(given) == len(known) and len(ranks) == 1 else None


def _shapes(inputs: Structure) -> str:
    return ", ".join(str(tf.convert_to_tensor(leaf).shape) for leaf in tf.nest.flatten(inputs))


def exported(functions: KerasProblem, meta: Meta, state: Structure, fitted: Adaptation | None) -> keras.Model:
    """Return a copy of the model at theta_0, or at the end of the only inner loop of ``fitted``.

    Args:
        functions: those of the learner.
        meta: phi.
        state: the moving statistics at the start of inner loops.
        fitted: the result of adapting to one task, leaves ``[1, ...]``; None for theta_0.

    Raises:
        ValueError: naming the parameters that differ from the model's, or the head that is not a layer.
    """
    model, mode = functions.model, functions.mode
    if fitted is not None and functions.head is not None and functions.head.attends:
        raise ValueError(
            f"the head {functions.head!r} uses the examples of a support, which no layer of the model "
            "stores: use learner.predict(learner.adapt(meta, support), inputs)"
        )
    if fitted is None:
        parameters, step, inputs = functions.complete(meta), 0, ()
    else:
        parameters, _, carried, inputs = tf.nest.map_structure(lambda leaf: leaf[0], fitted)
        state, step = carried if functions.keeps_state else ((), 0)
    parameters = mode.at(parameters, step)
    parameters = matched("meta with what is not learned", parameters, functional.parameters(model))
    statistics = mode.query_statistics(model, parameters, state, inputs, step)
    return clone(model, {**parameters, **statistics})


def imported(functions: KerasProblem, model: keras.Model, rule: Rule) -> tuple[Meta, Structure]:
    """Return phi and the moving statistics of a Keras model.

    Raises:
        ValueError: naming the parameters that differ from the learner's model, or the meta-parameters that a
            Keras model does not have.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"from_keras takes a Keras model, got {type(model).__name__}")
    own, taken = (
        {"parameters": functional.parameters(each), "state": functional.state(each)}
        for each in (functions.model, model)
    )
    parameters = matched("the Keras model", taken, own)["parameters"]
    phi, state = functions.phi(parameters, rule), functions.mode.initial(model)
    more = [name for name in names(phi) if not name.startswith("parameters/")]
    more += (
        [f"statistics/{key}" for key, leaf in state.items() if leaf.shape != own["state"][key].shape]
        if state
        else []
    )
    if more:
        raise ValueError(
            f"a Keras model does not have all meta-parameters: they also have {', '.join(more)}: "
            'save and load them as ".npz"'
        )
    return phi, state
