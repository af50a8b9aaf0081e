"""Small convolutional autoencoder trained in pure half precision (.half()) with Adam. eps=1e-8 and the squares of small
gradients are 0 in float16, so the update divides by zero and all weights become NaN or inf at once.
discuss.pytorch.org thread 1765 "Adam+Half Precision = NaNs?" (fix: Adam in float32 on master copies of the weights)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_adam_half_eps"
TRUTH = {"mechanisms": ["half_precision_underflow"], "layers": None, "onset": (0, 1)}


class AutoEncoder(nn.Module):
    """1-d signals of 64 samples -> 8 numbers -> signal."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Linear(64, 96), nn.ELU(), nn.Linear(96, 48), nn.ELU(), nn.Linear(48, 8)
        )
        self.dec = nn.Sequential(
            nn.Linear(8, 48), nn.ELU(), nn.Linear(48, 96), nn.ELU(), nn.Linear(96, 64)
        )

    def forward(self, x):
        return self.dec(self.enc(x))


def pulses(n):
    t = torch.linspace(0, 1, 64)
    c, w = 0.2 + 0.6 * torch.rand(n, 1), 0.05 + 0.1 * torch.rand(n, 1)
    a, s = 0.5 + torch.rand(n, 1), torch.randn(n, 1)
    return a * torch.exp(-(((t - c) / w) ** 2)) + 0.5 * s * (t - 0.5)


class MasterAdam:
    """float32 copies of the half parameters for the optimizer step."""

    def __init__(self, model, lr):
        self.half = list(model.parameters())
        self.master = [p.detach().clone().float().requires_grad_() for p in self.half]
        self.inner = torch.optim.Adam(self.master, lr=lr)

    def step(self):
        for m, p in zip(self.master, self.half):
            m.grad = p.grad.float()
        self.inner.step()
        with torch.no_grad():
            for m, p in zip(self.master, self.half):
                p.copy_(m)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, xt = pulses(4096).half(), pulses(512).half()
    model = AutoEncoder().half()
    optimizer = (
        MasterAdam(model, lr=1e-3) if fixed else torch.optim.Adam(model.parameters(), lr=1e-3)
    )
    watched = optimizer.inner if fixed else optimizer
    curve = []
    with observe(model, watched):
        for step in range(900):
            batch = x[torch.randint(0, len(x), (64,))]
            loss = F.mse_loss(model(batch).float(), batch.float())
            model.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = F.mse_loss(model(xt).float(), xt.float()).item() / xt.float().var().item()
    return {"metric": err, "better": "lower", "curve": curve}
