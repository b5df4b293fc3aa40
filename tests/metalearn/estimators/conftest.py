"""Two problems for tests of all estimators, with derivatives that are independent of the package."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

CURVATURE, LINEAR = np.array([1.0, 2.0, 4.0]), np.ones(3)
TARGET = np.array([0.3, -0.5, 0.9])
START = np.array([0.5, 0.1, -0.2])


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """Inner ``p'Hp/2 - b'p + proximal/2 |p - p0|^2``, outer ``p'p/2 - q'p``, H diagonal, gradient descent.

    H and b are a task's support inputs and targets, with a leading axis of mini-batches if there are
    several; q is its query targets.
    """

    steps: int
    proximal: float = 0.0
    rate: float = 0.1
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def problem(self):
        """The bilevel problem."""

        def inner_loss(theta, meta, batch, model):
            p, start = theta["p"], meta["parameters"]["p"]
            loss = tf.reduce_sum(batch.inputs * tf.square(p) / 2 - batch.targets * p)
            return loss + self.proximal / 2 * tf.reduce_sum(tf.square(p - start)) if self.proximal else loss

        return ml.BilevelProblem(
            start=lambda meta, task: {"p": meta["parameters"]["p"]},
            inner_loss=inner_loss,
            outer_loss=lambda theta, meta, task, model: tf.reduce_sum(
                tf.square(theta["p"]) / 2 - task.query.targets * theta["p"]
            ),
            rule=ml.rules.sgd(self.rate),
            steps=self.steps,
            **self.options,
        )

    def path(self, task, start, exact_from=0):
        """Return p_K and ``d p_K / d p_0``, inner gradients before step ``exact_from`` constant."""
        curvature, linear = (np.reshape(leaf, (-1, 3)) for leaf in task.support)
        p, jacobian = start, np.ones(3)
        for step in range(self.steps):
            h, b = curvature[step % len(curvature)], linear[step % len(curvature)]
            if step >= exact_from:
                jacobian = jacobian - self.rate * ((h + self.proximal) * jacobian - self.proximal)
            p = p - self.rate * (h * p - b + self.proximal * (p - start))
        return p, jacobian

    def loss(self, task, start):
        """Return the meta-loss of a task."""
        p, _ = self.path(task, start)
        return np.sum(np.square(p) / 2 - task.query.targets * p)


@pytest.fixture(scope="session")
def quadratic():
    """Return the class :class:`Quadratic`."""
    return Quadratic


@pytest.fixture(scope="session")
def published():
    """Return the task and the start of the project's design notes, section 6: ``(meta, tasks)``."""
    batches = [
        ml.Batch(tf.constant(inputs[None]), tf.constant(targets[None]))
        for inputs, targets in ((CURVATURE, LINEAR), (TARGET, TARGET))
    ]
    return {"parameters": {"p": tf.constant(START)}, "rule": {}}, ml.Task(*batches)


@pytest.fixture(scope="session")
def quadratic_tasks():
    """Return a function: ``(number of tasks, mini-batches or None) -> tasks``, random."""

    def draw(tasks, batches=None):
        random = np.random.default_rng(3)
        support = (tasks, 3) if batches is None else (tasks, batches, 3)
        return ml.Task(
            ml.Batch(
                tf.constant(random.uniform(0.5, 4, size=support)), tf.constant(random.normal(size=support))
            ),
            ml.Batch(tf.zeros((tasks, 3), tf.float64), tf.constant(random.normal(size=(tasks, 3)))),
        )

    return draw


@pytest.fixture(scope="session")
def one_task():
    """Return a function: ``(tasks, index) -> the task of that index, in NumPy``."""
    return lambda tasks, index: tf.nest.map_structure(lambda leaf: leaf[index].numpy(), tasks)


@pytest.fixture(scope="session")
def network():
    """Return a function that gives a small tanh network as a bilevel problem, and a phi for it.

    ``(rule, steps, **options) -> (problem, meta)``; phi has theta_0, what the rule learns and the logarithm
    of a regulariser in the inner loss. 12 parameters, float64.
    """

    def outputs(theta, inputs):
        return tf.tanh(inputs @ theta["first"] + theta["bias"]) @ theta["second"]

    def build(rule, steps, **options):
        def inner_loss(theta, meta, batch, model):
            decay = tf.add_n([tf.reduce_sum(tf.square(leaf)) for leaf in theta.values()])
            return ml.losses.mse(batch.targets, outputs(theta, batch.inputs)) + tf.exp(meta["decay"]) * decay

        problem = ml.BilevelProblem(
            start=lambda meta, task: meta["parameters"],
            inner_loss=inner_loss,
            outer_loss=lambda theta, meta, task, model: ml.losses.mse(
                task.query.targets, outputs(theta, task.query.inputs)
            ),
            rule=rule,
            steps=steps,
            **options,
        )
        random = np.random.default_rng(0)
        shapes = {"first": (1, 4), "bias": (4,), "second": (4, 1)}
        parameters = {key: tf.constant(random.normal(size=shape)) for key, shape in shapes.items()}
        decay = tf.constant(-2.0, tf.float64)
        return problem, {
            "parameters": parameters,
            "rule": rule.learnable(parameters),
            "decay": decay,
        }

    return build
