"""Siamese network with contrastive loss on noisy waveform 'signatures'. From step 240 on, mining of hard positives lets an anchor be
paired with itself; the Euclidean distance `sqrt(sum d^2)` has an infinite derivative at zero and everything is NaN after one step."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_siamese_self_pairs"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["distance"], "onset": (240, 241)}


class Signatures:
    def __init__(self, people, g, T=48):
        self.g, self.T, self.people = g, T, people
        self.f = 1 + 5 * torch.rand(people, 3, generator=g)
        self.a = torch.randn(people, 3, generator=g)

    def draw(self, who):
        t = torch.linspace(0, 3, self.T)
        ph = 0.4 * torch.randn(len(who), 3, 1, generator=self.g)
        w = (self.a[who][..., None] * torch.sin(self.f[who][..., None] * t + ph)).sum(1)
        return (w + 0.25 * torch.randn(w.shape, generator=self.g))[:, None]

    def pairs(self, n):
        a = torch.randint(0, self.people, (n,), generator=self.g)
        same = torch.rand(n, generator=self.g) < 0.5
        other = (a + torch.randint(1, self.people, (n,), generator=self.g)) % self.people
        b = torch.where(same, a, other)
        return self.draw(a), self.draw(b), same.float()


class Distance(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, a, b):
        return torch.sqrt((a - b).pow(2).sum(1) + self.eps)


class Siamese(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv1d(1, 16, 5, 2, 2),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Conv1d(16, 32, 5, 2, 2),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 12, 16),
        )
        self.distance = Distance(eps)

    def forward(self, a, b):
        za, zb = self.trunk(torch.cat([a, b])).chunk(2)
        return self.distance(za, zb)


def contrastive(d, same, margin=2.0):
    return (same * d.pow(2) + (1 - same) * F.relu(margin - d).pow(2)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    data = Signatures(20, g)
    net = Siamese(eps=1e-6 if fixed else 0.0)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []
    with observe(net, opt):
        for step in range(650):
            a, b, same = data.pairs(72)
            if step >= 240:  # hard-positive mining: the bank may return the query itself
                k = int(same.argmax())
                b[k] = a[k]
            loss = contrastive(net(a, b), same)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        a, b, same = data.pairs(1000)
        d = net(a, b)
        auc = (d[same == 1][:, None] < d[same == 0][None]).float().mean().item()
    return {"metric": auc, "better": "higher", "curve": curve}
