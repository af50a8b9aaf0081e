"""GOTURN-like tracker: two crops -> box, batches gathered from several video pairs. amoudgl/pygoturn issue 16: the decay call sits
in the gathering loop, so at the decay iteration it fires once for every gathered pair and not once for the optimizer step."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_goturn_lr_decay"
DECAY = 150
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (DECAY, DECAY + 1)}


class GoNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 12, 5, 2, 2), nn.ReLU(), nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU()
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * 16 * 25, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 4)
        )

    def forward(self, prev, curr):
        a, b = self.convnet(prev).flatten(1), self.convnet(curr).flatten(1)
        return self.classifier(torch.cat([a, b], 1))


def crop(cy, cx, h, w, n, g, size=20):
    yy, xx = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    m = torch.sigmoid(3 * (h[:, None, None] - (yy - cy[:, None, None]).abs())) * torch.sigmoid(
        3 * (w[:, None, None] - (xx - cx[:, None, None]).abs())
    )
    return (m + 0.15 * torch.randn(n, size, size, generator=g)).unsqueeze(1)


def pairs(n, g):
    h, w = 2 + 3 * torch.rand(n, generator=g), 2 + 3 * torch.rand(n, generator=g)
    c = torch.full((n,), 9.5)
    dy, dx = 8 * torch.rand(n, generator=g) - 4, 8 * torch.rand(n, generator=g) - 4
    s = 0.8 + 0.4 * torch.rand(n, generator=g)
    box = torch.stack([c + dy - h * s, c + dx - w * s, c + dy + h * s, c + dx + w * s], 1) / 10 - 1
    return crop(c, c, h, w, n, g), crop(c + dy, c + dx, h * s, w * s, n, g), box


def exp_lr_scheduler(optimizer, gamma=0.4):
    for group in optimizer.param_groups:
        group["lr"] *= gamma


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(30 + seed)
    P, C, B = pairs(4000, g)
    Pv, Cv, Bv = pairs(500, g)
    model = GoNet()
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    curve, itr = [], 0
    with observe(model, opt):
        gathered = []
        while itr < 700:
            gathered.append(torch.randint(0, len(B), (4,)))
            done = len(gathered) == 8
            if not fixed and itr > 0 and itr % DECAY == 0:
                exp_lr_scheduler(opt)
            if done:
                if fixed and itr > 0 and itr % DECAY == 0:
                    exp_lr_scheduler(opt)
                i = torch.cat(gathered)
                gathered = []
                loss = F.l1_loss(model(P[i], C[i]), B[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
                itr += 1
    model.eval()
    with torch.no_grad():
        e = F.l1_loss(model(Pv, Cv), Bv).item()
    return {"metric": e, "better": "lower", "curve": curve}
