"""Updates to the bit: the operations of each rule, written out in order, in float32."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.rules import learned

R, M, B1, B2, E, W, C = 0.03, 0.9, 0.85, 0.97, 1e-4, 0.02, 0.6


def _mean(before, new, decay):
    return before + (1 - decay) * (new - before)


def _power(decay, step):
    return tf.pow(tf.constant(decay), tf.cast(step, tf.float32))


def _momentum(p, g, s, k):
    v = M * s["v"] - R * g
    return p + v, {"v": v}


def _nesterov(p, g, s, k):
    v = M * s["v"] - R * g
    return p + M * v - R * g, {"v": v}


def _adagrad(p, g, s, k):
    a = s["a"] + tf.square(g)
    return p - R * g / tf.sqrt(a + E), {"a": a}


def _adadelta(p, g, s, k):
    v = _mean(s["v"], tf.square(g), B1)
    d = -tf.sqrt(s["u"] + E) / tf.sqrt(v + E) * g
    return p + R * d, {"v": v, "u": _mean(s["u"], tf.square(d), B1)}


def _rmsprop(p, g, s, k):
    v = _mean(s["v"], tf.square(g), B1)
    return p - R * g / tf.sqrt(v + E), {"v": v}


def _centered(p, g, s, k):
    v = _mean(s["v"], B1 * tf.square(g - s["a"]), B1)
    m = M * s["m"] + R * g / tf.sqrt(v + E)
    return p - m, {"v": v, "m": m, "a": _mean(s["a"], g, B1)}


def _adam(p, g, s, k, amsgrad=False):
    m, v = _mean(s["m"], g, B1), _mean(s["v"], tf.square(g), B2)
    largest = tf.maximum(s["w"], v)
    rate = R * tf.sqrt(1 - _power(B2, k + 1)) / (1 - _power(B1, k + 1))
    return p - rate * m / (tf.sqrt(largest if amsgrad else v) + E), {"m": m, "v": v, "w": largest}


def _adamw(p, g, s, k):
    return _adam(p - R * W * p, g, s, k)


def _adamax(p, g, s, k):
    m, u = _mean(s["m"], g, B1), tf.maximum(B2 * s["u"], tf.abs(g))
    return p - R / (1 - _power(B1, k + 1)) * m / (u + E), {"m": m, "u": u}


def _nadam(p, g, s, k):
    now, after = (B1 * (1 - 0.5 * _power(0.96, k + ahead)) for ahead in (1, 2))
    product = s["one"] * now
    m, v = _mean(s["m"], g, B1), _mean(s["v"], tf.square(g), B2)
    ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
    change = R * ahead / (tf.sqrt(v / (1 - _power(B2, k + 1))) + E)
    return p - change, {"m": m, "v": v, "one": product}


def _clipped(p, g, s, k):
    return p - R * tf.minimum(tf.maximum(g, -C), C), s


def _clipped_norm(p, g, s, k):
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g))]))
    return p - R * (g / tf.maximum(norm / C, 1)), s


def _curved(p, g, s, k):
    g = tf.einsum("Za,ab->Zb", tf.eye(2), g)
    return p - R * tf.einsum("Zb,ab->aZ", tf.eye(3), g), s


CASES = {
    "sgd": (rules.sgd(R), lambda p, g, s, k: (p - R * g, s)),
    "sgd_positive": (
        rules.sgd(learned(R, steps=2, positive=True)),
        lambda p, g, s, k: (p - tf.exp(tf.fill([2], tf.constant(np.log(R), tf.float32))[min(k, 1)]) * g, s),
    ),
    "sgd_per_element": (
        rules.sgd(learned(R, "element")),
        lambda p, g, s, k: (p - tf.fill([2, 3], tf.constant(R)) * g, s),
    ),
    "momentum": (rules.momentum(R, M), _momentum),
    "nesterov": (rules.nesterov(R, M), _nesterov),
    "adagrad": (rules.adagrad(R, 0.1, E), _adagrad),
    "adadelta": (rules.adadelta(R, B1, E), _adadelta),
    "rmsprop": (rules.rmsprop(R, B1, epsilon=E), _rmsprop),
    "rmsprop_centered": (rules.rmsprop(R, B1, M, E, centered=True), _centered),
    "adam": (rules.adam(R, B1, B2, E), _adam),
    "amsgrad": (rules.adam(R, B1, B2, E, amsgrad=True), lambda *given: _adam(*given, amsgrad=True)),
    "adamw": (rules.adamw(R, W, B1, B2, E), _adamw),
    "adamax": (rules.adamax(R, B1, B2, E), _adamax),
    "nadam": (rules.nadam(R, B1, B2, E), _nadam),
    "alfa": (rules.alfa(R), lambda p, g, s, k: ((1 + 0.0) * p - R * (1 + tf.constant(0.0)) * g, s)),
    "meta_curvature": (rules.meta_curvature(rules.sgd(R)), _curved),
    "clip_by_value": (rules.clip_by_value(rules.sgd(R), C), _clipped),
    "clip_by_global_norm": (rules.clip_by_global_norm(rules.sgd(R), C), _clipped_norm),
    "weight_decay": (rules.weight_decay(rules.sgd(R), W), lambda p, g, s, k: (p - W * p - R * g, s)),
}


@pytest.mark.parametrize("name", CASES)
def test_four_updates_have_the_bits_of_the_formula(name):
    rule, formula = CASES[name]
    random = np.random.default_rng(0)
    parameter = tf.constant(random.normal(size=(2, 3)), tf.float32)
    zero, one = tf.zeros([2, 3]), tf.ones([2, 3])
    slots = {**dict.fromkeys("vmuw", zero), "a": 0.1 * one if name == "adagrad" else zero, "one": tf.ones([])}
    theta, state = {"a": parameter}, rule.init({"a": parameter})
    values = rule.learnable(theta)
    for step in range(4):
        gradient = tf.constant(random.normal(size=(2, 3)), tf.float32)
        theta, state = rule.update({"a": gradient}, state, theta, values, step)
        parameter, slots = formula(parameter, gradient, slots, step)
        np.testing.assert_array_equal(theta["a"], parameter)
