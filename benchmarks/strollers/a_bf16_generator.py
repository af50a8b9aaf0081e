"""Flow-matching generator of 2-D trajectories; the whole model is cast to bfloat16 (model.to(torch.bfloat16)) and trained
with the float32 recipe, so AdamW's small updates are rounded away: tianweiy/CausVid issue 19. Fixed: float32 weights."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_bf16_generator"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 30)}


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)

    def forward(self, x, t):
        return x + self.down(F.silu(self.up(self.norm(x + t))))


class Generator(nn.Module):
    def __init__(self, dim=24, d=96):
        super().__init__()
        self.inp = nn.Linear(dim, d)
        self.temb = nn.Sequential(nn.Linear(16, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList([Block(d) for _ in range(3)])
        self.out = nn.Linear(d, dim)

    def forward(self, x, t):
        f = torch.arange(1, 9, device=t.device) * 1.57
        e = torch.cat([torch.sin(t[:, None] * f), torch.cos(t[:, None] * f)], 1)
        dtype = self.inp.weight.dtype
        x, te = self.inp(x.to(dtype)), self.temb(e.to(dtype))
        for b in self.blocks:
            x = b(x, te)
        return self.out(x).float()


def trajectories(n, g):
    t = torch.linspace(0, 1, 12)
    ph, fr = 6.28 * torch.rand(n, 1, generator=g), 1 + 3 * torch.rand(n, 1, generator=g)
    return torch.cat([torch.cos(fr * t * 3 + ph), torch.sin(fr * t * 3 + ph)], 1) * 1.2


def flow_loss(model, x1, noise, t):
    xt = (1 - t[:, None]) * noise + t[:, None] * x1
    return F.mse_loss(model(xt, t), x1 - noise)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data, held = trajectories(3000, g), trajectories(1000, g)
    model = Generator()
    if not fixed:
        model = model.to(dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(1100):
            x1 = data[torch.randint(0, 3000, (96,))]
            loss = flow_loss(model, x1, torch.randn_like(x1), torch.rand(96))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        torch.manual_seed(99)
        val = flow_loss(model, held, torch.randn_like(held), torch.rand(1000)).item()
    return {"metric": val, "better": "lower", "curve": curve}
