"""All diagnostics of a meta-batch in one call."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from metalearn.diagnostics.angles import Metrics
from metalearn.diagnostics.conflicts import conflicts
from metalearn.diagnostics.inner import Path, of_one_task, summary
from metalearn.diagnostics.order import order
from metalearn.estimators import Estimator, checkpointed, first_order
from metalearn.estimators.backward import cut, reverse
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import counted
from metalearn.problems.learner import Learner, meta_gradient
from metalearn.problems.stored import Cache, Stored, program
from metalearn.types import Meta, Seed, Task


def diagnose(
    learner: Learner,
    meta: Meta,
    tasks: Task,
    seed: Seed = (0, 0),
    *,
    lanczos_iterations: int = 8,
    reference: Estimator | None = None,
    cache: Cache | None = None,
) -> Metrics:
    """Return diagnostics of the meta-gradient and the inner loop of one meta-batch.

    The keys are those of :func:`metalearn.diagnostics.order.order` (for the exact, the first-order and the
    learner's own meta-gradient), :func:`metalearn.diagnostics.conflicts.conflicts` (for the learner's own
    meta-gradient of each task) and :func:`metalearn.diagnostics.inner.inner_loop`;
    :data:`metalearn.diagnostics.MEANINGS` explains them. They depend on the learner and on whether T is 1,
    not on values.

    It is a pure function for eager mode and ``tf.function``. It is not compiled with XLA, which takes longer
    than is saved in few calls. It costs two meta-gradients (three unless the learner's
    estimator is one of the two), an inner loop, and ``lanczos_iterations`` Hessian-vector products for each
    task (twice as many if rates differ). Tasks are processed one after the other for every mapping of the
    learner, because such a program is built in a fraction of the time.

    Args:
        learner: the learner, whose estimator is compared with the exact one.
        meta: meta-parameters, as returned by ``learner.initialize``.
        tasks: leaves ``[T, N, ...]``, with T known.
        seed: ``(seed of the run, iteration)``, as for ``learner.meta_gradient``; also the seed of the
            starting vector of the Lanczos iteration.
        lanczos_iterations: at least 1; largest eigenvalues are lower bounds, which are tighter with more
            iterations.
        reference: the exact estimator; ``checkpointed()`` by default.
        cache: traced programs that diagnoses share, see :class:`metalearn.MetaTrainer`; None for no cache.

    Returns:
        Scalars ``[]`` of the type of the meta-parameters. Non-finite values are not hidden.

    Raises:
        ValueError: if T is unknown; if the model has layers with wrong second derivatives, which the exact
            meta-gradient needs, naming them and the remedy; if the reference cannot differentiate an
            operation, naming it; and the errors of ``learner.meta_gradient``.
    """
    stored = None if cache is None else Stored(cache, learner, meta, tasks)
    settings = lanczos_iterations, reference or checkpointed()
    return program(learner, _diagnosis, *settings, jit_compile=False, stored=stored)(meta, tasks, seed)


def _diagnosis(
    learner: Learner,
    lanczos_iterations: int,
    reference: Estimator,
    meta: Meta,
    tasks: Task,
    seed: Seed,
) -> Metrics:
    measured = _measured(learner, lanczos_iterations, reference, meta, tasks, seed)
    gradients = measured.exact, measured.first_order, measured.own
    exact, first, own = tf.nest.map_structure(lambda leaf: tf.reduce_mean(leaf, 0), gradients)
    return {**order(exact, first, own), **conflicts(measured.own), **summary(measured.paths)}


class Measured(NamedTuple):
    """The measurements from which diagnostics are computed.

    Attributes:
        exact: the exact meta-gradient of each task, leaves ``[T, ...]``, as for the others.
        first_order: its first-order part.
        own: the meta-gradient of the learner's own estimator.
        paths: the measurements of the inner loops.
    """

    exact: Meta
    first_order: Meta
    own: Meta
    paths: Path


def _measured(
    learner: Learner,
    lanczos_iterations: int,
    reference: Estimator,
    meta: Meta,
    tasks: Task,
    seed: Seed,
) -> Measured:
    # Outside the graph that is being traced, because a learner stores tensors.
    with tf.init_scope():
        exact = _with(learner, estimator=reference)
    seed = tf.convert_to_tensor(seed)
    problem, phi, posed = exact.posed(meta, counted(tasks), seed)
    alone = _with(problem, mapping="sequential")

    def of_one(task: Task) -> tuple[dict[str, Meta], Path]:
        one = tf.nest.map_structure(lambda leaf: tf.expand_dims(leaf, 0), task)
        carry = exact.estimator.init(alone, phi, one)
        # Leaves on which only inner gradients depend have a first-order part of zero.
        first = reverse(alone, phi, one, [(alone.steps, cut)], zero_unreached=True)
        gradients = {
            "exact": exact.estimator(alone, phi, one, carry, seed)[0].gradient,
            "first_order": first.gradient,
        }
        return gradients, of_one_task(alone, phi, task, seed=seed, iterations=lanczos_iterations)

    found, paths = map_tasks(of_one, posed, mapping="sequential")
    known = {"exact": exact.estimator, "first_order": first_order()}
    same = [name for name, estimator in known.items() if estimator == learner.estimator]
    own = found[same[0]] if same else meta_gradient(learner, meta, tasks, seed).per_task
    return Measured(found["exact"], found["first_order"], own, paths)


def _with(record: Any, **changes: Any) -> Any:
    """Return a learner or a problem, which are frozen records, with other settings."""
    return dataclasses.replace(record, **changes)
