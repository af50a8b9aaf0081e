"""Video: direction and speed of a moving texture. The per-frame encoder's features go to the temporal GRU through .detach(), a left-over of a
linear-probe experiment; the auxiliary reconstruction loss that used to train the encoder has weight 0."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_video_detached_encoder"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["frame_encoder", "frame_encoder.c1", "frame_encoder.c2", "frame_encoder.fc"],
    "onset": (0, 0),
}
OPTS = {"aux_weight": 0.0, "lr": 2e-3, "iters": 450, "batch": 24, "ema": 0.98}


class FrameEncoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.c1 = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.c2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16 * 9, d)

    def forward(self, f):
        return self.fc(F.relu(self.c2(F.relu(self.c1(f)))).flatten(1))


class VideoNet(nn.Module):
    def __init__(self, d=24, probe=True):
        super().__init__()
        self.probe = probe
        self.frame_encoder = FrameEncoder(d)
        self.temporal = nn.GRU(d, 32, batch_first=True)
        self.head = nn.Linear(32, 2)
        self.aux = nn.Linear(d, 144)

    def forward(self, clip):
        b, t = clip.shape[:2]
        z = self.frame_encoder(clip.flatten(0, 1)[:, None])
        recon = self.aux(F.relu(z))
        if self.probe:
            z = z.detach()
        h, _ = self.temporal(z.view(b, t, -1))
        return self.head(h[:, -1]), recon


def clips(n, g, t=6, size=12):
    v = torch.rand(n, 2, generator=g) * 2 - 1
    p0 = torch.rand(n, 2, generator=g) * 1.0 - 0.5 - v * 0.3
    pos = p0[:, None] + v[:, None] * torch.linspace(0, 0.8, t)[None, :, None]
    ax = torch.linspace(-1, 1, size)
    d = (ax[None, None, :, None] - pos[..., 0, None, None]) ** 2 + (
        ax[None, None, None] - pos[..., 1, None, None]
    ) ** 2
    still = torch.rand(n, 1, 2, generator=g) * 2 - 1  # a second blob that does not move
    e = (ax[None, None, :, None] - still[..., 0, None, None]) ** 2 + (
        ax[None, None, None] - still[..., 1, None, None]
    ) ** 2
    return torch.exp(-d / 0.06) + torch.exp(-e / 0.1) + 0.1 * torch.randn(
        n, t, size, size, generator=g
    ), v


class EMA:
    def __init__(self, model, decay):
        self.decay, self.shadow = decay, {k: v.clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        for k, v in model.state_dict().items():
            self.shadow[k].lerp_(v, 1 - self.decay)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 13)
    x, y = clips(2500, g)
    vx, vy = clips(400, g)
    net = VideoNet(probe=not fixed)
    opt = torch.optim.Adam(net.parameters(), lr=OPTS["lr"])
    ema = EMA(net, OPTS["ema"])
    curve = []
    with observe(net, opt):
        for it in range(OPTS["iters"]):
            i = torch.randint(0, len(x), (OPTS["batch"],), generator=g)
            pred, recon = net(x[i])
            loss = F.mse_loss(pred, y[i])
            loss = loss + OPTS["aux_weight"] * F.mse_loss(recon, x[i].flatten(0, 1).flatten(1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            ema.update(net)
            curve.append(loss.item())
    net.load_state_dict(ema.shadow)
    with torch.no_grad():
        mse = F.mse_loss(net(vx)[0], vy).item()
    return {"metric": mse, "better": "lower", "curve": curve}
