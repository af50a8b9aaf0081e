"""3D point clouds: PointNet-like instance embedding with the discriminative (pull/push/regularise) loss, padded to a fixed
number of instances per scene. Scenes with fewer instances leave a centroid of exactly 0, and its norm has an
infinite derivative: every gradient is NaN as soon as such a scene comes. Reported as pqhieu/jsis3d issue 26."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_pointcloud_instance_norm"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (150, 151)}


class EmbedNet(nn.Module):
    def __init__(self, dim=6):
        super().__init__()
        self.local = nn.Sequential(nn.Conv1d(6, 48, 1), nn.ReLU(), nn.Conv1d(48, 64, 1), nn.ReLU())
        self.glob = nn.Sequential(nn.Conv1d(64, 64, 1), nn.ReLU())
        self.embed = nn.Sequential(nn.Conv1d(128, 64, 1), nn.ReLU(), nn.Conv1d(64, dim, 1))

    def forward(self, pts):  # B x 6 x N
        f = self.local(pts)
        g = self.glob(f).max(2, keepdim=True)[0].expand(-1, -1, f.size(2))
        return self.embed(torch.cat([f, g], 1)).transpose(1, 2)


class DiscriminativeLoss(nn.Module):
    def __init__(self, delta_d=1.5, delta_v=0.5, gamma=0.01, safe=False):
        super().__init__()
        self.delta_d, self.delta_v, self.gamma, self.safe = delta_d, delta_v, gamma, safe

    def norm(self, v, dim):
        if self.safe:
            return torch.sqrt((v**2).sum(dim) + 1e-8)
        return torch.sqrt((v**2).sum(dim))  # what torch.norm did then

    def forward(self, emb, masks, size):  # B x N x D, B x N x K one-hot, B
        cnt = masks.sum(1).clamp(min=1)
        mu = torch.einsum("bnd,bnk->bkd", emb, masks) / cnt.unsqueeze(2)
        dist = torch.sqrt(((emb.unsqueeze(2) - mu.unsqueeze(1)) ** 2).sum(3) + 1e-8)
        pull = (F.relu(dist - self.delta_v) ** 2 * masks).sum(1) / cnt
        pull = (pull.sum(1) / size).mean()
        K = mu.size(1)
        valid = (torch.arange(K)[None] < size[:, None]).float()
        pair = torch.sqrt(((mu.unsqueeze(1) - mu.unsqueeze(2)) ** 2).sum(3) + 1e-8)
        pm = valid.unsqueeze(1) * valid.unsqueeze(2) * (1 - torch.eye(K))
        push = (F.relu(2 * self.delta_d - pair) ** 2 * pm).sum((1, 2)) / pm.sum((1, 2)).clamp(min=1)
        reg = (self.norm(mu, 2) * valid).sum(1) / size
        return pull + push.mean() + self.gamma * reg.mean()


def scenes(B, g, kmin, K=4, N=96):
    size = torch.randint(kmin, K + 1, (B,), generator=g)
    c = torch.rand(B, K, 3, generator=g) * 0.4
    c = c + torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])[None]
    col = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    lab = (torch.rand(B, N, generator=g) * size[:, None]).long()
    xyz = torch.gather(c, 1, lab.unsqueeze(2).expand(-1, -1, 3)) + 0.5 * torch.randn(
        B, N, 3, generator=g
    )
    rgb = col[lab] + 0.7 * torch.randn(B, N, 3, generator=g)
    return (
        torch.cat([xyz - 0.5, rgb - 0.4], 2).transpose(1, 2),
        F.one_hot(lab, K).float(),
        size.float(),
        lab,
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 10)
    net = EmbedNet()
    crit = DiscriminativeLoss(safe=fixed)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []
    with observe(net, opt):
        for it in range(500):
            kmin = 4 if it < 150 else 2  # curriculum: full rooms first, then all of them
            pts, masks, size, _ = scenes(16, g, kmin)
            loss = crit(net(pts), masks, size)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    net.eval()
    pts, masks, size, lab = scenes(64, g, 2)
    with torch.no_grad():
        e = net(pts)
    mu = torch.einsum("bnd,bnk->bkd", e, masks) / masks.sum(1).clamp(min=1).unsqueeze(2)
    d = ((e.unsqueeze(2) - mu.unsqueeze(1)) ** 2).sum(3)
    d = d.masked_fill((torch.arange(4)[None] >= size[:, None]).unsqueeze(1), 1e9)
    acc = (d.argmin(2) == lab).float().mean().item() if torch.isfinite(e).all() else 0.0
    return {"metric": acc, "better": "higher", "curve": curve}
