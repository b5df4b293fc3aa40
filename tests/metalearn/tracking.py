"""A bilevel problem in which every part of the inner loop's state has an effect, and the same in NumPy."""

import dataclasses

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.types import Inner

RATE, BETA_1, BETA_2, EPSILON = 0.05, 0.9, 0.999, 1e-7
W0 = np.array([0.5, -0.3, 0.8])
DECAY = -1.5


@dataclasses.dataclass(frozen=True)
class Tracking:
    """Adam on ``w``, with a model whose state is a moving mean of ``w`` and a number of calls.

    ::

        inner  (1 + mean/2) sum a (w - b)^2 / 2 + exp(decay) |w|^2 / 2      mean' = 0.7 mean + 0.3 average(w)
        outer  (1 + mean) |w - q|^2 / (1 + calls)                           calls' = calls + 1

    phi is ``{"w": theta_0, "decay": ...}``, or theta_0 alone. A task's support is ``(a, b)``, each ``[S, 3]``
    if ``slices`` is S, else ``[3]``; its query is q.
    """

    steps: int
    slices: int | None = None
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def problem(self):
        """The bilevel problem."""

        def inner_loss(theta, phi, batch, model):
            (a, b), w = batch, theta["w"]
            loss = (1 + model["mean"] / 2) * tf.reduce_sum(a * tf.square(w - b)) / 2
            loss += tf.exp(phi.get("decay", tf.constant(DECAY, tf.float64))) * tf.reduce_sum(tf.square(w)) / 2
            mean = 0.7 * model["mean"] + 0.3 * tf.reduce_mean(w)
            return loss, {"mean": mean, "calls": model["calls"] + 1}

        def outer_loss(theta, phi, task, model):
            distance = tf.reduce_sum(tf.square(theta["w"] - task.query))
            calls = tf.cast(model["calls"], tf.float64)
            return (1 + model["mean"]) * distance / (1 + calls), {"distance": distance, "calls": calls}

        options = dict(self.options)
        if self.slices:
            options |= {"batch": ml.problems.slices(self.slices), "batches": self.slices}
        return ml.BilevelProblem(
            start=lambda phi, task: Inner(
                {"w": phi["w"]}, model={"mean": tf.constant(0.1, tf.float64), "calls": tf.constant(0)}
            ),
            inner_loss=inner_loss,
            outer_loss=outer_loss,
            rule=ml.rules.adam(RATE, BETA_1, BETA_2, EPSILON),
            steps=self.steps,
            **options,
        )

    def tasks(self, count=2):
        """Return random tasks."""
        random, shape = np.random.default_rng(5), (self.slices, 3) if self.slices else (3,)
        support = (random.uniform(0.5, 2, size=(count, *shape)), random.normal(size=(count, *shape)))
        return tf.nest.map_structure(tf.constant, ml.Task(support, random.normal(size=(count, 3))))

    def by_hand(self, task, steps, w=W0, decay=DECAY, state=None):
        """Return the meta-loss of one task (NumPy), and the inner state, after so many steps.

        They begin at ``w``, or go on from a state as it is returned. Complex numbers may go in:
        ``imag(L(phi + i h)) / h`` is then the derivative, without cancellation.
        """
        a, b = (np.reshape(leaf, (-1, 3)) for leaf in task.support)
        momentum = velocity = np.zeros(3)
        mean, calls = 0.1, 0
        if state is not None:
            w, momentum, velocity, mean, calls = state.values()
        for step in range(calls, calls + steps):
            here = step % len(a)
            gradient = (1 + mean / 2) * a[here] * (w - b[here]) + np.exp(decay) * w
            mean, calls = 0.7 * mean + 0.3 * np.mean(w), calls + 1
            momentum = BETA_1 * momentum + (1 - BETA_1) * gradient
            velocity = BETA_2 * velocity + (1 - BETA_2) * gradient**2
            rate = RATE * np.sqrt(1 - BETA_2 ** (step + 1)) / (1 - BETA_1 ** (step + 1))
            w = w - rate * momentum / (np.sqrt(velocity) + EPSILON)
        distance = np.sum((w - task.query) ** 2)
        state = {"w": w, "momentum": momentum, "velocity": velocity, "mean": mean, "calls": calls}
        return (1 + mean) * distance / (1 + calls), state

    def slopes(self, task, steps):
        """Return the derivatives of the meta-loss of one task with respect to ``w`` and ``decay``."""
        directions = [(W0 + 1e-30j * unit, DECAY) for unit in np.eye(3)] + [(W0, DECAY + 1e-30j)]
        found = [self.by_hand(task, steps, w, decay)[0].imag / 1e-30 for w, decay in directions]
        return np.array(found[:3]), found[3]


def phi(*, decay=True):
    """Return the meta-parameters."""
    start = {"w": tf.constant(W0)}
    return {**start, "decay": tf.constant(DECAY, tf.float64)} if decay else start


def one(tasks, index):
    """Return one of the tasks, in NumPy."""
    return tf.nest.map_structure(lambda leaf: leaf[index].numpy(), tasks)
