"""Convolutional key-word spotting with a hand-written weight decay hook in the optimizer wrapper. The sign is wrong: `g -= decay * p`, so the
weights are pushed away from zero and grow without end. Re-enacts chainer/chainer issue 261 (bug in optimizer.weight_decay)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_decay_sign"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class KWS(nn.Module):
    def __init__(self, mels=20, classes=6):
        super().__init__()
        self.conv1 = nn.Conv1d(mels, 24, 5, padding=2)
        self.conv2 = nn.Conv1d(24, 32, 3, padding=1)
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        h = F.max_pool1d(F.relu(self.conv1(x)), 2)
        return self.fc(F.relu(self.conv2(h)).mean(-1))


class HookedSGD(torch.optim.SGD):
    """SGD with chainer-like hooks that edit the gradients before the update"""

    def __init__(self, params, lr, momentum, decay, sign):
        super().__init__(params, lr=lr, momentum=momentum)
        self.decay, self.sign = decay, sign

    @torch.no_grad()
    def weight_decay(self):
        for grp in self.param_groups:
            for p in grp["params"]:
                if p.grad is not None and p.dim() > 1:
                    p.grad.add_(p, alpha=self.sign * self.decay)


def keywords(n, g, protos):
    y = torch.randint(0, len(protos), (n,), generator=g)
    x = protos[y].clone()
    shift = torch.randint(-3, 4, (n,), generator=g)
    for k in range(n):
        x[k] = x[k].roll(int(shift[k]), -1)
    return x + 1.0 * torch.randn(x.shape, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    protos = torch.randn(6, 20, 30, generator=torch.Generator().manual_seed(1))
    protos = F.avg_pool1d(protos, 5, 1, 2) * 1.5
    x, y = keywords(1500, g, protos)
    xt, yt = keywords(800, g, protos)
    model = KWS()
    opt = HookedSGD(
        model.parameters(), lr=0.05, momentum=0.9, decay=0.02, sign=1.0 if fixed else -1.0
    )
    curve = []
    with observe(model, opt):
        for epoch in range(20):
            for idx in torch.randperm(len(x), generator=g).split(32):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.weight_decay()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        out = F.cross_entropy(model(xt), yt).item()
    return {"metric": out, "better": "lower", "curve": curve}
