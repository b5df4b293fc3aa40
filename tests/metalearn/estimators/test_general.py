"""Properties of every estimator: its definition in every layout, per-step support, XLA, errors."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.estimators.evolution import perturbation
from metalearn.inner_loop import solve

pytestmark = pytest.mark.slow  # minutes of tracing and compiling

PROXIMAL, SIGMA, PAIRS, SEED = 0.5, 0.3, 3, (4, 5)
ESTIMATORS = {
    "evolution": ml.estimators.evolution(SIGMA, PAIRS),
    "first_order": ml.estimators.first_order(),
    "forward_mode": ml.estimators.forward_mode(),
    "implicit": ml.estimators.implicit(iterations=3),
    "checkpointed": ml.estimators.checkpointed(),
    "reptile": ml.estimators.reptile(),
    "truncated": ml.estimators.truncated(2),
    "unrolled": ml.estimators.unrolled(),
}
EXACT = ("checkpointed", "forward_mode", "unrolled")


def defined(name, quadratic, task, start, noise):
    """Return the meta-gradient of one task as ``name`` defines it, in NumPy."""
    adapted, exact = quadratic.path(task, start)
    slope = adapted - task.query.targets
    if name in EXACT:
        return exact * slope
    if name == "first_order":
        return slope
    if name == "truncated":
        return quadratic.path(task, start, exact_from=quadratic.steps - 2)[1] * slope
    if name == "reptile":
        return start - adapted
    if name == "implicit":
        curvature = np.reshape(task.support.inputs, (-1, 3)).mean(0)
        return PROXIMAL * slope / (curvature + PROXIMAL)
    differences = [
        (quadratic.loss(task, start + SIGMA * e) - quadratic.loss(task, start - SIGMA * e)) * e for e in noise
    ]
    return np.sum(differences, 0) / (2 * SIGMA * PAIRS)


@pytest.mark.parametrize(
    ("steps", "batches", "mapping"),
    [
        (0, None, "vectorized"),
        (1, None, "vectorized"),
        (4, 3, "vectorized"),
        (8, 3, "sequential"),
        (8, None, "vectorized"),
    ],
)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_definition(quadratic, quadratic_tasks, one_task, published, in_graph, name, steps, batches, mapping):
    """On a quadratic, all results equal the estimator's definition, to 1e-12.

    Steps are in Python or in a graph loop, mapped in either way, with one batch or one for each step. Three
    batches serve four and eight steps cyclically.
    """
    options = {"mapping": mapping}
    if batches is not None:
        options |= {"batch": ml.problems.slices(batches), "batches": batches}
    reference = quadratic(steps, PROXIMAL, 0.1, options)
    (meta, _), tasks = published, quadratic_tasks(2, batches)
    estimate = in_graph(lambda meta, tasks: ESTIMATORS[name](reference.problem, meta, tasks, seed=SEED)[0])
    result = estimate(meta, tasks)
    start = meta["parameters"]["p"].numpy()
    noise = np.stack([perturbation(meta, 2, SEED, pair)["parameters"]["p"] for pair in range(PAIRS)])
    expected = []
    for index in range(2):
        task = one_task(tasks, index)
        expected.append(defined(name, reference, task, start, noise[:, index]))
        found = result.per_task["parameters"]["p"][index]
        np.testing.assert_allclose(found, expected[-1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            result.inner.parameters["p"][index], reference.path(task, start)[0], atol=1e-12
        )
        np.testing.assert_allclose(result.loss[index], reference.loss(task, start), atol=1e-12)
    np.testing.assert_allclose(result.gradient["parameters"]["p"], np.mean(expected, 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
def test_solve_takes_a_batch_a_step(quadratic, quadratic_tasks, one_task, published, in_graph, mapping):
    """With a batch for each step, every theta_k equals NumPy's to 1e-14, also after the last batch."""
    (meta, _), tasks = published, quadratic_tasks(2, 3)
    options = {"batch": ml.problems.slices(3), "batches": 3, "mapping": mapping}
    problem = quadratic(1, options=options).problem
    _, points = in_graph(
        lambda meta, tasks: solve(problem, meta, tasks, 5, lambda inner, _: inner.parameters["p"])
    )(meta, tasks)
    for index in range(2):
        for step in range(6):
            expected, _ = quadratic(step).path(one_task(tasks, index), meta["parameters"]["p"].numpy())
            np.testing.assert_allclose(points[index, step], expected, rtol=0, atol=1e-14)


def test_learner_with_a_batch_a_step(sinusoids):
    """Steps on batches equal those of learners on each batch, to 1e-14; inner losses are their means."""
    model = ml.models.mlp(hidden=(3,), dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), 2, batch=ml.problems.slices(2))
    single = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), 1)
    meta = learner.initialize(0)
    batches = [ml.Batch(*(leaf[:, part] for leaf in sinusoids.support)) for part in (slice(5), slice(5, 10))]
    support = ml.Batch(*(tf.stack(leaves, 1) for leaves in zip(*batches, strict=True)))
    tasks = ml.Task(support, sinusoids.query)
    assert learner.require_fit(tasks) == []
    fitted = learner.adapt(meta, support)
    losses = learner.losses(meta, tasks, ml.Inner(fitted.parameters))
    for index in range(3):
        parameters, measured = meta["parameters"], []
        for batch in batches:
            of_task = ml.Batch(*(leaf[index : index + 1] for leaf in batch))
            measured.append(single.adapt(meta, of_task).support_loss[0, 0])
            adapted = single.adapt({"parameters": parameters, "rule": {}}, of_task).parameters
            parameters = {key: value[0] for key, value in adapted.items()}
        for key, value in parameters.items():
            np.testing.assert_allclose(fitted.parameters[key][index], value, rtol=0, atol=1e-14)
        np.testing.assert_allclose(fitted.support_loss[index, 0], np.mean(measured), rtol=1e-14)
        np.testing.assert_allclose(losses["inner/loss_before"][index], np.mean(measured), rtol=1e-14)


def test_support_without_batches_is_refused(quadratic, published):
    """The error of ``slices`` for support without an axis of batches shows the required shape."""
    problem = quadratic(2, options={"batch": ml.problems.slices(2), "batches": 2}).problem
    with pytest.raises(ValueError, match=r"known shape \[T, 2, N, \.\.\.\].*one task's has the shape \(3,\)"):
        ml.estimators.checkpointed()(problem, *published)


DECAY = -1.0


def decayed(steps, proximal=0.0):
    """Return the quadratic with ``exp(phi.decay)/2 |p|^2`` in its inner loss."""

    def inner_loss(theta, meta, batch, model):
        p, start = theta["p"], meta["parameters"]["p"]
        loss = tf.reduce_sum(batch.inputs * tf.square(p) / 2 - batch.targets * p)
        loss += tf.exp(meta["decay"]) / 2 * tf.reduce_sum(tf.square(p))
        return loss + proximal / 2 * tf.reduce_sum(tf.square(p - start)) if proximal else loss

    return ml.BilevelProblem(
        start=lambda meta, task: {"p": meta["parameters"]["p"]},
        inner_loss=inner_loss,
        outer_loss=lambda theta, meta, task, model: tf.reduce_sum(
            tf.square(theta["p"]) / 2 - task.query.targets * theta["p"]
        ),
        rule=ml.rules.sgd(0.1),
        steps=steps,
    )


@pytest.mark.parametrize("name", ["truncated", *EXACT])
def test_one_step_with_phi_in_the_inner_loss(published, one_task, in_graph, name):
    """The derivative by a decay in the inner loss equals the closed form after one step, to 1e-13.

    The step is ``p1 = p0 - a ((H + e^decay) p0 - b)``.
    """
    meta, tasks = published
    meta = {**meta, "decay": tf.constant(DECAY, tf.float64)}
    found = in_graph(lambda meta: ESTIMATORS[name](decayed(1), meta, tasks)[0].gradient)(meta)
    task, p0 = one_task(tasks, 0), meta["parameters"]["p"].numpy()
    curvature = task.support.inputs + np.exp(DECAY)
    slope = p0 - 0.1 * (curvature * p0 - task.support.targets) - task.query.targets
    np.testing.assert_allclose(found["parameters"]["p"], (1 - 0.1 * curvature) * slope, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found["decay"], -0.1 * np.exp(DECAY) * p0 @ slope, rtol=1e-13)


def test_one_step_with_phi_in_the_inner_loss_by_evolution(published, one_task):
    """The estimate equals the antithetic formula with the same noise in NumPy, to 1e-12."""
    meta, tasks = published
    meta = {**meta, "decay": tf.constant(DECAY, tf.float64)}
    found = ESTIMATORS["evolution"](decayed(1), meta, tasks, seed=SEED)[0].gradient
    task, p0 = one_task(tasks, 0), meta["parameters"]["p"].numpy()

    def loss(p0, decay):
        p1 = p0 - 0.1 * ((task.support.inputs + np.exp(decay)) * p0 - task.support.targets)
        return np.sum(p1**2 / 2 - task.query.targets * p1)

    expected = np.zeros(4)
    for pair in range(PAIRS):
        noise = perturbation(meta, 1, SEED, pair)
        p, decay = noise["parameters"]["p"].numpy()[0], noise["decay"].numpy()[0]
        difference = loss(p0 + SIGMA * p, DECAY + SIGMA * decay) - loss(p0 - SIGMA * p, DECAY - SIGMA * decay)
        expected += difference / (2 * SIGMA * PAIRS) * np.append(p, decay)
    np.testing.assert_allclose(found["parameters"]["p"], expected[:3], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["decay"], expected[3], rtol=0, atol=1e-12)


def test_one_step_with_phi_in_the_inner_loss_implicitly(published, one_task):
    """Gradients equal the implicit formulas with ``v = (H + e^decay + proximal)^-1 (p1 - q)``, to 1e-13.

    They are ``-e^decay p1'v`` for the decay and ``proximal v`` for theta_0.
    """
    meta, tasks = published
    meta = {**meta, "decay": tf.constant(DECAY, tf.float64)}
    found = ESTIMATORS["implicit"](decayed(1, PROXIMAL), meta, tasks)[0].gradient
    task, p0 = one_task(tasks, 0), meta["parameters"]["p"].numpy()
    curvature = task.support.inputs + np.exp(DECAY)
    p1 = p0 - 0.1 * (curvature * p0 - task.support.targets)
    v = (p1 - task.query.targets) / (curvature + PROXIMAL)
    np.testing.assert_allclose(found["parameters"]["p"], PROXIMAL * v, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found["decay"], -np.exp(DECAY) * p1 @ v, rtol=0, atol=1e-13)


@pytest.mark.parametrize("estimator", [ml.estimators.first_order(), ml.estimators.truncated(0)])
def test_first_order_finds_no_path_through_an_inner_gradient(published, estimator):
    """A meta-parameter that only the inner loss uses is named in an error, not given a gradient of zero."""
    meta, tasks = published
    with pytest.raises(ValueError, match="no gradient reaches decay:"):
        estimator(decayed(1), {**meta, "decay": tf.constant(DECAY, tf.float64)}, tasks)


@pytest.mark.parametrize("steps", [2, 7])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_xla_compiles_once(quadratic, quadratic_tasks, published, as_vector, with_xla, compiles, name, steps):
    """New values of all arguments compile nothing again, and agree with eager mode to 1e-12."""
    (meta, _), tasks = published, quadratic_tasks(2)
    problem = quadratic(steps, PROXIMAL).problem

    def estimate(meta, tasks, seed):
        return ESTIMATORS[name](problem, meta, tasks, seed=seed)[0]

    compiled = with_xla(estimate)
    compiled(meta, tasks, tf.constant(SEED))
    new = tf.nest.map_structure(lambda leaf: 1.5 * leaf, (meta, tasks))
    results = []
    assert not compiles(lambda: results.append(compiled(*new, tf.constant([8, 9]))))
    eager = estimate(*new, tf.constant([8, 9]))
    np.testing.assert_allclose(as_vector(results), as_vector(eager), rtol=0, atol=1e-12)
