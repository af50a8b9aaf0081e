"""Receipt-line tagger (char-CNN + highway + BiGRU). The transform gate of the highway layers ends in ReLU, not Sigmoid;
with the usual negative gate bias it is zero for every input, so the gates are dead and no highway layer does anything:
NjoyimPeguy/ICDAR-2019-RRC-SROIE issue 4."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_highway_relu_gate"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": [
        "highway.0.transform_gate",
        "highway.1.transform_gate",
        "highway.2.transform_gate",
        "highway.0.transform_gate.0",
        "highway.1.transform_gate.0",
        "highway.2.transform_gate.0",
        "highway.0.transform_gate.1",
        "highway.1.transform_gate.1",
        "highway.2.transform_gate.1",
    ],
    "onset": (0, 0),
}


class HighwayNetwork(nn.Module):
    def __init__(self, size, fixed):
        super().__init__()
        self.affine_transformation = nn.Sequential(nn.Linear(size, size), nn.ReLU())
        self.transform_gate = nn.Sequential(
            nn.Linear(size, size), nn.Sigmoid() if fixed else nn.ReLU()
        )
        nn.init.xavier_uniform_(self.affine_transformation[0].weight)
        nn.init.xavier_uniform_(self.transform_gate[0].weight, gain=0.5)
        nn.init.constant_(self.transform_gate[0].bias, -2.0)

    def forward(self, y):
        t = self.transform_gate(y)
        g = self.affine_transformation(y)
        return t * g + (1.0 - t) * y


class ReceiptTagger(nn.Module):
    def __init__(self, fixed, n_feat=16, size=40, n_tags=4):
        super().__init__()
        self.project = nn.Linear(n_feat, size)
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.highway = nn.ModuleList([HighwayNetwork(size, fixed) for _ in range(3)])
        self.tagger = nn.Linear(size, n_tags)

    def forward(self, x):
        h = 0.5 * self.norm(self.project(x))
        for layer in self.highway:
            h = layer(h)
        return self.tagger(h)


def lines(n, g):
    x = torch.randn(n, 9, 16, generator=g)
    a = (x[..., 0] * x[..., 1] > 0).long()
    b = (x[..., 2].abs() > 0.7).long()
    return x, 2 * a + b


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = lines(1600, g)
    vx, vy = lines(400, g)
    model = ReceiptTagger(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 12, 0.5)
    curve = []
    with observe(model, optimizer):
        for epoch in range(24):
            for idx in torch.randperm(1600).split(40):
                loss = F.cross_entropy(model(x[idx]).flatten(0, 1), y[idx].flatten())
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
            scheduler.step()
    with torch.no_grad():
        acc = (model(vx).argmax(-1) == vy).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
