# %% [markdown]
# # MAML from two nested tapes to the library
#
# Inner loss `p'Hp / 2 - b'p`, outer loss `p'p / 2 - q'p`. One inner step is `p1 = p0 - a (H p0 - b)`, so the
# meta-gradient is `(I - a H) (p1 - q)`, and without second derivatives it is `p1 - q`.

# %%
import numpy as np
import tensorflow as tf

import metalearn as ml

H, b = tf.constant([1.0, 2.0, 4.0]), tf.constant([1.0, 1.0, 1.0])  # H is diagonal
q, p0, rate = tf.constant([0.3, -0.5, 0.9]), tf.constant([0.5, 0.1, -0.2]), 0.1
exact, first_order, reptile = [0.225, 0.544, -0.552], [0.25, 0.68, -0.92], [-0.05, -0.08, -0.18]
results = {}


def inner(p: tf.Tensor | tf.Variable) -> tf.Tensor:
    return tf.reduce_sum(H * p * p / 2 - b * p)


def outer(p: tf.Tensor | tf.Variable) -> tf.Tensor:
    return tf.reduce_sum(p * p / 2 - q * p)


# %% [markdown]
# **Two nested tapes.** The outer tape records the inner gradient, so it can differentiate it.

# %%
with tf.GradientTape() as tape:
    tape.watch(p0)
    with tf.GradientTape() as inner_tape:
        inner_tape.watch(p0)
        loss = inner(p0)
    loss = outer(p0 - rate * inner_tape.gradient(loss, p0))
results["nested tapes"] = tape.gradient(loss, p0)

# %% [markdown]
# **Three errors give the first-order gradient without a warning.** The tape does not record `assign_sub`.
# An inner gradient behind `tf.stop_gradient`, or from before the outer tape, has no second derivatives.

# %%
variable = tf.Variable(p0)
with tf.GradientTape() as tape:
    with tf.GradientTape() as inner_tape:
        loss = inner(variable)
    variable.assign_sub(rate * inner_tape.gradient(loss, variable))
    loss = outer(variable)
results["wrong: assign_sub"] = tape.gradient(loss, variable)
with tf.GradientTape(persistent=True) as tape:  # persistent: two gradients of one tape
    tape.watch(p0)
    loss = inner(p0)
    stopped = outer(p0 - rate * tf.stop_gradient(tape.gradient(loss, p0)))
results["wrong: stop_gradient"] = tape.gradient(stopped, p0)
gradient = tape.gradient(loss, p0)
with tf.GradientTape() as tape:
    tape.watch(p0)
    loss = outer(p0 - rate * gradient)
results["wrong: gradient before the tape"] = tape.gradient(loss, p0)

# %% [markdown]
# **Two errors that show.** The gradient with respect to a tensor that no tape watches is None. Without
# `persistent=True`, the second gradient of a tape raises RuntimeError.

# %%
with tf.GradientTape() as tape:
    loss = inner(p0)
print("not watched:", tape.gradient(loss, p0))  # once more: RuntimeError

# %% [markdown]
# **The library** solves the same problem with any rule, number of steps and estimator. Reptile returns `p0 -
# p1`.

# %%
problem = ml.BilevelProblem(
    start=lambda phi, task: {"p": phi},
    inner_loss=lambda theta, phi, batch, model: inner(theta["p"]),
    outer_loss=lambda theta, phi, task, model: outer(theta["p"]),
    rule=ml.rules.sgd(rate),
    steps=1,
)
for name in ("unrolled", "checkpointed", "first_order", "reptile"):
    learner = ml.BilevelLearner(problem, ml.estimators.get(name), start=p0)
    results[name] = learner.meta_gradient(p0, ml.Task((), ())).gradient
for name, value in results.items():
    expected = reptile if name == "reptile" else first_order if "wrong" in name or "first" in name else exact
    np.testing.assert_allclose(value, expected, atol=1e-6)
    print(f"{name}: {value.numpy()}")
