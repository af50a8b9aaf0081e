"""An AlexNet-shaped network with SGD and momentum regresses the coordinates of body joints. As told in
github.com/BVLC/caffe issue 1396 ('Any input produce the same output') a weight_decay as large as 0.5 draws all weights
to zero, and every picture gets the same answer; 0.0005 made it normal. People take weight decay for a harmless knob.
"""

import torch
from torch import nn

ID = "a_joints_alexnet"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": 0}


class JointNet(nn.Module):
    def __init__(self, joints):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.regressor = nn.Sequential(
            nn.Linear(32 * 16, 96), nn.ReLU(inplace=True), nn.Linear(96, 2 * joints)
        )
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.regressor(self.features(x).flatten(1))


def people(n, gen):
    hip = torch.rand(n, 1, 2, generator=gen) * 0.8 - 0.4
    ang = torch.rand(n, 2, generator=gen) * 2.2 + torch.tensor([0.0, 3.1])
    limb = torch.stack([ang.cos(), ang.sin()], 2) * 0.5
    joints = torch.cat([hip, hip + limb], 1)
    g = torch.linspace(-1, 1, 32)
    dx = g[None, None, None, :] - joints[..., 0][..., None, None]
    dy = g[None, None, :, None] - joints[..., 1][..., None, None]
    bright = torch.tensor([2.0, 1.0, 1.0])[None, :, None, None] * torch.exp(-(dx**2 + dy**2) / 0.03)
    return bright.sum(1, keepdim=True) + 0.05 * torch.randn(n, 1, 32, 32, generator=gen), joints


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(50 + seed)
    x, j = people(2400, gen)
    xv, jv = people(300, gen)
    y, yv = j.flatten(1), jv.flatten(1)
    solver = {
        "base_lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0005 if fixed else 0.5,
        "max_iter": 500,
    }
    model = JointNet(3)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=solver["base_lr"],
        momentum=solver["momentum"],
        weight_decay=solver["weight_decay"],
    )
    curve = []
    with observe(model, optimizer):
        for it in range(solver["max_iter"]):
            idx = torch.randint(0, len(x), (48,), generator=gen)
            loss = 0.5 * ((model(x[idx]) - y[idx]) ** 2).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mpjpe = (model(xv) - yv).view(-1, 3, 2).norm(dim=2).mean().item()
    return {"metric": mpjpe, "better": "lower", "curve": curve}
