"""Healthy. facebookresearch/moco issue 9: the contrastive loss first goes up; the author answers that the queue is being filled and the task gets
harder when real features replace the initial noise in it. Here MoCo on small procedural images, with retrieval of the same image under another view as the metric."""

import copy
import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_moco_loss_rises"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Encoder(nn.Module):
    def __init__(self, ch=12, dim=32):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, ch, 3, padding=1),
            nn.BatchNorm2d(ch),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(ch, 2 * ch, 3, padding=1),
            nn.BatchNorm2d(2 * ch),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
        )
        self.fc = nn.Sequential(nn.Linear(18 * ch, 64), nn.ReLU(), nn.Linear(64, dim))

    def forward(self, x):
        return F.normalize(self.fc(self.trunk(x)), dim=1)


class MoCo(nn.Module):
    def __init__(self, dim=32, K=2048, m=0.99, T=0.2):
        super().__init__()
        self.m, self.T, self.K, self.ptr = m, T, K, 0
        self.encoder_q = Encoder(dim=dim)
        self.encoder_k = copy.deepcopy(self.encoder_q).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(dim, K), dim=0))

    @torch.no_grad()
    def _momentum_update(self):
        for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            k.mul_(self.m).add_(q.detach(), alpha=1 - self.m)

    @torch.no_grad()
    def _enqueue(self, keys):
        self.queue[:, self.ptr : self.ptr + len(keys)] = keys.t()
        self.ptr = (self.ptr + len(keys)) % self.K

    def forward(self, im_q, im_k):
        q = self.encoder_q(im_q)
        with torch.no_grad():
            self._momentum_update()
            k = self.encoder_k(im_k)
        pos = (q * k).sum(1, keepdim=True)
        logits = torch.cat([pos, q @ self.queue.clone()], 1) / self.T
        self._enqueue(k)
        return logits


def images(n, g, classes=10, size=14):
    proto = torch.randn(classes, 1, 5, 5, generator=torch.Generator().manual_seed(3))
    y = torch.randint(0, classes, (n,), generator=g)
    low = proto[y] + 0.9 * torch.randn(
        n, 1, 5, 5, generator=g
    )  # every image is an individual of its class
    return F.interpolate(low, size=(size, size), mode="bilinear", align_corners=True), y


def augment(x):
    s = torch.randint(-1, 2, (2,)).tolist()
    x = torch.roll(x, s, (2, 3)) * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1))
    return x + 0.5 * torch.randn_like(x)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(250 + seed)
    X, Y = images(4000, g)
    Xv, Yv = images(600, g)
    model = MoCo()
    opt = torch.optim.SGD(model.encoder_q.parameters(), lr=0.06, momentum=0.9, weight_decay=1e-4)
    epochs, bs = 8, 64
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs)
    curve = []
    with observe(model, opt):
        for epoch in range(epochs):
            for i in torch.randperm(len(X))[: 62 * bs].split(bs):
                logits = model(augment(X[i]), augment(X[i]))
                loss = F.cross_entropy(logits, torch.zeros(len(i), dtype=torch.long))
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    model.eval()
    with (
        torch.no_grad()
    ):  # retrieval: which of 600 held-out images is the same one under another view
        a, b = model.encoder_q(augment(Xv)), model.encoder_q(augment(Xv))
        acc = ((a @ b.t()).argmax(1) == torch.arange(len(Xv))).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
