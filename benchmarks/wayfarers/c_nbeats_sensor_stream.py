"""N-BEATS-like forecaster trained once through a chronological sensor stream; a short logger outage is stored as -9999 and arrives as ordinary readings."""

import torch
from torch import nn

ID = "c-nbeats-sensor-stream"
TRUTH = {
    "mechanisms": ["corrupted_batch", "stale_second_moment"],
    "layers": None,
    "onset": (118, 121),
}

BACK, AHEAD, BATCH, STEPS = 48, 12, 64, 340
MISSING = -9999.0


def sensor_log(length, gen):
    t = torch.arange(length).float()
    day = torch.sin(2 * torch.pi * t / 24) * (1 + 0.3 * torch.sin(2 * torch.pi * t / 311))
    shift = 0.6 * torch.sin(2 * torch.pi * t / 37 + torch.sin(2 * torch.pi * t / 500))
    noise = 0.05 * torch.randn(length, generator=gen)
    celsius = 18 + 6 * (day + shift + noise)
    outage = 120 * BATCH + 30
    celsius[outage : outage + 9] = MISSING
    return celsius


def forward_fill(x):
    out = x.clone()
    for i in (out == MISSING).nonzero().flatten().tolist():
        out[i] = out[i - 24]
    return out


class Block(nn.Module):
    def __init__(self, last=False, width=96, theta=24):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(BACK, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.theta = nn.Linear(width, theta)
        self.backcast = None if last else nn.Linear(theta, BACK)
        self.forecast = nn.Linear(theta, AHEAD)

    def forward(self, x):
        theta = self.theta(self.fc(x))
        rest = x if self.backcast is None else x - self.backcast(theta)
        return rest, self.forecast(theta)


class NBeats(nn.Module):
    def __init__(self, n_blocks=3):
        super().__init__()
        self.blocks = nn.ModuleList(Block(i == n_blocks - 1) for i in range(n_blocks))

    def forward(self, x):
        total = 0.0
        for block in self.blocks:
            x, part = block(x)
            total = total + part
        return total


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 29)
    log = sensor_log(BATCH * (STEPS + 20), gen)
    if fixed:
        log = forward_fill(log)
    z = (log - 18.0) / 6.0
    frames = z.unfold(0, BACK + AHEAD, 1)

    model = NBeats()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(STEPS):
            batch = frames[step * BATCH : (step + 1) * BATCH]
            loss = nn.functional.mse_loss(model(batch[:, :BACK]), batch[:, BACK:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        held_out = frames[STEPS * BATCH + 60 :]
        mae = (model(held_out[:, :BACK]) - held_out[:, BACK:]).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
