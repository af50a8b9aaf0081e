"""Child-growth regression from depth maps: the head is trained on a frozen, pretrained conv base, then the base is made
trainable with the head's large rate and its features are thrown away; the loss jumps at the stage change and stays high:
Welthungerhilfe/cgm-ml issue 326."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_finetune_unfreeze_rate"
STAGE1 = 240
TRUTH = {
    "mechanisms": ["learning_rate_too_high", "learning_rate_schedule_bug"],
    "layers": None,
    "onset": (STAGE1, STAGE1 + 20),
}


class DepthBase(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.conv3 = nn.Conv2d(24, 24, 3, padding=1)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.conv3(x)).mean((2, 3))


class GrowthNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = DepthBase()
        self.head = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.head(self.base(x)).squeeze(1)


def depth_maps(n, g):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    h, w = (
        0.4 + 0.5 * torch.rand(n, 1, 1, generator=g),
        0.15 + 0.3 * torch.rand(n, 1, 1, generator=g),
    )
    cx = 0.4 * (torch.rand(n, 1, 1, generator=g) - 0.5)
    body = torch.exp(-((yy / h) ** 4 + ((xx - cx) / w) ** 4))
    img = body + 0.1 * torch.randn(n, 16, 16, generator=g)
    hh = (h.flatten() - 0.65) / 0.145
    ww = (w.flatten() - 0.3) / 0.087
    return img[:, None], hh, ww


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, h, w = depth_maps(1500, g)
    vx, vh, vw = depth_maps(400, g)
    model = GrowthNet()
    # pretraining of the base on width (another task)
    aux = nn.Linear(24, 1)
    pre = torch.optim.Adam(list(model.base.parameters()) + list(aux.parameters()), lr=2e-3)
    for _ in range(250):
        b = torch.randint(0, 1500, (32,))
        pre.zero_grad()
        F.mse_loss(aux(model.base(x[b])).squeeze(1), w[b]).backward()
        pre.step()
    for p in model.base.parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.NAdam(
        [
            {"params": model.head.parameters(), "lr": 1e-2},
            {"params": model.base.parameters(), "lr": 0.0},
        ]
    )
    curve = []
    with observe(model, optimizer):
        for step in range(800):
            if step == STAGE1:  # fine-tuning: unfreeze the base
                for p in model.base.parameters():
                    p.requires_grad_(True)
                for grp in optimizer.param_groups:
                    grp["lr"] = 1e-3 if fixed else 8e-2
            b = torch.randint(0, 1500, (32,))
            loss = F.smooth_l1_loss(model(x[b]), h[b])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(vx) - vh).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
