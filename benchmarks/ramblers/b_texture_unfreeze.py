"""Fine-tuning of a small GroupNorm CNN, pretrained on texture orientation, to a texture-frequency task.
Bug: the optimizer is built from filter(requires_grad) while the backbone is frozen; the later "unfreeze" sets
requires_grad back to True, but the optimizer never hears of these parameters."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_texture_unfreeze"
PER_EPOCH, EPOCHS, UNFREEZE = 40, 10, 2
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["backbone"] + [f"backbone.{i}" for i in (0, 1, 3, 4, 6, 7)],
    "onset": (0, UNFREEZE * PER_EPOCH),
}


def textures(n, g, task):
    ang = torch.rand(n, generator=g) * math.pi
    freq = 2 + 6 * torch.rand(n, generator=g)
    ph = torch.rand(n, generator=g) * 6.28
    yy, xx = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 24), indexing="ij")
    u = xx * ang.cos().view(-1, 1, 1) + yy * ang.sin().view(-1, 1, 1)
    img = torch.sin(2 * math.pi * freq.view(-1, 1, 1) * u + ph.view(-1, 1, 1))
    img = img + 0.9 * torch.randn(n, 24, 24, generator=g)
    y = (
        (ang / math.pi * 4).long().clamp(max=3)
        if task == "angle"
        else ((freq - 2) / 6 * 6).long().clamp(max=5)
    )
    return img.unsqueeze(1), y


def make_backbone():
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, stride=2, padding=2),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.GroupNorm(4, 24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.GroupNorm(4, 24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = make_backbone()
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def pretrain(g):
    net = Net(4)
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
    X, Y = textures(1200, g, "angle")
    for _ in range(150):
        i = torch.randint(0, len(X), (48,), generator=g)
        opt.zero_grad()
        F.cross_entropy(net(X[i]), Y[i]).backward()
        opt.step()
    return net.backbone.state_dict()


def set_trainable(module, flag):
    for p in module.parameters():
        p.requires_grad_(flag)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Net(6)
    model.backbone.load_state_dict(pretrain(g))
    X, Y = textures(1920, g, "freq")
    Xt, Yt = textures(600, g, "freq")
    set_trainable(model.backbone, False)
    params = model.parameters() if fixed else filter(lambda p: p.requires_grad, model.parameters())
    opt = torch.optim.AdamW(params, lr=3e-3, weight_decay=1e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(EPOCHS):
            if epoch == UNFREEZE:
                set_trainable(model.backbone, True)
            for idx in torch.randperm(len(X), generator=g).split(48):
                loss = F.cross_entropy(model(X[idx]), Y[idx])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 2.0)
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xt).argmax(1) == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
