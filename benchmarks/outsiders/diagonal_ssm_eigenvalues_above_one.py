"""Two diagonal linear recurrences; eigenvalues start around 1 (1 + 0.05 randn), unconstrained, instead of exp(-exp(.))."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "diagonal-ssm-eigenvalues-above-one"
TRUTH = {
    "mechanisms": ["depth_amplification", "initialization_too_large"],
    "layers": [f"layers.{i}{s}" for i in range(2) for s in ("", ".ssm", ".ssm.B", ".ssm.C")],
    "onset": (0, 5),
}
D, N, T = (16, 32, 90)


class SSM(nn.Module):
    def __init__(self, stable):
        super().__init__()
        self.stable = stable
        self.a = (
            nn.Parameter(torch.log(torch.exp(torch.empty(N).uniform_(-4.6, -1.6))))
            if stable
            else nn.Parameter(1 + 0.05 * torch.randn(N))
        )
        self.B, self.C = (nn.Linear(D, N, bias=False), nn.Linear(N, D))

    def forward(self, x):
        a = torch.exp(-torch.exp(self.a)) if self.stable else self.a
        u = self.B(x) * (1 - a if self.stable else 1.0)
        h = torch.zeros(x.shape[0], N)
        out = []
        for t in range(x.shape[1]):
            h = a * h + u[:, t]
            out.append(h)
        return self.C(torch.stack(out, 1))


class Layer(nn.Module):
    def __init__(self, stable):
        super().__init__()
        self.norm, self.ssm, self.ff = (nn.LayerNorm(D), SSM(stable), nn.Linear(D, D))

    def forward(self, x):
        return x + self.ff(F.gelu(self.ssm(self.norm(x))))


class Net(nn.Module):
    def __init__(self, stable):
        super().__init__()
        self.inp = nn.Linear(2, D)
        self.layers = nn.ModuleList([Layer(stable) for _ in range(2)])
        self.head = nn.Linear(D, 1)

    def forward(self, x):
        h = self.inp(x)
        for l in self.layers:
            h = l(h)
        return self.head(h[:, -1]).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Net(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.01)
    losses = []
    decay = 0.96 ** torch.arange(T - 1, -1, -1).float()
    with observe(model, opt):
        for step in range(250):
            x = torch.randn(32, T, 2, generator=g)
            x[..., 1] = (x[..., 1] > 0).float()
            y = (x[..., 0] * x[..., 1] * decay).sum(1) / 2.5 + 0.2 * (x[..., 0] * decay).sum(1)
            loss = F.mse_loss(model(x), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
