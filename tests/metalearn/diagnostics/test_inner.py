"""The inner loop on quadratics whose curvature is known."""

import numpy as np
import tensorflow as tf

import metalearn as ml


def quadratic(rule, steps, **options):
    """Return inner ``p'Hp/2 - b'p`` (H, b a task's support), outer ``|p - t|^2 / 2`` (t of its query)."""
    return ml.BilevelProblem(
        start=lambda meta, task: {"p": meta["parameters"]["p"]},
        inner_loss=lambda theta, meta, batch, model: tf.reduce_sum(
            batch.inputs * tf.square(theta["p"]) / 2 - batch.targets * theta["p"]
        ),
        outer_loss=lambda theta, meta, task, model: (
            tf.reduce_sum(tf.square(theta["p"] - task.query.targets)) / 2
        ),
        rule=rule,
        steps=steps,
        **options,
    )


def random_tasks(shape):
    """Return two tasks with support of this shape, curvatures from -1 to 4."""
    random = np.random.default_rng(3)
    support = ml.Batch(random.uniform(-1, 4, size=(2, *shape)), random.normal(size=(2, *shape)))
    query = ml.Batch(np.zeros((2, 3)), random.normal(size=(2, 3)))
    return tf.nest.map_structure(tf.constant, ml.Task(support, query))


START = np.array([0.5, 0.1, -0.2])
META = {"parameters": {"p": tf.constant(START)}, "rule": {}}


def test_momentum_and_a_batch_for_each_step(in_graph):
    """Losses, distance, cosine and curvature equal NumPy's to 1e-12; momentum has no stability limit."""
    problem = quadratic(
        ml.rules.momentum(0.1, 0.9), 3, batch=ml.problems.slices(2), batches=2, mapping="sequential"
    )
    tasks = random_tasks((2, 3))
    found = in_graph(lambda tasks: ml.diagnostics.inner_loop(problem, META, tasks, (0, 0)))(tasks)
    rows = []
    for task in range(2):
        (h, b), t = (leaf[task].numpy() for leaf in tasks.support), tasks.query.targets[task].numpy()
        p, velocity, support, query = START, 0, [], []
        for step in range(4):
            support.append(np.mean(np.sum(h * p**2 / 2 - b * p, -1)))
            query.append(np.sum((p - t) ** 2) / 2)
            if step < 3:
                velocity = 0.9 * velocity - 0.1 * (h[step % 2] * p - b[step % 2])
                p = p + velocity
        gradient, other = (h * START - b).mean(0), START - t
        cosine = gradient @ other / np.linalg.norm(gradient) / np.linalg.norm(other)
        rows.append([*support, *query, np.linalg.norm(p - START), cosine, h.mean(0).max()])
    rows = np.array(rows)
    names = [f"inner/{name}/{step}" for name in ("support_loss", "query_loss") for step in range(4)]
    names += ["inner/displacement", "inner/gradient_cosine", "inner/curvature"]
    expected = dict(zip(names, rows.mean(0), strict=True)) | {"inner/curvature_maximum": rows[:, -1].max()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


def test_few_iterations_are_from_below():
    """Two Lanczos iterations on three curvatures estimate at most the largest, and at least half of it."""
    problem, tasks = quadratic(ml.rules.sgd(0.1), 0, mapping="sequential"), random_tasks((3,))
    found = ml.diagnostics.inner_loop(problem, META, tasks, (0, 0), lanczos_iterations=2)
    largest = tasks.support.inputs.numpy().max(1)
    assert 0.5 * largest.max() < found["inner/curvature_maximum"] < largest.max()
    assert "inner/stability" not in found  # no step is taken
    assert found["inner/displacement"] == 0
