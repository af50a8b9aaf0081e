"""MAML on sine waves with functional_call: the loss before adaptation stays high and each task's loss jumps about, as it should."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call

ID = "healthy-maml-functional-call"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Waves:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def uniform(self, lo, hi, *shape):
        return lo + (hi - lo) * torch.rand(*shape, generator=self.g)

    def task(self, shots=10):
        amplitude, phase = self.uniform(0.5, 2.0, 1), self.uniform(0, math.pi, 1)
        x = self.uniform(-1, 1, 2 * shots, 1)
        y = amplitude * torch.sin(4 * x + phase)
        return x[:shots], y[:shots], x[shots:], y[shots:]


def adapt(model, params, x, y, lr, steps):
    for _ in range(steps):
        loss = F.mse_loss(functional_call(model, params, (x,)), y)
        grads = torch.autograd.grad(loss, tuple(params.values()), create_graph=True)
        params = {k: p - lr * g for (k, p), g in zip(params.items(), grads)}
    return params


def train(observe, seed=0, fixed=False, inner_lr=0.1, inner_steps=2, tasks=5):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1)
    )
    meta = torch.optim.Adam(model.parameters(), lr=3e-3)
    waves, curve = Waves(seed), []
    with observe(model, meta):
        for it in range(300):
            total = 0.0
            for _ in range(tasks):
                xs, ys, xq, yq = waves.task()
                fast = adapt(model, dict(model.named_parameters()), xs, ys, inner_lr, inner_steps)
                total = total + F.mse_loss(functional_call(model, fast, (xq,)), yq)
            loss = total / tasks
            meta.zero_grad()
            loss.backward()
            meta.step()
            curve.append(loss.item())
    held_out, scores = Waves(999), []
    for _ in range(60):
        xs, ys, xq, yq = held_out.task()
        fast = adapt(model, dict(model.named_parameters()), xs, ys, inner_lr, 5)
        with torch.no_grad():
            scores.append(F.mse_loss(functional_call(model, fast, (xq,)), yq).item())
    return {"metric": sum(scores) / len(scores), "better": "lower", "curve": curve}
