"""Motion estimation in two stages: stage one sums the error over pixels, stage two averages it, and
the same Adam goes on with the huge second moments of stage one, so stage two hardly moves."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "flow-stage-two-carries-adam-state"
STAGE_ONE, STAGE_TWO = 120, 200
TRUTH = {
    "mechanisms": ["stale_second_moment"],
    "layers": None,
    "onset": (STAGE_ONE, STAGE_ONE + 1),
}
SIZE = 14


def frame_pairs(n, gen, max_shift, negative=False):
    """Two smooth random frames that differ by a shift; the flow field is that shift everywhere."""
    coarse = torch.randn(n, 1, 9, 9, generator=gen)
    canvas = F.interpolate(coarse, size=(SIZE + 8,) * 2, mode="bicubic", align_corners=False)
    shift = torch.randint(-max_shift, max_shift + 1, (n, 2), generator=gen)
    first = canvas[:, :, 4 : 4 + SIZE, 4 : 4 + SIZE]
    second = torch.stack(
        [
            c[:, 4 - v : 4 - v + SIZE, 4 - u : 4 - u + SIZE]
            for c, (u, v) in zip(canvas, shift.tolist())
        ]
    )
    if negative:
        second = -second
    flow = (shift / 2.0)[:, :, None, None].expand(-1, -1, SIZE, SIZE)
    return torch.cat([first, second], 1), flow


class FlowNet(nn.Module):
    """Local correlation volume followed by a small decoder."""

    def __init__(self, radius=2, width=24):
        super().__init__()
        self.radius = radius
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.SiLU(), nn.Conv2d(12, 12, 3, padding=1)
        )
        taps = (2 * radius + 1) ** 2
        self.decoder = nn.Sequential(
            nn.Conv2d(taps, width, 1),
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(width, 2, 1),
        )

    def forward(self, pair):
        a, b = self.encoder(pair[:, :1]), self.encoder(pair[:, 1:])
        r = self.radius
        b = F.pad(b, (r, r, r, r))
        cost = [
            (a * b[:, :, i : i + SIZE, j : j + SIZE]).mean(1)
            for i in range(2 * r + 1)
            for j in range(2 * r + 1)
        ]
        return self.decoder(torch.stack(cost, 1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    model = FlowNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    stages = [
        {"steps": STAGE_ONE, "data": {"max_shift": 1}, "reduction": "sum"},
        {"steps": STAGE_TWO, "data": {"max_shift": 2, "negative": True}, "reduction": "mean"},
    ]
    curve = []
    with observe(model, optimizer):
        for number, stage in enumerate(stages):
            if fixed and number > 0:
                optimizer.state.clear()
            for _ in range(stage["steps"]):
                pair, flow = frame_pairs(8, gen, **stage["data"])
                loss = F.smooth_l1_loss(model(pair), flow, reduction=stage["reduction"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        pair, flow = frame_pairs(200, gen, **stages[-1]["data"])
        epe = 2 * (model(pair) - flow).norm(dim=1).mean().item()
    return {"metric": epe, "better": "lower", "curve": curve}
