"""Linear regression as a learner, and its diagnostics in NumPy."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nest import names


def cosine(left, right):
    """Return the cosine of two vectors."""
    return left @ right / (np.linalg.norm(left) * np.linalg.norm(right))


@dataclasses.dataclass(frozen=True)
class Linear:
    """``y = kernel'x + bias`` with a mean squared error and a rate per element, and its diagnostics by hand.

    With ``X = [1, x]``, the bias first as names are sorted: ``H = 2 X'X / N`` on the support, gradient
    ``g_k = H w_k - 2 X'y / N``, ``w_{k+1} = w_k - R g_k``, and ``q`` the query gradient at ``w_K``.
    """

    model: keras.Model
    rule: ml.types.Rule
    steps: int = 2

    def learner(self, **options):
        """Return the learner."""
        return ml.MetaLearner(self.model, ml.losses.mse, self.rule, self.steps, **options)

    def meta(self, weights=(0.2, 0.3, -0.7), rates=(0.02, 0.05, 0.11)):
        """Return phi: weights, and rates if they are learned."""

        def pack(values):
            shapes = {key: value.shape for key, value in ml.functional.parameters(self.model).items()}
            parts = dict(zip(sorted(shapes), np.split(np.array(values, float), [1]), strict=True))
            return {key: tf.reshape(tf.constant(parts[key]), shape) for key, shape in shapes.items()}

        learned = self.rule.learnable(pack(weights))
        return {"parameters": pack(weights), "rule": {"learning_rate": pack(rates)} if learned else {}}

    def tasks(self, count=4):
        """Return random tasks in the shape that the model takes."""
        random, width = np.random.default_rng(0), self.model.input_shape[1:]
        return ml.Task(
            *(
                ml.Batch(
                    tf.constant(random.normal(size=(count, examples, *width))),
                    tf.constant(random.normal(size=(count, examples, 1))),
                )
                for examples in (6, 4)
            )
        )

    def task_by_hand(self, task, weights, rates):
        """Return the results of one task: path, losses, H, gradients, exact and first-order."""
        (x, y), (z, t) = (
            (np.hstack([np.ones((len(batch.inputs), 1)), batch.inputs.reshape(-1, 2)]), batch.targets[:, 0])
            for batch in (task.support, task.query)
        )
        hessian, w, by_rate = 2 * x.T @ x / len(x), weights, np.zeros((3, 3))
        jacobian, support, query = np.eye(3) - np.diag(rates) @ hessian, [], []
        gradients = [hessian @ w - 2 * x.T @ y / len(x)]
        at_query = [2 * z.T @ (z @ w - t) / len(z)]
        for step in range(self.steps + 1):
            support.append(np.mean((x @ w - y) ** 2))
            query.append(np.mean((z @ w - t) ** 2))
            if step < self.steps:
                by_rate = jacobian @ by_rate - np.diag(gradients[-1])
                w = w - rates * gradients[-1]
                gradients.append(hessian @ w - 2 * x.T @ y / len(x))
        q = 2 * z.T @ (z @ w - t) / len(z)
        scale = np.sqrt(rates)
        return {
            "exact": np.concatenate([np.linalg.matrix_power(jacobian, self.steps).T @ q, by_rate.T @ q]),
            "first": np.concatenate([q, -sum(gradients[:-1]) * q]),
            "support": support,
            "query": query,
            "displacement": np.linalg.norm(w - weights),
            "cosine": cosine(gradients[0], at_query[0]),
            "curvature": np.linalg.eigvalsh(hessian)[-1],
            "stability": np.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1],
        }

    def by_hand(self, meta, tasks, rates, estimated="exact"):
        """Return all keys of a diagnosis."""
        weights = np.concatenate([leaf.numpy().ravel() for leaf in tf.nest.flatten(meta["parameters"])])
        tasks = tf.nest.map_structure(lambda leaf: leaf.numpy(), tasks)
        rows = [
            self.task_by_hand(
                tf.nest.map_structure(lambda leaf, index=index: leaf[index], tasks), weights, np.array(rates)
            )
            for index in range(len(tasks.support.inputs))
        ]
        learned = names(meta)
        size = 6 if len(learned) > 2 else 3
        of = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        of["exact"], of["first"] = of["exact"][:, :size], of["first"][:, :size]
        metrics = self.inner_by_hand(of) | self.conflicts_by_hand(of[estimated])
        exact, first, own = of["exact"].mean(0), of["first"].mean(0), of[estimated].mean(0)
        parts = {"": slice(None)} | dict(
            zip([f"/{name}" for name in learned], [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 6)])  # noqa: B905
        )
        for suffix, part in parts.items():
            metrics[f"order/correction_norm{suffix}"] = np.linalg.norm((exact - first)[part])
            metrics[f"order/cosine{suffix}"] = cosine(exact[part], first[part])
        return metrics | {
            "order/norm": np.linalg.norm(exact),
            "order/first_order_norm": np.linalg.norm(first),
            "order/estimator_cosine": cosine(exact, own),
            "order/estimator_error": np.linalg.norm(exact - own) / np.linalg.norm(exact),
        }

    def inner_by_hand(self, of):
        """Return the keys of the inner loop."""
        metrics = {}
        for step in range(self.steps + 1):
            metrics[f"inner/support_loss/{step}"] = of["support"][:, step].mean()
            metrics[f"inner/query_loss/{step}"] = of["query"][:, step].mean()
        return metrics | {
            "inner/displacement": of["displacement"].mean(),
            "inner/gradient_cosine": of["cosine"].mean(),
            "inner/curvature": of["curvature"].mean(),
            "inner/curvature_maximum": of["curvature"].max(),
            "inner/stability": of["stability"].max(),
            "inner/unstable": np.mean(of["stability"] > 2),
        }

    def conflicts_by_hand(self, vectors):
        """Return the keys of the tasks, from gradients ``[T, P]``; the paper's estimates of A.1."""
        count = len(vectors)
        pairs = [cosine(vectors[s], vectors[t]) for s in range(count) for t in range(s + 1, count)]
        small, big = np.mean(np.sum(vectors**2, 1)), np.sum(vectors.mean(0) ** 2)
        signal = (count * big - small) / (count - 1)
        variance = (small - big) / (1 - 1 / count)
        return {
            "tasks/cosine": np.mean(pairs),
            "tasks/conflicts": np.mean(np.array(pairs) < 0),
            "tasks/variance": variance,
            "tasks/signal": signal,
            "tasks/signal_to_noise": big / (np.trace(np.atleast_2d(np.cov(vectors.T))) / count),
            "tasks/noise_scale": variance / signal if signal > 0 else np.inf,
        }


@pytest.fixture(scope="session")
def linear():
    """Return a function ``rule -> Linear`` of a dense layer."""
    return lambda rule: Linear(ml.models.mlp(2, (), 1, dtype="float64"), rule)


@pytest.fixture(scope="session")
def convolution():
    """Return a function ``rule -> Linear`` of a convolution over all of its input: linear regression too."""

    def build(rule):
        layers = [
            keras.layers.Conv1D(1, 2, name="filters", dtype="float64"),
            keras.layers.Flatten(dtype="float64"),
        ]
        return Linear(keras.Sequential([keras.Input((2, 1), dtype="float64"), *layers]), rule, steps=1)

    return build
