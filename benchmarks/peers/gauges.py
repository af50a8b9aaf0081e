"""Plain PyTorch hooks that record what the rule book reads."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Gauges", "leaves"]

BOUNDED = (nn.Tanh, nn.Sigmoid)
EVERY = 5


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that hold no other."""
    return {n: m for n, m in model.named_modules() if not any(True for _ in m.children())}


class Gauges:
    """Records of one run, as plain lists and dicts.

    ``norms[step][parameter]`` is the gradient norm at the optimizer, ``ratios[step][parameter]`` update over
    weight (matrices only), ``alive[layer]`` the units that fired, ``flat[layer]`` the share of saturated values.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.names = {id(p): n for n, p in model.named_parameters()}
        self.start = {n: p.detach().clone() for n, p in model.named_parameters()}
        self.weights = {
            f"{n}.weight"
            for n, m in leaves(model).items()
            if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        }
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.totals: list[float] = []
        self.norms: list[dict[str, float]] = []
        self.ratios: list[dict[str, float]] = []
        self.uncleared = 0
        self.bad_input: int | None = None
        self.input_rms, self.input_mean_over_std = 0.0, 0.0
        self.batch = 0
        self.output: Tensor | None = None
        self.alive: dict[str, Tensor] = {}
        self.flat: dict[str, float] = {}
        self._before: dict[str, Tensor] = {}
        self._fresh: set[str] = set()
        self._handles = self._attach()

    def _attach(self) -> list[Any]:
        found: list[Any] = [
            self.model.register_forward_pre_hook(self._inputs),
            self.model.register_forward_hook(self._outputs),
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        for name, module in leaves(self.model).items():
            if isinstance(module, nn.ReLU):
                found.append(module.register_forward_hook(self._silent(name)))
            elif isinstance(module, BOUNDED):
                found.append(module.register_forward_hook(self._saturated(name)))
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                found.append(parameter.register_hook(self._gradient(name, parameter)))
        return found

    def remove(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()

    @property
    def step(self) -> int:
        """Optimizer steps so far."""
        return len(self.rates)

    def _inputs(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        for x in args:
            if isinstance(x, Tensor) and x.is_floating_point():
                self.batch = x.shape[0] if x.dim() else 1
                if self.bad_input is None and not torch.isfinite(x).all():
                    self.bad_input = self.step
                if self.step == 0:
                    self.input_rms = float(x.detach().float().pow(2).mean().sqrt())
                    spread = float(x.detach().float().std()) + 1e-12
                    self.input_mean_over_std = abs(float(x.detach().float().mean())) / spread

    def _outputs(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and self.step in (0, 1, 20):
            self.output = output.detach().float()

    def _silent(self, name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            if self.step % EVERY == 0 and output.dim() > 1:
                active = (
                    (output.detach() > 0).flatten(2).any(-1) if output.dim() > 2 else output > 0
                )
                seen = active.any(0)
                # Deaths count from the last windows: older activity is forgotten.
                fresh = self.step % 50 == 0 or name not in self.alive
                self.alive[name] = seen if fresh else self.alive[name] | seen

        return hook

    def _saturated(self, name: str) -> Any:
        def hook(module: nn.Module, _args: Any, output: Tensor) -> None:
            if self.step % EVERY == 0:
                high = 0.97 if isinstance(module, nn.Tanh) else 0.985
                h = (
                    output.detach().abs()
                    if isinstance(module, nn.Tanh)
                    else (2 * output.detach() - 1).abs()
                )
                self.flat[name] = float((h > high).float().mean())

        return hook

    def _gradient(self, name: str, parameter: nn.Parameter) -> Any:
        def hook(_gradient: Tensor) -> None:
            if name in self._fresh:
                self._fresh.discard(name)
                kept = parameter.grad is not None and bool((parameter.grad != 0).any())
                self.uncleared += int(kept)

        return hook

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        norms = {}
        for name, p in self.model.named_parameters():
            if p.grad is not None:
                norms[name] = float(p.grad.detach().float().norm())
        self.norms.append(norms)
        self.totals.append(math.sqrt(sum(n * n for n in norms.values())))
        self.rates.append(float(optimizer.param_groups[0]["lr"]))
        self._before = {n: p.detach().clone() for n, p in self.model.named_parameters()}

    def _after_step(self, *_: Any) -> None:
        ratios = {}
        for name, p in self.model.named_parameters():
            old = self._before[name]
            moved = float((p.detach().float() - old.float()).norm())
            size = float(old.float().norm())
            if p.dim() >= 2 and size > 0:
                ratios[name] = moved / size
        self.ratios.append(ratios)
        self._fresh = set(self.names.values())
