"""Multi-modal trajectory prediction head (best-of-modes regression + mode classification). nutonomy/nuscenes-devkit issue 728: the
nonlinearity between the two linear layers of MTP is missing, so the head is one linear map of raster feature and agent state."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_mtp_no_relu"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}

MODES, STEPS = 3, 6


class MTP(nn.Module):
    def __init__(self, backbone_dim, asv_dim=3, hidden=128, fixed=False):
        super().__init__()
        self.fixed = fixed
        self.fc1 = nn.Linear(backbone_dim + asv_dim, hidden)
        self.fc2 = nn.Linear(hidden, MODES * STEPS * 2 + MODES)

    def forward(self, feat, asv):
        x = self.fc1(torch.cat([feat, asv], 1))
        if self.fixed:
            x = F.relu(x)
        x = self.fc2(x)
        return x[:, :-MODES].view(-1, MODES, STEPS, 2), x[:, -MODES:]


def mtp_loss(traj, logit, target):
    d = (traj - target.unsqueeze(1)).norm(dim=-1).mean(-1)
    best = d.detach().argmin(1)
    reg = F.smooth_l1_loss(traj[torch.arange(len(best)), best], target)
    return F.cross_entropy(logit, best) * 0.2 + reg, d


def drives(n, g):
    """feature: lane code of the (frozen) backbone; state: speed, acceleration, yaw rate"""
    feat = torch.randn(n, 12, generator=g)
    asv = torch.stack(
        [
            0.5 + 1.5 * torch.rand(n, generator=g),
            0.6 * torch.randn(n, generator=g),
            1.2 * torch.randn(n, generator=g),
        ],
        1,
    )
    turn = asv[:, 2] + 0.8 * torch.tanh(2 * feat[:, 0])
    stop = torch.sigmoid(6 * feat[:, 1])
    t = torch.arange(1, STEPS + 1).float() / 2
    v = (asv[:, :1] * stop[:, None] + 0.3 * asv[:, 1:2] * t).clamp(min=0)
    ang = turn[:, None] * t * 0.5
    xy = (
        torch.stack([torch.cumsum(v * torch.cos(ang), 1), torch.cumsum(v * torch.sin(ang), 1)], 2)
        * 0.5
    )
    return feat, asv, xy


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(190 + seed)
    fe, a, y = drives(8000, g)
    fv, av, yv = drives(1000, g)
    model = MTP(12, fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [1000], 0.2)
    curve = []
    with observe(model, opt):
        for step in range(1300):
            i = torch.randint(0, len(y), (900,))
            loss, _ = mtp_loss(*model(fe[i], a[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        _, d = mtp_loss(*model(fv, av), yv)
    return {"metric": d.min(1).values.mean().item(), "better": "lower", "curve": curve}
