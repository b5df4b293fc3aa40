"""Dense, batch normalisation, tanh, dense: the same network in Keras and in NumPy, in every mode.

The NumPy program has its inner gradients written out and is analytic, so that a complex step gives its
derivative with respect to the initial parameters to rounding.
"""

import keras
import numpy as np

import metalearn as ml

MOMENTUM, EPSILON, RATE = 0.8, 1e-3, 0.3
KEYS = ("hidden/kernel", "hidden/bias", "norm/gamma", "norm/beta", "output/kernel", "output/bias")
STATISTICS = ("norm/moving_mean", "norm/moving_variance")


def network(dropout=None, trainable=True):
    """Return the network in float64, with moving statistics of some history.

    ``dropout``: rate of a dropout layer before the output, if any; ``trainable``: of the normalisation.
    """
    keras.utils.set_random_seed(0)
    norm = ml.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name="norm", dtype="float64")
    layers = [
        keras.layers.Dense(4, name="hidden", dtype="float64"),
        norm,
        keras.layers.Activation("tanh", dtype="float64"),
        *([] if dropout is None else [keras.layers.Dropout(dropout, dtype="float64")]),
        keras.layers.Dense(2, name="output", dtype="float64"),
    ]
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *layers])
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.5, 1.5, 4) for _ in range(4)])
    norm.trainable = trainable
    return model


def moments(p, x):
    """Return mean and variance of the hidden layer."""
    z = x @ p[0] + p[1]
    return z.mean(0), ((z - z.mean(0)) ** 2).mean(0)


def forward(p, x, statistics):
    """Return normalised numbers, activations and outputs."""
    z = (x @ p[0] + p[1] - statistics[0]) / np.sqrt(statistics[1] + EPSILON)
    a = np.tanh(p[2] * z + p[3])
    return z, a, a @ p[4] + p[5]


def inner_gradient(p, x, t):
    """Return the gradient of the squared error with batch statistics, by hand."""
    z, a, o = forward(p, x, moments(p, x))
    do = 2 * (o - t) / t.size
    dy = (do @ p[4].T) * (1 - a**2)
    dn = dy * p[2]
    scale = 1 / np.sqrt(moments(p, x)[1] + EPSILON)
    dz = scale * (dn - dn.mean(0) - z * (dn * z).mean(0))
    return [x.T @ dz, dz.sum(0), (dy * z).sum(0), dy.sum(0), a.T @ do, do.sum(0)]


def moved(statistics, p, x):
    """Return moving statistics after a training call."""
    return [MOMENTUM * m + (1 - MOMENTUM) * s for m, s in zip(statistics, moments(p, x), strict=True)]


def at(name, p, step):
    """Return the parameters of one step, of which some modes have scales and shifts for each."""
    if name != "per_step_affine":
        return p
    return [*p[:2], *(each[min(step, len(each) - 1)] for each in p[2:4]), *p[4:]]


def path(name, p, support, steps):
    """Yield the parameters before each of some steps, and after them."""
    for step in range(steps):
        yield p
        change = inner_gradient(at(name, p, step), *support)
        if name == "per_step_affine":
            change[2] = change[3] = 0
        p = [value - RATE * g for value, g in zip(p, change, strict=True)]
    yield p


def support_losses(name, p, support, steps):
    """Return the inner losses before each of some steps, and after them, with batch statistics."""
    x, t = support
    visited = enumerate(path(name, p, support, steps))
    outputs = [forward(at(name, theta, step), x, moments(theta, x))[2] for step, theta in visited]
    return [((each - t) ** 2).mean() for each in outputs]


def answers(name, p, sets, support, query_inputs, steps):
    """Return outputs for queries after some steps, and the moving statistics as the mode leaves them.

    ``sets``: one set of moving statistics for each of K + 1 steps; all modes but per_step use the first.
    """
    x, _ = support
    sets = list(sets)
    per_step = name.startswith("per_step")
    last = len(sets) - 1 if per_step else 0
    for step, theta in enumerate(path(name, p, support, steps)):
        if step < steps or per_step:
            sets[min(step, last)] = moved(sets[min(step, last)], theta, x)
    p = theta
    statistics = {
        "batch": moments(p, query_inputs),
        "support": moments(p, x),
        "moving": sets[0],
    }.get(name, sets[min(steps, last)])
    return forward(at(name, p, steps), query_inputs, statistics)[2], sets


def program(name, p, sets, task, steps):
    """Return the query loss after some steps, and the moving statistics as the mode leaves them."""
    support, (query, target) = task
    outputs, sets = answers(name, p, sets, support, query, steps)
    return ((outputs - target) ** 2).mean(), sets


def by_complex_step(function, values):
    """Return the derivative of ``function(values)`` with respect to every number of every array."""
    gradients = []
    for place, value in enumerate(values):
        gradient = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            shifted = [np.array(each, complex) for each in values]
            shifted[place][index] += 1e-30j
            gradient[index] = function(shifted).imag / 1e-30
        gradients.append(gradient)
    return gradients
