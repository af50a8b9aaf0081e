"""Point-cloud transfer: a PointNet encoder pre-trained on shape classes is frozen for the warm-up and then unfrozen, but the optimizer
was built from the parameters that required grad at the start, so the encoder gets gradients and never moves."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_pointnet_unfreeze"
WARM = 120
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["encoder", "encoder.c1", "encoder.c2", "encoder.c3"],
    "onset": (WARM, WARM + 2),
}


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(3, 32, 1)
        self.c2 = nn.Conv1d(32, 64, 1)
        self.c3 = nn.Conv1d(64, 64, 1)

    def forward(self, pts):
        h = F.relu(self.c1(pts))
        h = F.relu(self.c2(h))
        return self.c3(h).max(-1).values


class Estimator(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, pts):
        return self.head(self.encoder(pts))


def clouds(n, kind, g):
    p = torch.randn(n, 3, 96, generator=g)
    if kind == "sphere":
        p = p / p.norm(dim=1, keepdim=True)
    elif kind == "cube":
        p = p / p.abs().amax(1, keepdim=True)
    else:
        p = p.clamp(-1.2, 1.2)
    return p


def set_trainable(module, flag):
    for p in module.parameters():
        p.requires_grad_(flag)


def pretrain(enc, g):
    clf = nn.Linear(64, 3)
    opt = torch.optim.Adam([*enc.parameters(), *clf.parameters()], lr=1e-3)
    for _ in range(40):
        x = torch.cat([clouds(16, k, g) for k in ("sphere", "cube", "noise")])
        y = torch.arange(3).repeat_interleave(16)
        loss = F.cross_entropy(clf(enc(x)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def ellipsoids(n, g):
    """Target: the log half-axes of a noisy ellipsoid with a shift."""
    log_axes = torch.rand(n, 3, generator=g) * 1.4 - 0.7
    p = clouds(n, "sphere", g) * log_axes.exp()[..., None]
    shift = 0.5 * torch.randn(n, 3, 1, generator=g)
    return p + shift + 0.02 * torch.randn(n, 3, 96, generator=g), log_axes


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    enc = Encoder()
    pretrain(enc, g)
    model = Estimator(enc)
    set_trainable(model.encoder, False)
    if fixed:
        params = list(model.parameters())
    else:
        params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1.5e-3, weight_decay=1e-4)
    x, y = ellipsoids(3000, g)
    xt, yt = ellipsoids(500, g)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            if step == WARM:
                set_trainable(model.encoder, True)
            idx = torch.randint(0, len(x), (32,), generator=g)
            loss = F.mse_loss(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(xt), yt).item()
    return {"metric": mse, "better": "lower", "curve": curve}
