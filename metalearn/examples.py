"""Introductory examples of gradients and meta-gradients with their exact values, run as doctests.

>>> import tensorflow as tf
>>> import metalearn as ml

**A gradient with respect to one variable.** ``d x^2 / dx = 2 x`` is 6 at 3, with TensorFlow's tape and with
a function:

>>> x = tf.Variable(3.0)
>>> with tf.GradientTape() as tape:
...     y = x**2
>>> float(tape.gradient(y, x))
6.0
>>> value, gradient = ml.autodiff.value_and_gradient(lambda x: x**2, tf.constant(3.0))
>>> float(value), float(gradient)
(9.0, 6.0)

**A gradient with respect to several variables.** ``l = |x w + b|^2`` at x = (1, 2), w = (3, 4), b = -1 is
10^2, with the gradient 20 x with respect to w, and 20 with respect to b. The gradient has the structure of
the variables:

>>> def loss(p):
...     return (tf.reduce_sum(tf.constant([1.0, 2.0]) * p["w"]) + p["b"]) ** 2
>>> parameters = {"w": tf.constant([3.0, 4.0]), "b": tf.constant(-1.0)}
>>> value, gradient = ml.autodiff.value_and_gradient(loss, parameters)
>>> float(value), float(gradient["b"]), gradient["w"].numpy().tolist()
(100.0, 20.0, [20.0, 40.0])

**Two players' gradients from one persistent tape.** One player minimises ``l = a b`` over a, the other
maximises it over b. Both gradients are taken at the current point:

>>> a, b = tf.Variable(2.0), tf.Variable(5.0)
>>> with tf.GradientTape(persistent=True) as tape:
...     loss_of_a = a * b
...     loss_of_b = -a * b
>>> float(tape.gradient(loss_of_a, a)), float(tape.gradient(loss_of_b, b))
(5.0, -2.0)

**Nested tapes, to third order.** ``x^4`` at 2 has the derivatives 4 x^3 = 32, 12 x^2 = 48 and 24 x = 48. Each
gradient is computed within the next tape, which records it:

>>> x = tf.Variable(2.0)
>>> with tf.GradientTape() as third:
...     with tf.GradientTape() as second:
...         with tf.GradientTape() as first:
...             y = x**4
...         dy = first.gradient(y, x)
...     d2y = second.gradient(dy, x)
>>> d3y = third.gradient(d2y, x)
>>> float(dy), float(d2y), float(d3y)
(32.0, 48.0, 48.0)

The second derivative is also a Hessian-vector product:

>>> float(ml.autodiff.hvp(lambda x: x**4, tf.constant(2.0), tf.constant(1.0)))
48.0

**A custom update that the tape does not record.** One step of gradient descent on ``theta^2 / 2`` with a rate
of 0.1 goes from theta_0 = 2 to theta_1 = (1 - 0.1) 2 = 1.8. The derivative of ``theta_1^2 / 2`` with respect
to theta_0 is 0.9 theta_1 = 1.62. ``assign_sub`` gives the variable the right value, but the tape does not
record it: the result is theta_1 = 1.8, the first-order approximation, without a warning.

>>> theta = tf.Variable(2.0)
>>> with tf.GradientTape() as outer:
...     with tf.GradientTape() as inner:
...         inner_loss = theta**2 / 2
...     _ = theta.assign_sub(0.1 * inner.gradient(inner_loss, theta))
...     outer_loss = theta**2 / 2
>>> round(float(theta), 5), round(float(outer.gradient(outer_loss, theta)), 5)
(1.8, 1.8)

**The same update, recorded**: the new value is a tensor that is computed from the old one.

>>> theta = tf.Variable(2.0)
>>> with tf.GradientTape() as outer:
...     with tf.GradientTape() as inner:
...         inner_loss = theta**2 / 2
...     updated = theta - 0.1 * inner.gradient(inner_loss, theta)
...     outer_loss = updated**2 / 2
>>> round(float(updated), 5), round(float(outer.gradient(outer_loss, theta)), 5)
(1.8, 1.62)

**The update as a bilevel problem**, with any rule, number of steps and estimator. Three steps give
0.9^3 2 = 1.458, with the derivative 0.9^3 1.458 = 1.06288.

>>> problem = ml.BilevelProblem(
...     start=lambda phi, task: {"theta": phi},
...     inner_loss=lambda theta, phi, batch, model: theta["theta"] ** 2 / 2,
...     outer_loss=lambda theta, phi, task, model: theta["theta"] ** 2 / 2,
...     rule=ml.rules.sgd(0.1),
...     steps=3,
... )
>>> learner = ml.BilevelLearner(problem, start=tf.constant(2.0))
>>> result = learner.meta_gradient(tf.constant(2.0), ml.Task((), ()))
>>> round(float(result.inner.parameters["theta"][0]), 5), round(float(result.gradient), 5)
(1.458, 1.06288)

If a gradient does not exist, TensorFlow returns None; the function raises an error with the reason.

>>> ml.autodiff.value_and_gradient(lambda x, y: x**2, tf.constant(2.0), tf.constant(3.0))
Traceback (most recent call last):
    ...
ValueError: no gradient reaches 1: the loss does not depend on it through differentiable tensor operations...
"""
