"""A PixelCNN learns binary stripe textures and is judged by how well it completes the lower half of an image row by row. The first
masked convolution is of type B, like all others, so every pixel sees itself and the likelihood is solved by copying; nothing is
learnt that helps generation. People take one masked-convolution class with a default mask type and forget the first layer's."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_pixelcnn_stripes"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["stem"], "onset": 0}
S = 10


class MaskedConv2d(nn.Conv2d):
    def __init__(self, cin, cout, k, kind="B"):
        super().__init__(cin, cout, k, padding=k // 2)
        mask = torch.ones(k, k)
        mask[k // 2, k // 2 + (kind == "B") :] = 0
        mask[k // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    def __init__(self, first_kind, c=24):
        super().__init__()
        self.stem = MaskedConv2d(1, c, 5, first_kind)
        self.body = nn.ModuleList([MaskedConv2d(c, c, 3) for _ in range(4)])
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(c, 1, 1))

    def forward(self, x):
        h = self.stem(2 * x - 1)
        for conv in self.body:
            h = h + conv(F.relu(h))
        return self.head(h)


def stripes(n, g):
    period = torch.randint(3, 6, (n, 1, 1), generator=g)
    slope = torch.randint(-1, 2, (n, 1, 1), generator=g)
    phase = torch.randint(0, 60, (n, 1, 1), generator=g)
    i, j = torch.arange(S)[:, None], torch.arange(S)[None, :]
    on = torch.remainder(j + slope * i + phase, period) < (period + 1) // 2
    return on[:, None].float()


@torch.no_grad()
def complete(model, top):
    img = top.clone()
    img[:, :, S // 2 :] = 0
    for i in range(S // 2, S):
        for j in range(S):
            img[:, 0, i, j] = (model(img)[:, 0, i, j] > 0).float()
    return img


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    model = PixelCNN("A" if fixed else "B")
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, opt):
        while len(curve) < 500:
            x = stripes(32, g)
            loss = F.binary_cross_entropy_with_logits(model(x), x)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    x = stripes(150, g)
    done = complete(model, x)
    acc = (done[:, :, S // 2 :] == x[:, :, S // 2 :]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
