"""A five-convolution network for facial expressions (HappyNet kind) trained entirely in half precision. As in github.com/pytorch/pytorch
issue 8860 and afiaka87/glide-finetune issue 5, model.half() is used with Adam and its default eps of 1e-8, which is zero in float16 and so
are most squared gradients; eps=1e-4 was the remedy found.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_faces_half"
TRUTH = {"mechanisms": ["half_precision_underflow"], "layers": None, "onset": (0, 1)}


class HappyNet(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.conv5 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(16 * 9, 48), nn.Linear(48, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)
        x = F.relu(self.conv5(x)).flatten(1)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), 1)


def faces(n, gen):
    """Two eyes and a mouth whose bend, eye opening and brow tell the expression."""
    kinds = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [0, 2, 1], [0, 0.6, -1], [-1, 0.6, 1]])
    y = torch.randint(0, 5, (n,), generator=gen)
    k = kinds[y] + 0.15 * torch.randn(n, 3, generator=gen)
    g = torch.arange(12.0)
    r, c = g[None, :, None], g[None, None, :]
    bend, eye, brow = (k[:, i, None, None] for i in range(3))
    mouth = torch.exp(-((r - 9 + bend * ((c - 5.5) / 3) ** 2 * 1.6) ** 2)) * ((c - 5.5).abs() < 3.5)
    eyes = torch.exp(-((r - 4) ** 2) / eye.clamp(min=0.3) - (((c - 5.5).abs() - 2.5) ** 2))
    brows = torch.exp(-((r - 1.5 + brow) ** 2) * 2) * (((c - 5.5).abs() - 2.5).abs() < 1.5)
    img = mouth + eyes + 0.7 * brows + 0.15 * torch.randn(n, 12, 12, generator=gen)
    return img[:, None] - 0.3, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 60)
    x, y = faces(1200, gen)
    xv, yv = faces(400, gen)
    x, xv = x.half(), xv.half()
    model = HappyNet().half()
    extra = {"eps": 1e-4} if fixed else {}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **extra)
    curve = []
    with observe(model, optimizer):
        for epoch in range(7):
            for idx in torch.randperm(len(x), generator=gen).split(32):
                optimizer.zero_grad()
                loss = F.nll_loss(model(x[idx]), y[idx])
                loss.backward()
                optimizer.step()
                curve.append(loss.float().item())
    with torch.no_grad():
        acc = (model(xv).float().argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
