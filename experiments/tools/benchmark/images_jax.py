"""The workload of images in JAX: ``jit`` of ``vmap`` over tasks of ``value_and_grad``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .images import INNER_RATE, ITERATIONS, WAYS, Tasks, kernels, sample
from .jax_program import adam
from .workload import Program


def build(steps: int, shots: int) -> Program:
    """Return the training loop."""

    def meta_loss(parameters: Any, task: Tasks) -> Any:
        adapted = parameters
        for _ in range(steps):
            gradients = jax.grad(_loss)(adapted, task.support, task.support_classes)
            adapted = jax.tree.map(lambda p, g: p - INNER_RATE * g, adapted, gradients)
        return _loss(adapted, task.query, task.query_classes)

    @jax.jit
    def iteration(parameters: Any, state: Any, tasks: Tasks) -> tuple[Any, Any, Any]:
        losses, gradients = jax.vmap(jax.value_and_grad(meta_loss), in_axes=(None, 0))(parameters, tasks)
        updates, state = adam(jax.tree.map(lambda g: g.mean(0), gradients), state)
        return jax.tree.map(jnp.add, parameters, updates), state, losses.mean()

    parameters = _parameters()
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    carry, random = (parameters, (zeros, zeros, 0.0)), np.random.default_rng(1)

    def run() -> float:
        nonlocal carry
        for _ in range(ITERATIONS):
            *carry, value = iteration(*carry, sample(random, shots))
        return float(value)

    return Program(run, ITERATIONS)


def _loss(parameters: Any, images: Any, classes: Any) -> Any:
    """Return the mean cross-entropy of conv4 with the statistics of the batch."""
    blocks, (weights, bias) = parameters
    hidden = images
    for kernel, shift, gamma, beta in blocks:
        layout = ("NHWC", "HWIO", "NHWC")
        hidden = (
            jax.lax.conv_general_dilated(hidden, kernel, (2, 2), "SAME", dimension_numbers=layout) + shift
        )
        centred = hidden - hidden.mean((0, 1, 2))
        variance = (centred**2).mean((0, 1, 2))
        hidden = jax.nn.relu(centred * (gamma * jax.lax.rsqrt(variance + 1e-3)) + beta)
    logits = hidden.mean((1, 2)) @ weights + bias
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), classes[:, None], 1).mean()


def _parameters() -> Any:
    initializer = jax.nn.initializers.glorot_uniform(in_axis=-2, out_axis=-1)
    keys = iter(jax.random.split(jax.random.key(0), len(kernels()) + 1))
    blocks = [
        (
            initializer(next(keys), (3, 3, *sizes)),
            jnp.zeros(sizes[1]),
            jnp.ones(sizes[1]),
            jnp.zeros(sizes[1]),
        )
        for sizes in kernels()
    ]
    return blocks, (initializer(next(keys), (kernels()[-1][1], WAYS)), jnp.zeros(WAYS))
