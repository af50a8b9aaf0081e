"""Healthy but odd: multi-task digits network with learned task uncertainties; the total loss crosses zero and keeps falling far below it."""

import torch
from sklearn.datasets import load_digits
from torch import nn

ID = "c-multitask-uncertainty-digits"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class MultiTask(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(64, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.digit = nn.Linear(width, 10)
        self.moments = nn.Linear(width, 3)
        self.rebuild = nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, 64))
        self.log_var = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        h = self.trunk(x)
        return self.digit(h), self.moments(h), self.rebuild(h)


def shape_moments(img):
    grid = torch.linspace(-1, 1, 8)
    mass = img.mean((1, 2))
    row = (img.sum(2) * grid).sum(1) / img.sum((1, 2))
    col = (img.sum(1) * grid).sum(1) / img.sum((1, 2))
    m = torch.stack([mass, row, col], 1)
    return (m - m.mean(0)) / m.std(0)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 55)
    digits = load_digits()
    img = torch.tensor(digits.images, dtype=torch.float32)
    label = torch.tensor(digits.target)
    moments = shape_moments(img)
    x = img.flatten(1) / 8 - 1
    perm = torch.randperm(len(x), generator=gen)
    fit, test = perm[:1400], perm[1400:]

    model = MultiTask()
    gates = [model.log_var]
    rest = [p for n, p in model.named_parameters() if n != "log_var"]
    optimizer = torch.optim.AdamW(
        [
            {"params": rest, "weight_decay": 1e-2},
            {"params": gates, "weight_decay": 0.0, "lr": 1e-2},
        ],
        lr=2e-3,
    )
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            rows = fit[torch.randint(0, len(fit), (128,), generator=gen)]
            logits, moment_hat, image_hat = model(x[rows])
            parts = torch.stack(
                [
                    nn.functional.cross_entropy(logits, label[rows]),
                    nn.functional.mse_loss(moment_hat, moments[rows]),
                    nn.functional.mse_loss(image_hat, x[rows]),
                ]
            )
            loss = (torch.exp(-model.log_var) * parts + model.log_var).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[test])[0].argmax(1) == label[test]).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
