"""Long-sequence forecasting with an Informer-like encoder: queries, keys and values of shape (B, L, H, D) are brought to (B, H, L, D) with .view() where a
transpose is meant, so heads and time are mixed. Reported as zhouhaoyi/Informer2020 issue 59."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_informer_view"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class AttentionLayer(nn.Module):
    def __init__(self, d, heads, right):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))
        self.h, self.right = heads, right

    def split(self, z):
        B, L, d = z.shape
        z = z.view(B, L, self.h, d // self.h)
        return z.transpose(1, 2) if self.right else z.view(B, self.h, L, -1)

    def forward(self, x):
        B, L, d = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        a = (q @ k.transpose(-2, -1) / math.sqrt(d // self.h)).softmax(-1)
        o = (a @ v).transpose(1, 2).reshape(B, L, d)
        return self.out(o)


class Encoder(nn.Module):
    def __init__(self, d=32, heads=4, L=24, right=False):
        super().__init__()
        self.value = nn.Linear(13, d)
        self.pos = nn.Parameter(0.02 * torch.randn(L, d))
        self.attn = nn.ModuleList([AttentionLayer(d, heads, right) for _ in range(2)])
        self.ff = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, 64), nn.GELU(), nn.Linear(64, d)) for _ in range(2)]
        )
        self.n1 = nn.ModuleList([nn.LayerNorm(d) for _ in range(2)])
        self.n2 = nn.ModuleList([nn.LayerNorm(d) for _ in range(2)])
        self.proj = nn.Linear(d, 1)

    def forward(self, x):
        h = self.value(x) + self.pos
        for a, f, n1, n2 in zip(self.attn, self.ff, self.n1, self.n2):
            h = n1(h + a(h))
            h = n2(h + f(h))
        return self.proj(h).squeeze(2)


def load_curves(n, g, L=24):
    """half-hourly readings in which every one of 12 feeders reports twice, at random times; restore at each time what the feeder's OTHER report says"""
    order = torch.rand(n, L, generator=g).argsort(1)
    feeder = order % (L // 2)
    z = torch.randn(n, L, generator=g)
    mate = torch.empty_like(order)
    inv = order.argsort(1)
    mate = torch.gather(inv, 1, (order + L // 2) % L)
    return torch.cat([F.one_hot(feeder, 12).float() * 2, z.unsqueeze(2)], 2), torch.gather(
        z, 1, mate
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 50)
    net = Encoder(right=fixed)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    curve = []
    with observe(net, opt):
        for it in range(700):
            x, y = load_curves(32, g)
            loss = F.mse_loss(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    net.eval()
    x, y = load_curves(500, g)
    with torch.no_grad():
        mse = F.mse_loss(net(x), y).item() / y.var().item()
    return {"metric": mse, "better": "lower", "curve": curve}
