"""Latent world model (convolutional encoder and predictor). Warm-up and horizon of the schedule are counted in optimizer steps but the schedule is stepped once per epoch, so the
run stays in warm-up (galilai-group/stable-worldmodel issue 280). Repair: step it every batch."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_lewm_warmup_units"
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": (0, 25),
}
EPOCHS, BATCHES, BS = 10, 50, 32


def ball(n, gen):
    """Frames of a ball that flies and bounces; the action kicks it."""
    pos, vel = 2 + 8 * torch.rand(n, 2, generator=gen), torch.randn(n, 2, generator=gen)
    act = torch.randn(n, 2, generator=gen)
    nxt = pos + vel + act
    nxt = torch.where(nxt > 11, 22 - nxt, nxt.abs())
    yy, xx = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    draw = lambda p: torch.exp(
        -((yy - p[:, 0, None, None]) ** 2 + (xx - p[:, 1, None, None]) ** 2) / 3
    )
    return torch.stack([draw(pos - vel), draw(pos)], 1), act, draw(nxt)[:, None], nxt


class WorldModel(nn.Module):
    def __init__(self, z=24):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(2, 12, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(12, 16, 3, 2, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(144, z),
        )
        self.predictor = nn.Sequential(nn.Linear(z + 2, 64), nn.GELU(), nn.Linear(64, z))
        self.decoder = nn.Sequential(nn.Linear(z, 144), nn.GELU(), nn.Linear(144, 144))

    def forward(self, frames, act):
        z = self.encoder(frames)
        z = z + self.predictor(torch.cat([z, act], 1))
        return self.decoder(z).view(-1, 1, 12, 12)


def warmup_cosine(opt, warmup_steps, max_steps):
    def f(i):
        if i < warmup_steps:
            return 0.001 + 0.999 * i / warmup_steps
        return 0.5 * (
            1 + math.cos(math.pi * min(1.0, (i - warmup_steps) / (max_steps - warmup_steps)))
        )

    return torch.optim.lr_scheduler.LambdaLR(opt, f)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 77)
    data, test = ball(BATCHES * BS, gen), ball(500, gen)
    model = WorldModel()
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    total_steps = EPOCHS * BATCHES
    sched = warmup_cosine(opt, total_steps // 10, total_steps)
    interval = "step" if fixed else "epoch"
    curve = []
    with observe(model, opt):
        for epoch in range(EPOCHS):
            for idx in torch.randperm(len(data[0])).split(BS):
                frames, act, nxt = (t[idx] for t in data[:3])
                loss = 10 * F.mse_loss(model(frames, act), nxt)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
                if interval == "step":
                    sched.step()
            if interval == "epoch":
                sched.step()
    with torch.no_grad():
        val = F.mse_loss(model(*test[:2]), test[2]).item() / test[2].var().item()
    return {"metric": val, "better": "lower", "curve": curve}
