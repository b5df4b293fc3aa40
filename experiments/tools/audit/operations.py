"""Functions of ``keras.ops`` and TensorFlow: all functions of matrices, and a list of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .cases import Case, Draw, normal, spaced

MODULES: dict[str, ModuleType] = {
    "keras.ops": keras.ops,
    "tf.nn": tf.nn,
    "tf.math": tf.math,
    "tf.linalg": tf.linalg,
}
"""Modules whose public functions are measured, each under its first name."""

ops = keras.ops


def fixed(*values: Any) -> Draw:
    """Return constant values instead of random ones."""
    return lambda random: np.array(values, float)


MATRIX = fixed([0.8, 0.25, 0.3], [0.35, 0.75, 0.2], [0.28, 0.4, 0.7])
SECOND = fixed([0.45, 0.65, 0.5], [0.22, 0.55, 0.33], [0.6, 0.38, 0.47])
THIRD = fixed([0.91, 0.86, 0.94], [0.88, 0.92, 0.85], [0.9, 0.83, 0.95])
PLAIN = (MATRIX, SECOND, THIRD)
"""Arguments of functions: in the domain of most, without equal entries, well conditioned."""

ZERO, ZEROS = fixed(0.5, 0.0, 0.7), fixed(0.0, 0.0, 0.0)
IMAGE, VOLUME, KERNEL, SEQUENCE = (
    spaced(1, 4, 4, 2),
    spaced(1, 4, 4, 4, 2),
    normal(2, 2, 2, 3),
    normal(1, 4, 2),
)
SOFTMAX = "tf.nn.softmax_cross_entropy_with_logits"
SEGMENTS = np.array([0, 0, 1])
SAME, VALID = "SAME", "VALID"


def _positive(x: tf.Tensor) -> tf.Tensor:
    """Return a positive definite matrix."""
    return tf.matmul(x, x, transpose_b=True) + tf.eye(3, dtype=x.dtype)


def _loop(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.sin(y)), (0, x))[1]


def _ctc(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.ctc_loss(tf.constant([[1, 2]]), x, [2], [4], logits_time_major=False)


LISTED: dict[tuple[Draw, ...], dict[str, Callable[..., Any]]] = {
    (MATRIX,): {
        "tf.nn.moments": lambda x: tf.nn.moments(x, [0]),
        "tf.nn.weighted_moments": lambda x: tf.nn.weighted_moments(x, [0], tf.ones_like(x)),
        "tf.nn.sufficient_statistics": lambda x: tf.nn.sufficient_statistics(x, [0])[1:3],
        "tf.math.reduce_variance": lambda x: tf.math.reduce_variance(x, 0),
        "keras.ops.moments": lambda x: ops.moments(x, [0]),
        "keras.ops.glu": lambda x: ops.glu(tf.concat([x, x], -1)),
        "keras.ops.arccosh": lambda x: ops.arccosh(1 + x),
        "tf.math.acosh": lambda x: tf.math.acosh(1 + x),
        "keras.ops.top_k": lambda x: ops.top_k(x, 2)[0],
        "keras.ops.take": lambda x: ops.take(x, [0, 2], 0),
        "tf.math.top_k": lambda x: tf.math.top_k(x, 2).values,
        "tf.nn.sparse_softmax_cross_entropy_with_logits": lambda x: (
            tf.nn.sparse_softmax_cross_entropy_with_logits(SEGMENTS, x)
        ),
        "keras.ops.sparse_categorical_crossentropy": lambda x: ops.sparse_categorical_crossentropy(
            SEGMENTS, x, from_logits=True
        ),
        "tf.math.segment_sum": lambda x: tf.math.segment_sum(x, SEGMENTS),
        "tf.math.segment_mean": lambda x: tf.math.segment_mean(x, SEGMENTS),
        "tf.math.segment_max": lambda x: tf.math.segment_max(x, SEGMENTS),
        "tf.math.segment_prod": lambda x: tf.math.segment_prod(x, SEGMENTS),
        "tf.math.unsorted_segment_sum": lambda x: tf.math.unsorted_segment_sum(x, SEGMENTS, 2),
        "tf.math.unsorted_segment_mean": lambda x: tf.math.unsorted_segment_mean(x, SEGMENTS, 2),
        "tf.math.unsorted_segment_max": lambda x: tf.math.unsorted_segment_max(x, SEGMENTS, 2),
        "tf.math.unsorted_segment_prod": lambda x: tf.math.unsorted_segment_prod(x, SEGMENTS, 2),
        "tf.math.polygamma": lambda x: tf.math.polygamma(tf.ones_like(x), x),
        "tf.math.zeta": lambda x: tf.math.zeta(2 * tf.ones_like(x), x),
        "tf.math.floormod": lambda x: tf.math.floormod(x, 0.33 * tf.ones_like(x)),
        "tf.linalg.cholesky": lambda x: tf.linalg.cholesky(_positive(x)),
        "tf.linalg.logdet": lambda x: tf.linalg.logdet(_positive(x)),
        "tf.linalg.sqrtm": lambda x: tf.linalg.sqrtm(_positive(x)),
        "tf.linalg.logm": lambda x: tf.math.real(tf.linalg.logm(tf.cast(x, tf.complex128))),
        "tf.linalg.eigh (values)": lambda x: tf.linalg.eigh(_positive(x))[0],
        "tf.linalg.eigh (vectors)": lambda x: tf.abs(tf.linalg.eigh(_positive(x))[1]),
        "tf.linalg.svd (values)": lambda x: tf.linalg.svd(x, compute_uv=False),
        "tf.linalg.svd (vectors)": lambda x: [tf.abs(each) for each in tf.linalg.svd(x)],
        "keras.ops.cholesky": lambda x: ops.cholesky(_positive(x)),
        "keras.ops.eigh": lambda x: ops.eigh(_positive(x))[0],
        "keras.ops.logdet": lambda x: ops.logdet(_positive(x)),
        "keras.ops.svd": lambda x: ops.svd(x, compute_uv=False),
        "tf.signal.fft": lambda x: tf.math.real(tf.signal.fft(tf.cast(x, tf.complex128))),
        "tf.signal.rfft": lambda x: tf.abs(tf.signal.rfft(x)),
        "tf.gather": lambda x: tf.gather(x, [0, 2]),
        "tf.sort": tf.sort,
        "tf.while_loop": _loop,
        "tf.map_fn": lambda x: tf.map_fn(tf.sin, x),
        "tf.recompute_grad": lambda x: tf.recompute_grad(tf.sin)(x),
        "tf.py_function": lambda x: tf.py_function(tf.sin, [x], x.dtype),
        "tf.numpy_function": lambda x: tf.numpy_function(np.sin, [x], x.dtype),
        "tf.clip_by_norm": lambda x: tf.clip_by_norm(x, 0.5),
    },
    (MATRIX, SECOND): {
        SOFTMAX: lambda a, b: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(a), b),
        f"{SOFTMAX} (targets of another sum)": tf.nn.softmax_cross_entropy_with_logits,
        "tf.einsum": lambda a, b: tf.einsum("ij,jk->ik", a, b),
        "keras.ops.einsum": lambda a, b: ops.einsum("ij,jk->ik", a, b),
        "tf.linalg.cholesky_solve": lambda a, b: tf.linalg.cholesky_solve(
            tf.linalg.cholesky(_positive(a)), b
        ),
        "tf.linalg.lstsq (fast=False)": lambda a, b: tf.linalg.lstsq(a, b, fast=False),
        "keras.ops.polar": lambda a, b: tf.math.real(ops.polar(a, b)),
        "keras.ops.dot_product_attention": lambda a, b: ops.dot_product_attention(
            a[None, :, None], b[None, :, None], b[None, :, None]
        ),
    },
    (ZERO,): {
        "x ** 2 (at 0)": lambda x: x**2,
        "x ** 3 (at 0)": lambda x: x**3,
        "x * x (at 0)": lambda x: x * x,
        "tf.square (at 0)": tf.square,
        "tf.math.pow (at 0)": lambda x: tf.pow(x, 2.0),
        "keras.ops.power (at 0)": lambda x: ops.power(x, 2),
        "keras.ops.square (at 0)": ops.square,
        "keras.ops.sinc (at 0)": ops.sinc,
        "tf.math.reduce_prod (at a 0)": tf.reduce_prod,
        "tf.math.cumprod (at a 0)": tf.math.cumprod,
        "tf.math.unsorted_segment_prod (at a 0)": lambda x: tf.math.unsorted_segment_prod(x, SEGMENTS, 2),
        "keras.ops.prod (at a 0)": ops.prod,
        "keras.ops.cumprod (at a 0)": ops.cumprod,
        "tf.sqrt (at 0, not differentiable)": tf.sqrt,
    },
    (ZEROS,): {"tf.norm (at 0, not differentiable)": tf.norm},
    (IMAGE,): {
        "tf.nn.max_pool2d": lambda x: tf.nn.max_pool2d(x, 2, 2, VALID),
        "tf.nn.avg_pool2d": lambda x: tf.nn.avg_pool2d(x, 2, 2, VALID),
        "tf.nn.max_pool_with_argmax": lambda x: tf.nn.max_pool_with_argmax(x, 2, 2, VALID)[0],
        "tf.nn.fractional_avg_pool": lambda x: tf.nn.fractional_avg_pool(x, (1, 1.5, 1.5, 1), seed=1)[0],
        "tf.nn.fractional_max_pool": lambda x: tf.nn.fractional_max_pool(x, (1, 1.5, 1.5, 1), seed=1)[0],
        "tf.nn.dilation2d": lambda x: tf.nn.dilation2d(
            x, tf.zeros([2, 2, 2], x.dtype), (1, 1, 1, 1), VALID, "NHWC", (1, 1, 1, 1)
        ),
        "tf.image.extract_patches": lambda x: tf.image.extract_patches(
            x, (1, 2, 2, 1), (1, 1, 1, 1), (1, 1, 1, 1), VALID
        ),
        "tf.image.resize (bilinear)": lambda x: tf.image.resize(x, (3, 7)),
        "tf.image.resize (bicubic)": lambda x: tf.image.resize(x, (3, 7), "bicubic"),
        "tf.image.resize (nearest)": lambda x: tf.image.resize(x, (3, 7), "nearest"),
        "tf.image.resize (area)": lambda x: tf.image.resize(x, (3, 7), "area"),
        "tf.image.resize (lanczos3)": lambda x: tf.image.resize(x, (3, 7), "lanczos3"),
        "tf.image.crop_and_resize": lambda x: tf.image.crop_and_resize(
            x, [[0.0, 0.0, 0.7, 0.8]], [0], [3, 3]
        ),
        "keras.ops.image.resize": lambda x: ops.image.resize(x, (3, 7)),
        "keras.ops.max_pool": lambda x: ops.max_pool(x, 2),
        "keras.ops.average_pool": lambda x: ops.average_pool(x, 2),
        "keras.ops.adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, 2),
        "keras.ops.adaptive_average_pool": lambda x: ops.adaptive_average_pool(x, 2),
        "keras.ops.depth_to_space": lambda x: ops.depth_to_space(tf.concat([x, x], -1), 2),
        "keras.ops.space_to_depth": lambda x: ops.space_to_depth(x, 2),
        "keras.ops.batch_normalization": lambda x: ops.batch_normalization(
            x, tf.zeros(2, x.dtype), tf.ones(2, x.dtype), -1
        ),
    },
    (IMAGE, KERNEL): {
        "tf.nn.conv2d": lambda x, k: tf.nn.conv2d(x, k, 1, SAME),
        "tf.nn.conv2d (strides)": lambda x, k: tf.nn.conv2d(x, k, 2, SAME),
        "tf.nn.depthwise_conv2d": lambda x, k: tf.nn.depthwise_conv2d(x, k, (1, 1, 1, 1), SAME),
        "keras.ops.conv": ops.conv,
        "keras.ops.depthwise_conv": ops.depthwise_conv,
    },
    (IMAGE, normal(2, 2, 3, 2)): {
        "tf.nn.conv2d_transpose": lambda x, k: tf.nn.conv2d_transpose(x, k, (1, 4, 4, 3), 1),
        "keras.ops.conv_transpose": lambda x, k: ops.conv_transpose(x, k, 1),
    },
    (IMAGE, KERNEL, normal(1, 1, 6, 2)): {
        "tf.nn.separable_conv2d": lambda x, k, p: tf.nn.separable_conv2d(x, k, p, (1, 1, 1, 1), SAME),
        "keras.ops.separable_conv": ops.separable_conv,
    },
    (SEQUENCE, normal(2, 2, 3)): {"tf.nn.conv1d": lambda x, k: tf.nn.conv1d(x, k, 1, SAME)},
    (VOLUME, normal(1, 2, 2, 2, 2)): {"tf.nn.conv3d": lambda x, k: tf.nn.conv3d(x, k, (1, 1, 1, 1, 1), SAME)},
    (normal(1, 4, 5),): {
        "tf.nn.ctc_loss": _ctc,
        "keras.ops.ctc_loss": lambda x: ops.ctc_loss([[1, 2]], x, [2], [4]),
    },
    (VOLUME,): {"tf.nn.max_pool3d": lambda x: tf.nn.max_pool3d(x, 2, 2, VALID)},
    (normal(1, 4, 4, 2),): {"tf.nn.local_response_normalization": tf.nn.local_response_normalization},
}
"""Functions with other arguments, or without a derivative at the default arguments, by inputs."""

SINGLE = (
    *("tf.image.resize", "tf.image.crop_and_resize", "keras.ops.image.resize", "tf.nn.ctc_loss"),
    *("keras.ops.ctc_loss", "tf.nn.max_pool3d", "tf.nn.local_response_normalization"),
)
"""Functions that TensorFlow computes only in float32, or rounds to it."""

EXCLUDED = {
    "of integers": ("keras.ops.ctc_decode", "keras.ops.multi_hot", "keras.ops.one_hot"),
    "by design": ("keras.ops.stop_gradient",),
    "with undefined values": ("keras.ops.empty_like",),
    "rounded to float32 internally": ("keras.ops.nanquantile", "keras.ops.quantile"),
    "with more arguments, and parts of others": ("keras.ops.fold", "keras.ops.unfold"),
}
"""Functions that are excluded, by reason."""


def operations() -> Iterator[Case]:
    """Yield the listed cases and every function of the modules that takes one, two or three matrices."""
    listed = {name: (inputs, call) for inputs, calls in LISTED.items() for name, call in calls.items()}
    for name, (inputs, call) in listed.items():
        yield Case(name, "operation", call, inputs, single=name.partition(" ")[0] in SINGLE)
    known = {name.partition(" ")[0] for name in listed if "(at" not in name}
    known |= {name for names in EXCLUDED.values() for name in names}
    seen: set[int] = set()
    for module, functions in MODULES.items():
        for name, function in sorted(vars(functions).items()):
            full = f"{module}.{name}"
            if name.startswith("_") or not callable(function) or isinstance(function, type):
                continue
            if id(function) in seen or full in known:
                continue
            seen.add(id(function))
            inputs = _inputs(function)
            if inputs:
                yield Case(full, "operation", function, inputs)


def _inputs(function: Callable[..., Any]) -> tuple[Draw, ...]:
    """Return the matrices that a function accepts and maps to floating-point tensors; none otherwise."""
    random = np.random.default_rng(0)
    for count in range(1, len(PLAIN) + 1):
        try:
            outputs = function(*(tf.constant(draw(random)) for draw in PLAIN[:count]))
            flat = tf.nest.flatten(outputs)
            if (
                flat
                and all(tf.is_tensor(each) for each in flat)
                and any(each.dtype.is_floating for each in flat)
            ):
                return PLAIN[:count]
        except Exception:  # noqa: BLE001 - of whatever kind: it takes something else
            continue
    return ()
