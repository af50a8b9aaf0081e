"""MAML (torch.func) on sinusoid tasks, meta-batch of 8 tasks, linear decay of the outer learning rate over the meta steps.
Bug: scheduler.step() stands in the loop over the tasks, so the rate is at zero after an eighth of the run."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

ID = "b_maml_regression"
META_STEPS, TASKS = 600, 8
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug"],
    "layers": None,
    "onset": (0, META_STEPS // TASKS + 1),
}


class Regressor(nn.Module):
    def __init__(self, h=40):
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(1, h), nn.Linear(h, h), nn.Linear(h, 1)

    def forward(self, x):
        return self.l3(F.silu(self.l2(torch.tanh(self.l1(x)))))


def tasks(n, k):
    amp = torch.rand(n, 1, 1) * 1.5 + 0.5
    ph = torch.rand(n, 1, 1) * 3.14
    x = torch.rand(n, 2 * k, 1) * 8 - 4
    y = amp * torch.sin(x + ph)
    return x[:, :k], y[:, :k], x[:, k:], y[:, k:]


def make_adapted_loss(model, inner_lr, inner_steps):
    def task_loss(params, x, y):
        return F.mse_loss(functional_call(model, params, (x,)), y)

    def adapted(params, xs, ys, xq, yq):
        fast = params
        for _ in range(inner_steps):
            g = grad(task_loss)(fast, xs, ys)
            fast = {k: fast[k] - inner_lr * g[k] for k in fast}
        return task_loss(fast, xq, yq)

    return adapted


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Regressor()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: max(0.0, 1 - s / META_STEPS))
    adapted = make_adapted_loss(model, 0.05, 2)
    curve = []
    with observe(model, opt):
        for step in range(META_STEPS):
            params = dict(model.named_parameters())
            opt.zero_grad()
            meta = 0.0
            for x, y, xq, yq in zip(*tasks(TASKS, 10)):
                loss = adapted(params, x, y, xq, yq) / TASKS
                loss.backward()
                meta += loss.item()
                if not fixed:
                    sched.step()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            opt.step()
            if fixed:
                sched.step()
            curve.append(meta)
    params = {k: v.detach() for k, v in model.named_parameters()}
    m = vmap(adapted, in_dims=(None, 0, 0, 0, 0))(params, *tasks(400, 10)).mean().item()
    return {"metric": m, "better": "lower", "curve": curve}
