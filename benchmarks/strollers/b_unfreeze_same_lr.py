"""Fine-tuning in two stages: body pretrained in the file, new head trained alone with Adam lr 0.05, then the body is unfrozen with
optimizer.add_param_group without its own lr, so it inherits 0.05 (meant: 0.0002). The features are wrecked at the unfreezing."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_unfreeze_same_lr"
TRUTH = {
    "mechanisms": ["learning_rate_too_high", "learning_rate_schedule_bug"],
    "layers": ["body", "body.0", "body.3", "body.6"],
    "onset": (160, 166),
}


def textures(n, classes, g, noise=0.8):
    y = torch.randint(0, len(classes), (n,), generator=g)
    r = torch.arange(20).float()
    yy, xx = torch.meshgrid(r, r, indexing="ij")
    fr = torch.tensor(classes)[y]
    ph = torch.rand(n, 1, 1, generator=g) * 6.28
    img = torch.sin(fr[:, 0].view(-1, 1, 1) * xx + fr[:, 1].view(-1, 1, 1) * yy + ph)
    return (img + noise * torch.randn(n, 20, 20, generator=g)).unsqueeze(1), y


def make_body():
    return nn.Sequential(
        nn.Conv2d(1, 10, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(10, 20, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )


class Classifier(nn.Module):
    def __init__(self, body, n_out):
        super().__init__()
        self.body = body
        self.head = nn.Linear(128, n_out)

    def forward(self, x):
        return self.head(self.body(x))


def pretrain(g):
    cls = [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (1.5, 0.5), (0.5, 1.5), (1.0, -1.0)]
    x, y = textures(1500, cls, g)
    net = Classifier(make_body(), 6)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(6):
        for i in torch.randperm(len(x)).split(50):
            opt.zero_grad()
            F.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
    return net.body


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 40)
    body = pretrain(g)
    cls = [(1.2, 1.2), (0.7, -0.4), (0.3, 0.9), (1.8, 0.0), (1.3, -0.7)]
    x, y = textures(800, cls, g, 1.7)
    xt, yt = textures(600, cls, g, 1.7)
    model = Classifier(body, 5)
    for p in model.body.parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(model.head.parameters(), lr=5e-2)
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            if epoch == 8:  # stage two, step 160
                for p in model.body.parameters():
                    p.requires_grad = True
                group = {"params": model.body.parameters()}
                if fixed:
                    group["lr"] = 2e-4
                optimizer.add_param_group(group)
            for i in torch.randperm(len(x)).split(40):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
