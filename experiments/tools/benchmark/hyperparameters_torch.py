"""The workloads of bilevel problems in PyTorch: by hand, by TorchOpt and by Betty."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as nn

from .hyperparameters import (
    BATCH,
    CLASSES,
    FEATURES,
    ITERATIONS,
    PENALTIES,
    WEIGHTS,
    Examples,
    Rates,
    examples,
)
from .torch_device import DEVICE
from .workload import Program


@dataclasses.dataclass(frozen=True)
class Workload:
    """A linear model ``module``, losses of its outputs, and phi, which starts at zeros."""

    inner: Callable[..., torch.Tensor]
    outer: Callable[..., torch.Tensor]
    batches: Sequence[Sequence[torch.Tensor]]
    asked: Sequence[torch.Tensor]
    module: torch.nn.Linear
    phi: torch.nn.Parameter
    rates: Rates

    def zero(self) -> None:
        """Reset the model's parameters to the start of the inner loop."""
        for each in self.module.parameters():
            torch.nn.init.zeros_(each)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of phi."""
        return torch.optim.SGD([self.phi], lr=self.rates.outer, momentum=0.9)


def penalties(size: int) -> Workload:
    """A penalty for each feature, with all examples in each step."""

    def outer(outputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return nn.binary_cross_entropy_with_logits(outputs[:, 0], classes)

    def inner(outputs: torch.Tensor, kernel: torch.Tensor, phi: torch.Tensor, batch: Any) -> torch.Tensor:
        return outer(outputs, batch[1]) + (phi.exp() * kernel[0] ** 2).sum() / 2

    inputs, classes, *asked = _tensors(examples(size))
    module = torch.nn.Linear(FEATURES, 1, bias=False, device=DEVICE)
    phi = torch.nn.Parameter(torch.zeros(FEATURES, device=DEVICE))
    batches = [(inputs, classes.float())]
    return Workload(inner, outer, batches, (asked[0], asked[1].float()), module, phi, PENALTIES)


def weights(size: int) -> Workload:
    """A weight for each example, with a mini-batch in each step."""

    def inner(outputs: torch.Tensor, kernel: torch.Tensor, phi: torch.Tensor, batch: Any) -> torch.Tensor:
        _, classes, rows = batch
        losses = nn.cross_entropy(outputs, classes, reduction="none")
        return (2 * torch.sigmoid(phi[rows]) * losses).mean()

    inputs, classes, *asked = _tensors(examples(size, CLASSES))
    rows = torch.arange(size // 2, device=DEVICE).split(BATCH)
    batches = [(inputs[each], classes[each].long(), each) for each in rows]
    module = torch.nn.Linear(FEATURES, CLASSES, device=DEVICE)
    phi = torch.nn.Parameter(torch.zeros(size // 2, device=DEVICE))
    return Workload(inner, nn.cross_entropy, batches, (asked[0], asked[1].long()), module, phi, WEIGHTS)


def _tensors(found: Examples) -> list[torch.Tensor]:
    return [torch.from_numpy(part).to(DEVICE) for part in found]


def by_hand(workload: Callable[[int], Workload], steps: int, size: int) -> Program:
    """``torch.autograd.grad(create_graph=True)`` in each step."""
    given = workload(size)
    optimizer, phi = given.optimizer(), given.phi
    given.zero()
    start = [each.detach().clone().requires_grad_() for each in given.module.parameters()]

    def adapted_loss() -> torch.Tensor:
        theta = start
        for step in range(steps):
            batch = given.batches[step % len(given.batches)]
            loss = given.inner(nn.linear(batch[0], *theta), theta[0], phi, batch)
            gradients = torch.autograd.grad(loss, theta, create_graph=True)
            theta = [p - given.rates.inner * g for p, g in zip(theta, gradients, strict=True)]
        return given.outer(nn.linear(given.asked[0], *theta), given.asked[1])

    return _program(optimizer, adapted_loss)


def torchopt(workload: Callable[[int], Workload], steps: int, size: int) -> Program:
    """``torchopt.MetaSGD`` with the state saved and restored, as in its examples."""
    import torchopt as library

    given = workload(size)
    given.zero()
    optimizer, module = given.optimizer(), given.module
    inner = library.MetaSGD(module, lr=given.rates.inner)
    start = [library.extract_state_dict(each, by="reference") for each in (module, inner)]

    def adapted_loss() -> torch.Tensor:
        for step in range(steps):
            batch = given.batches[step % len(given.batches)]
            inner.step(given.inner(module(batch[0]), module.weight, given.phi, batch))
        value = given.outer(module(given.asked[0]), given.asked[1])
        library.recover_state_dict(module, start[0])
        library.recover_state_dict(inner, start[1])
        return value

    return _program(optimizer, adapted_loss)


def betty(workload: Callable[[int], Workload], steps: int, size: int) -> Program:
    """Betty's example: a difference of inner gradients at theta_K, not a gradient through K steps."""
    from betty.configs import Config, EngineConfig
    from betty.engine import Engine
    from betty.problems import ImplicitProblem

    given = workload(size)
    losses: list[torch.Tensor] = []

    class Phi(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.phi = given.phi

        def forward(self) -> torch.Tensor:
            return self.phi

    class Outer(ImplicitProblem):
        def training_step(self, batch: Any) -> torch.Tensor:
            losses[:] = [given.outer(self.inner(batch[0]), batch[1])]
            return losses[0]

    class Inner(ImplicitProblem):
        def training_step(self, batch: Any) -> torch.Tensor:
            return given.inner(self.module(batch[0]), self.module.weight, self.outer(), batch)

        def on_inner_loop_start(self) -> None:
            given.zero()

    outer = Outer("outer", Config(), Phi(), given.optimizer(), train_data_loader=[given.asked])
    descent = torch.optim.SGD(given.module.parameters(), lr=given.rates.inner)
    unrolled = Config(type="darts", unroll_steps=steps)
    inner = Inner("inner", unrolled, given.module, descent, train_data_loader=given.batches)
    depends = {"u2l": {outer: [inner]}, "l2u": {inner: [outer]}}
    engine = Engine([outer, inner], EngineConfig(train_iters=steps * ITERATIONS), depends)

    def run() -> float:
        engine.run()
        return losses[0].item()

    return Program(run, ITERATIONS)


def _program(optimizer: torch.optim.Optimizer, adapted_loss: Callable[[], torch.Tensor]) -> Program:
    def run() -> float:
        for _ in range(ITERATIONS):
            optimizer.zero_grad()
            value = adapted_loss()
            value.backward()
            optimizer.step()
        return value.item()

    return Program(run, ITERATIONS)


penalties_by_hand = functools.partial(by_hand, penalties)
penalties_torchopt = functools.partial(torchopt, penalties)
penalties_betty = functools.partial(betty, penalties)
weights_by_hand = functools.partial(by_hand, weights)
weights_torchopt = functools.partial(torchopt, weights)
weights_betty = functools.partial(betty, weights)
