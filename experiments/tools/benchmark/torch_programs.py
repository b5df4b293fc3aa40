"""The workload in PyTorch: compiled ``torch.func``, and the loops of its meta-learning libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .torch_device import DEVICE
from .workload import AMPLITUDE, INNER_RATE, INPUTS, OUTER_RATE, PHASE, QUERIES, SHOTS, TASKS, Program, Size

Batch = tuple[torch.Tensor, torch.Tensor]

EAGER_ITERATIONS, COMPILED_ITERATIONS = 3, 400


def torch_func(steps: int, width: int) -> Program:
    """``torch.compile`` of ``vmap`` of ``grad``, with an optimizer step after each call."""
    model = _model(width)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=OUTER_RATE)

    def loss(parameters: Any, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _mse(torch.func.functional_call(model, parameters, (inputs,)), targets)

    def meta_loss(
        parameters: Any, inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        adapted = parameters
        for _ in range(steps):
            gradients = torch.func.grad(loss)(adapted, inputs[:SHOTS], targets[:SHOTS])
            adapted = {key: value - INNER_RATE * gradients[key] for key, value in adapted.items()}
        value = loss(adapted, inputs[SHOTS:], targets[SHOTS:])
        return value, value

    @torch.compile
    def meta_gradient(parameters: Any, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
        of_tasks = torch.func.vmap(torch.func.grad(meta_loss, has_aux=True), in_dims=(None, 0, 0))
        gradients, losses = of_tasks(parameters, inputs, targets)
        return {key: value.mean(0) for key, value in gradients.items()}, losses.mean()

    def iteration(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        detached = {key: value.detach() for key, value in parameters.items()}
        gradients, value = meta_gradient(detached, inputs, targets)
        for key, parameter in parameters.items():
            parameter.grad = gradients[key]
        optimizer.step()
        return value

    return _program(iteration, COMPILED_ITERATIONS)


def learn2learn_style(steps: int, width: int) -> Program:
    """A loop over tasks; parameters are cloned and updated by ``torch.autograd.grad(create_graph=True)``."""
    model = _model(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=OUTER_RATE)

    def adapted_loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        adapted = {key: value.clone() for key, value in model.named_parameters()}
        for _ in range(steps):
            value = _mse(torch.func.functional_call(model, adapted, (inputs[:SHOTS],)), targets[:SHOTS])
            gradients = torch.autograd.grad(value, list(adapted.values()), create_graph=True)
            adapted = {
                key: leaf - INNER_RATE * gradient
                for (key, leaf), gradient in zip(adapted.items(), gradients, strict=True)
            }
        return _mse(torch.func.functional_call(model, adapted, (inputs[SHOTS:],)), targets[SHOTS:])

    return _program(_loop_over_tasks(optimizer, adapted_loss), EAGER_ITERATIONS)


def higher(steps: int, width: int) -> Program:
    """``higher.innerloop_ctx`` for each task, as in its MAML example."""
    import higher as library

    model = _model(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=OUTER_RATE)
    inner = torch.optim.SGD(model.parameters(), lr=INNER_RATE)

    def adapted_loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with library.innerloop_ctx(model, inner, copy_initial_weights=False) as (functional, differentiable):
            for _ in range(steps):
                differentiable.step(_mse(functional(inputs[:SHOTS]), targets[:SHOTS]))
            return _mse(functional(inputs[SHOTS:]), targets[SHOTS:])

    return _program(_loop_over_tasks(optimizer, adapted_loss), EAGER_ITERATIONS)


def torchopt(steps: int, width: int) -> Program:
    """``torchopt.MetaSGD`` with the state saved and restored for each task, as in its MAML example."""
    import torchopt as library

    model = _model(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=OUTER_RATE)
    inner = library.MetaSGD(model, lr=INNER_RATE)
    start = [library.extract_state_dict(each, by="reference") for each in (model, inner)]

    def adapted_loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        for _ in range(steps):
            inner.step(_mse(model(inputs[:SHOTS]), targets[:SHOTS]))
        value = _mse(model(inputs[SHOTS:]), targets[SHOTS:])
        library.recover_state_dict(model, start[0])
        library.recover_state_dict(inner, start[1])
        return value

    return _program(_loop_over_tasks(optimizer, adapted_loss), EAGER_ITERATIONS)


def _loop_over_tasks(
    optimizer: torch.optim.Optimizer, adapted_loss: Callable[..., torch.Tensor]
) -> Callable[..., torch.Tensor]:
    def iteration(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), device=DEVICE)
        for of_one_task in zip(inputs, targets, strict=True):
            value = adapted_loss(*of_one_task) / TASKS
            value.backward()
            total += value.detach()
        optimizer.step()
        return total

    return iteration


def _program(iteration: Callable[..., torch.Tensor], iterations: int) -> Program:
    def run() -> float:
        for _ in range(iterations):
            value = iteration(*_sample())
        return float(value)

    return Program(run, iterations)


def _sample() -> Batch:
    def uniform(low: float, high: float, size: int) -> torch.Tensor:
        return torch.empty(TASKS, size, 1, device=DEVICE).uniform_(low, high)

    inputs = uniform(*INPUTS, SHOTS + QUERIES)
    return inputs, uniform(*AMPLITUDE, 1) * torch.sin(inputs - uniform(*PHASE, 1))


def _model(width: int) -> torch.nn.Module:
    torch.manual_seed(0)
    first, second, last = (torch.nn.Linear(*sizes) for sizes in Size(width).layers())
    return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last).to(DEVICE)


def _mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.mean((outputs - targets) ** 2)
