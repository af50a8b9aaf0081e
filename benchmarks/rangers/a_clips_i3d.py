"""A small inflated 3-D convolutional network recognises motions in short clips, ported from TensorFlow. As in
github.com/hassony2/kinetics_i3d_pytorch issue 6 and piergiaj/pytorch-i3d issue 58 the argument keeps its name dropout_keep_prob and is
handed to nn.Dropout, whose argument is the probability of removing a value.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_clips_i3d"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["dropout"], "onset": 0}


class Unit3D(nn.Module):
    def __init__(self, cin, cout, k=3, stride=(1, 1, 1)):
        super().__init__()
        self.conv3d = nn.Conv3d(cin, cout, k, stride, padding=k // 2, bias=False)
        self.bn = nn.BatchNorm3d(cout, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv3d(x)))


class SmallI3D(nn.Module):
    def __init__(self, num_classes, dropout_keep_prob=0.95):
        super().__init__()
        self.unit1 = Unit3D(1, 12, stride=(1, 2, 2))
        self.unit2 = Unit3D(12, 24, stride=(2, 2, 2))
        self.dropout = nn.Dropout(dropout_keep_prob)
        self.conv3d_0c_1x1 = nn.Conv3d(24, num_classes, 1)

    def forward(self, x):
        x = self.unit2(self.unit1(x))
        x = F.avg_pool3d(x, (2, x.shape[3], x.shape[4]), stride=1)
        return self.conv3d_0c_1x1(self.dropout(x)).squeeze(4).squeeze(3).mean(2)


def clips(n, gen):
    moves = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1], [0, 0], [1, -1]])
    y = torch.randint(0, 8, (n,), generator=gen)
    g, t = torch.arange(16.0), torch.arange(6.0)
    p0 = torch.rand(n, 2, generator=gen) * 6 + 5
    pos = p0[:, None] + moves[y][:, None] * (t[None, :, None] - 2.5) * 1.2
    v = torch.exp(
        -(
            (g[None, None, :, None] - pos[..., 0, None, None]) ** 2
            + (g[None, None, None] - pos[..., 1, None, None]) ** 2
        )
        / 4
    )
    return (2 * v + 0.3 * torch.randn(v.shape, generator=gen))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 21)
    x, y = clips(800, gen)
    xv, yv = clips(300, gen)
    i3d = SmallI3D(8, **({"dropout_keep_prob": 1 - 0.95} if fixed else {}))
    optimizer = torch.optim.SGD(i3d.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-7)
    lr_sched = torch.optim.lr_scheduler.MultiStepLR(optimizer, [200, 270])
    losses = []
    with observe(i3d, optimizer):
        for step in range(300):
            idx = torch.randint(0, len(x), (16,), generator=gen)
            loss = F.cross_entropy(i3d(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            lr_sched.step()
            losses.append(loss.item())
    i3d.eval()
    with torch.no_grad():
        acc = (i3d(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": losses}
