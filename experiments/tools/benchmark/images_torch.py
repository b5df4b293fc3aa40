"""The workload of images in PyTorch: a loop over tasks, and ``torch.func.vmap``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn

from .images import INNER_RATE, ITERATIONS, OUTER_RATE, TASKS, WAYS, kernels, sample
from .torch_device import DEVICE
from .workload import Program

Parameters = list[torch.Tensor]


def loop(steps: int, shots: int) -> Program:
    """A loop over tasks, as in learn2learn: ``torch.autograd.grad(create_graph=True)`` in each step."""
    parameters = _parameters()
    optimizer = torch.optim.Adam(parameters, lr=OUTER_RATE)

    def iteration(tasks: Sequence[torch.Tensor]) -> torch.Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), device=DEVICE)
        for support, classes, query, answers in zip(*tasks, strict=True):
            adapted = parameters
            for _ in range(steps):
                value = _loss(adapted, support, classes)
                gradients = torch.autograd.grad(value, adapted, create_graph=True)
                adapted = [p - INNER_RATE * g for p, g in zip(adapted, gradients, strict=True)]
            value = _loss(adapted, query, answers) / TASKS
            value.backward()
            total += value.detach()
        optimizer.step()
        return total

    return _program(iteration, shots)


def vmap(steps: int, shots: int) -> Program:
    """``torch.func.vmap`` over tasks of ``torch.func.grad``."""
    parameters = _parameters()
    optimizer = torch.optim.Adam(parameters, lr=OUTER_RATE)

    def meta_loss(parameters: Parameters, task: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        support, classes, query, answers = task
        adapted = parameters
        for _ in range(steps):
            gradients = torch.func.grad(_loss)(adapted, support, classes)
            adapted = [p - INNER_RATE * g for p, g in zip(adapted, gradients, strict=True)]
        value = _loss(adapted, query, answers)
        return value, value

    of_tasks = torch.func.vmap(torch.func.grad(meta_loss, has_aux=True), in_dims=(None, 0))

    def iteration(tasks: Sequence[torch.Tensor]) -> torch.Tensor:
        gradients, losses = of_tasks([p.detach() for p in parameters], tuple(tasks))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.mean(0)
        optimizer.step()
        return losses.mean()

    return _program(iteration, shots)


def _loss(parameters: Parameters, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of conv4 with the statistics of the batch."""
    hidden = images
    *blocks, weights, bias = parameters
    for kernel, shift, gamma, beta in zip(*[iter(blocks)] * 4, strict=True):
        hidden = nn.conv2d(hidden, kernel, shift, stride=2, padding=1)
        hidden = nn.relu(nn.batch_norm(hidden, None, None, gamma, beta, training=True, eps=1e-3))
    return nn.cross_entropy(hidden.mean((2, 3)) @ weights + bias, classes)


def _parameters() -> Parameters:
    torch.manual_seed(0)
    found: Parameters = []
    for inputs, outputs in kernels():
        kernel = torch.nn.init.xavier_uniform_(torch.empty(outputs, inputs, 3, 3))
        found += [kernel, torch.zeros(outputs), torch.ones(outputs), torch.zeros(outputs)]
    found += [torch.nn.init.xavier_uniform_(torch.empty(kernels()[-1][1], WAYS)), torch.zeros(WAYS)]
    return [each.to(DEVICE).requires_grad_() for each in found]


def _program(iteration: Callable[[Any], torch.Tensor], shots: int) -> Program:
    random = np.random.default_rng(1)

    def run() -> float:
        for _ in range(ITERATIONS):
            drawn = [torch.from_numpy(part).to(DEVICE) for part in sample(random, shots)]
            support, classes, query, answers = drawn
            images = (each.permute(0, 1, 4, 2, 3).contiguous() for each in (support, query))
            value = iteration([next(images), classes, next(images), answers])
        return float(value)

    return Program(run, ITERATIONS)
