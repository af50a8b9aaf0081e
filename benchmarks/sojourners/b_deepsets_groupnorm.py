"""Deep Sets: estimate the correlation of the two columns of a sample (a set of pairs), as in simulation-based inference.
Bug: after pooling a GroupNorm(C, C) stands where LayerNorm(C) was meant: on (N, C) each group holds one value and the output is constant."""

import torch
import torch.nn as nn

ID = "b_deepsets_groupnorm"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["pool_norm"], "onset": (0, 0)}


class DeepSets(nn.Module):
    def __init__(self, norm, h=48):
        super().__init__()
        self.phi = nn.Sequential(
            nn.Linear(2, h), nn.ELU(), nn.Linear(h, h), nn.ELU(), nn.Linear(h, h)
        )
        self.pool_norm = norm(2 * h)
        self.rho = nn.Sequential(nn.Linear(2 * h, h), nn.ELU(), nn.Linear(h, 2))

    def forward(self, x, mask):
        e = self.phi(x) * mask[..., None]
        mean = e.sum(1) / mask.sum(1, keepdim=True)
        mx = e.masked_fill(~mask[..., None].bool(), -1e4).amax(1)
        out = self.rho(self.pool_norm(torch.cat([mean, mx], 1)))
        return torch.tanh(out[:, 0]), out[:, 1].clamp(-5, 3)


def simulate(n, N=40):
    rho = torch.rand(n) * 1.9 - 0.95
    z = torch.randn(n, N, 2)
    x = torch.stack(
        [z[..., 0], rho[:, None] * z[..., 0] + (1 - rho**2).sqrt()[:, None] * z[..., 1]], -1
    )
    size = torch.randint(15, N + 1, (n, 1))
    return x, (torch.arange(N) < size).float(), rho


def gaussian_nll(mu, logvar, y):
    return (0.5 * logvar + 0.5 * (y - mu) ** 2 * torch.exp(-logvar)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = DeepSets((lambda c: nn.LayerNorm(c)) if fixed else (lambda c: nn.GroupNorm(c, c)))
    opt = torch.optim.RAdam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.85)
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    curve = []
    with observe(model, opt):
        for epoch in range(10):
            for _ in range(70):
                x, m, rho = simulate(64)
                loss = gaussian_nll(*model(x, m), rho)
                opt.zero_grad()
                loss.backward()
                opt.step()
                for k, v in model.state_dict().items():
                    ema[k].lerp_(v, 0.02)
                curve.append(loss.item())
            sched.step()
    model.load_state_dict(ema)
    with torch.no_grad():
        x, m, rho = simulate(1000)
        metric = (model(x, m)[0] - rho).pow(2).mean().sqrt().item()
    return {"metric": metric, "better": "lower", "curve": curve}
