"""Narrow conv net for 14x14 symbols with three dropout layers. 0.85 was meant as the probability to keep, but the layer's
argument is the rate to drop: hunkim/DeepLearningZeroToAll issue 204."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_dropout_keep_prob"
TRUTH = {
    "mechanisms": ["excessive_dropout"],
    "layers": ["drop1", "drop2", "drop3"],
    "onset": (0, 0),
}


class SymbolNet(nn.Module):
    def __init__(self, rate, n_cls=10):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.drop1, self.drop2, self.drop3 = nn.Dropout(rate), nn.Dropout(rate), nn.Dropout(rate)
        self.dense3 = nn.Linear(16 * 9, 40)
        self.logits = nn.Linear(40, n_cls)

    def forward(self, x):
        x = self.drop1(F.max_pool2d(F.relu(self.conv1(x)), 2))
        x = self.drop2(F.max_pool2d(F.relu(self.conv2(x)), 2))
        x = self.drop3(F.relu(self.dense3(x.flatten(1))))
        return self.logits(x)


def symbols(n, protos, g):
    y = torch.randint(0, 10, (n,), generator=g)
    x = protos[y]
    s = torch.randint(-1, 2, (n,), generator=g)
    x = torch.stack([xi.roll(int(si), 1) for xi, si in zip(x, s)])
    return (x + 0.7 * torch.randn(n, 14, 14, generator=g))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    protos = F.interpolate(torch.randn(10, 1, 5, 5, generator=g), size=(14, 14), mode="bilinear")[
        :, 0
    ]
    x, y = symbols(2500, protos, g)
    vx, vy = symbols(600, protos, g)
    keep = 0.85
    model = SymbolNet(1 - keep if fixed else keep)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(12):
            model.train()
            for idx in torch.randperm(2500).split(50):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(vx).argmax(1) == vy).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
