"""Domain-adversarial digit-like classifier (gradient reversal). The label classifier ends with nn.Softmax and its output
goes into CrossEntropyLoss, which applies softmax again: NaJaeMin92/pytorch-DANN issue 7."""

import math
import torch
import torch.nn as nn

ID = "a_dann_softmax_heads"
TRUTH = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["classifier", "classifier.net.3", "classifier.net.2"],
    "onset": (0, 0),
}


class ReverseLayerF(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.alpha * g, None


class Extractor(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )

    def forward(self, x):
        return self.net(x)


class Classifier(nn.Module):
    def __init__(self, softmax, n_cls):
        super().__init__()
        layers = [nn.Linear(24 * 9, 64), nn.ReLU(), nn.Linear(64, n_cls)]
        if softmax:
            layers.append(nn.Softmax(dim=1))
        self.net = nn.Sequential(*layers)

    def forward(self, h):
        return self.net(h)


class DANN(nn.Module):
    def __init__(self, fixed, n_cls=20):
        super().__init__()
        self.extractor = Extractor()
        self.classifier = Classifier(not fixed, n_cls)
        self.discriminator = nn.Sequential(nn.Linear(24 * 9, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x, alpha):
        h = self.extractor(x)
        return self.classifier(h), self.discriminator(ReverseLayerF.apply(h, alpha))


def digits(n, protos, shift, g):
    y = torch.randint(0, len(protos), (n,), generator=g)
    x = protos[y] + 0.6 * torch.randn(n, 12, 12, generator=g)
    return (x * (1 - 0.3 * shift) + 0.4 * shift)[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    protos = nn.functional.interpolate(
        torch.randn(20, 1, 6, 6, generator=g), size=(12, 12), mode="bilinear"
    )[:, 0]
    xs, ys = digits(2000, protos, 0, g)
    xt, yt = digits(1000, protos, 0.4, g)
    xv, yv = digits(1000, protos, 0.4, g)
    model = DANN(fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    ce = nn.CrossEntropyLoss()
    curve, epochs, per = [], 15, 40
    with observe(model, optimizer):
        for epoch in range(epochs):
            for i in range(per):
                p = (epoch * per + i) / (epochs * per)
                alpha = 0.05 * (2 / (1 + math.exp(-10 * p)) - 1)
                a, b = torch.randint(0, 2000, (32,)), torch.randint(0, 1000, (32,))
                cls, dom = model(torch.cat([xs[a], xt[b]]), alpha)
                d = torch.cat([torch.zeros(32), torch.ones(32)]).long()
                loss = ce(cls[:32], ys[a]) + ce(dom, d)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv, 0.0)[0].argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
