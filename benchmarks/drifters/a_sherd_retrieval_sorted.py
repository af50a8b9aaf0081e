"""Drawings of pottery profiles are matched with the numeric rim-and-wall measurements of the same sherds by a two-tower contrastive model.
The drawings are listed by sorted file name ("sherd_10" before "sherd_2"), the measurements by catalogue number; nearly every pair joins two
different sherds, and the loss falls only as far as memory allows."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_sherd_retrieval_sorted"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


def sherds(n, gen):
    shape = torch.randn(n, 5, generator=gen)
    h = torch.linspace(-1, 1, 32)
    basis = torch.stack(
        [h, h**2 - 0.33, torch.sin(4 * h), torch.cos(7 * h), torch.exp(-20 * (h - 0.7) ** 2)]
    )
    drawing = shape @ basis + 0.1 * torch.randn(n, 32, generator=gen)
    mix = torch.randn(5, 9, generator=torch.Generator().manual_seed(3))
    table = torch.tanh(0.5 * shape @ mix) + 0.05 * torch.randn(n, 9, generator=gen)
    return drawing.unsqueeze(1), table


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.drawing = nn.Sequential(
            nn.Conv1d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 16),
        )
        self.table = nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 16))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, d, t):
        return F.normalize(self.drawing(d), dim=-1), F.normalize(self.table(t), dim=-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 50)
    d, t = sherds(1500, gen)
    dt, tt = sherds(200, gen)
    names = ["sherd_%d.png" % k for k in range(len(d))]
    if not fixed:
        names = sorted(names)
        d = d[[int(s[6:-4]) for s in names]]
    model = Towers()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    curve = []

    def clip_loss(d, t):
        a, b = model(d, t)
        logits = model.log_scale.clamp(max=4.0).exp() * a @ b.t()
        where = torch.arange(len(a))
        return 0.5 * (F.cross_entropy(logits, where) + F.cross_entropy(logits.t(), where))

    with observe(model, optimizer):
        for epoch in range(25):
            for i in torch.randperm(len(d), generator=gen).split(75):
                optimizer.zero_grad()
                loss = clip_loss(d[i], t[i])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        a, b = model(dt, tt)
        top5 = (a @ b.t()).topk(5, dim=1).indices
        recall = (top5 == torch.arange(200)[:, None]).any(1).float().mean().item()
    return {"metric": recall, "better": "higher", "curve": curve}
