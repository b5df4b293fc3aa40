"""The workload in idiomatic JAX: ``jit`` of ``scan`` over iterations of ``vmap`` over tasks of ``grad``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .workload import AMPLITUDE, INNER_RATE, INPUTS, OUTER_RATE, PHASE, Program, Size

UNROLLED, AT_A_TIME = 5, 2
"""The largest number of inner steps without a loop, and the steps that the body of a loop consists of."""


def build(steps: int, size: int | Size) -> Program:
    """Return the training loop; the tasks of a block of iterations are drawn together.

    Up to :data:`UNROLLED` inner steps are unrolled. More are a loop that computes the values within a step
    again for its derivative, which is faster than other forms for 20 and 100 steps.
    """
    size = size if isinstance(size, Size) else Size(size)
    shots = size.examples

    def meta_loss(parameters: Any, inputs: Any, targets: Any) -> Any:
        def step(adapted: Any, _: Any = None) -> tuple[Any, None]:
            gradients = jax.grad(_loss)(adapted, inputs[:shots], targets[:shots])
            return jax.tree.map(lambda p, g: p - INNER_RATE * g, adapted, gradients), None

        adapted = parameters
        if steps > UNROLLED:
            adapted, _ = jax.lax.scan(jax.checkpoint(step), adapted, length=steps, unroll=AT_A_TIME)
        else:
            for _ in range(steps):
                adapted, _ = step(adapted)
        return _loss(adapted, inputs[shots:], targets[shots:])

    def iteration(carry: Any, tasks: Any) -> tuple[Any, Any]:
        parameters, state = carry
        losses, gradients = jax.vmap(jax.value_and_grad(meta_loss), in_axes=(None, 0, 0))(parameters, *tasks)
        updates, state = adam(jax.tree.map(lambda g: g.mean(0), gradients), state)
        return (jax.tree.map(jnp.add, parameters, updates), state), losses.mean()

    def block(carry: Any, key: Any) -> tuple[Any, Any]:
        return jax.lax.scan(iteration, carry, _sample(key, size))

    chunk = jax.jit(lambda carry, keys: jax.lax.scan(block, carry, keys))
    layers = size.layers()
    keys = jax.random.split(jax.random.key(0), len(layers))
    initializer = jax.nn.initializers.glorot_uniform()
    parameters = [
        (initializer(key, sizes), jnp.zeros(sizes[1])) for key, sizes in zip(keys, layers, strict=True)
    ]
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    carry, key = (parameters, (zeros, zeros, 0.0)), jax.random.key(1)
    blocks = -(-size.iterations // size.block)

    def run() -> float:
        nonlocal carry, key
        key, *drawn = jax.random.split(key, blocks + 1)
        carry, losses = chunk(carry, jnp.stack(drawn))
        return float(losses[-1, -1])

    return Program(run, blocks * size.block)


def _loss(parameters: Any, inputs: Any, targets: Any) -> Any:
    hidden = inputs
    for weights, bias in parameters[:-1]:
        hidden = jax.nn.relu(hidden @ weights + bias)
    weights, bias = parameters[-1]
    return jnp.mean((hidden @ weights + bias - targets) ** 2)


def _sample(key: Any, size: Size) -> tuple[Any, Any]:
    amplitude_key, phase_key, input_key = jax.random.split(key, 3)
    each = (size.block, size.tasks)
    amplitude = jax.random.uniform(amplitude_key, (*each, 1, 1), minval=AMPLITUDE[0], maxval=AMPLITUDE[1])
    phase = jax.random.uniform(phase_key, (*each, 1, 1), minval=PHASE[0], maxval=PHASE[1])
    shape = (*each, 2 * size.examples, 1)
    inputs = jax.random.uniform(input_key, shape, minval=INPUTS[0], maxval=INPUTS[1])
    return inputs, amplitude * jnp.sin(inputs - phase)


def adam(gradients: Any, state: Any) -> tuple[Any, Any]:
    """Adam as in optax, without the dependency."""
    first, second, count = state
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    scale = OUTER_RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    updates = jax.tree.map(lambda m, v: -scale * m / (jnp.sqrt(v) + 1e-7), first, second)
    return updates, (first, second, count)
