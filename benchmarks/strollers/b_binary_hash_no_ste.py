"""Deep hashing with a custom autograd function: sign() in the forward; the backward should pass the gradient straight through, but the student
returned grad * derivative of sign (zeros). The layers before the binarisation never get anything; the head learns on random codes."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_binary_hash_no_ste"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["features", "features.0", "features.3", "hash_layer"],
    "onset": (0, 0),
}


class BinarizeF(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, straight_through):
        ctx.save_for_backward(x)
        ctx.st = straight_through
        return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        if ctx.st:
            return grad_out * (x.abs() <= 1).float(), None
        return grad_out * torch.zeros_like(x), None


class HashNet(nn.Module):
    def __init__(self, bits=12, classes=8, fixed=False):
        super().__init__()
        self.fixed = fixed
        self.features = nn.Sequential(
            nn.Conv2d(2, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hash_layer = nn.Linear(24 * 9, bits)
        self.classifier = nn.Linear(bits, classes)

    def codes(self, x):
        return BinarizeF.apply(self.hash_layer(self.features(x)), self.fixed)

    def forward(self, x):
        return self.classifier(self.codes(x))


def patches(n, protos, g):
    y = torch.randint(0, len(protos), (n,), generator=g)
    shift = torch.randint(-2, 3, (n, 2), generator=g)
    x = torch.stack([torch.roll(protos[c], s.tolist(), (1, 2)) for c, s in zip(y.tolist(), shift)])
    return x + 0.6 * torch.randn(x.shape, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 9)
    protos = F.avg_pool2d(torch.randn(8, 2, 14, 14, generator=g), 3, 1) * 2.5
    x, y = patches(1600, protos, g)
    xt, yt = patches(600, protos, g)
    model = HashNet(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=6, gamma=0.3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(16):
            for i in torch.randperm(len(x)).split(32):
                loss = F.cross_entropy(model(x[i]), y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            scheduler.step()
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
