"""Healthy. Criss-cross attention in a segmentation net whose output scale gamma starts at zero ("does it mean the attention
is not added?"): query, key and value get no gradient at the first step, and then learn: Serge-weihao/CCNet-Pure-Pytorch issue 5."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_ccnet_gamma_zero"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class CrissCross(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.query_conv = nn.Conv2d(ch, ch // 4, 1)
        self.key_conv = nn.Conv2d(ch, ch // 4, 1)
        self.value_conv = nn.Conv2d(ch, ch, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        q, k, v = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        w = x.shape[3]
        eW = torch.einsum("bchw,bchu->bhwu", q, k)
        eH = torch.einsum("bchw,bcuw->bhwu", q, k)
        eH = eH.masked_fill(
            torch.eye(x.shape[2], dtype=torch.bool)[None, :, None, :], float("-inf")
        )
        a = torch.cat([eW, eH], -1).softmax(-1)
        out = torch.einsum("bhwu,bchu->bchw", a[..., :w], v) + torch.einsum(
            "bhwu,bcuw->bchw", a[..., w:], v
        )
        return self.gamma * out + x


class RCCAHead(nn.Module):
    def __init__(self, ch=24, n_cls=3):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, ch, 3, padding=1, bias=False),
            nn.BatchNorm2d(ch),
            nn.ReLU(inplace=True),
            nn.Conv2d(ch, ch, 1, bias=False),
            nn.BatchNorm2d(ch),
            nn.ReLU(inplace=True),
        )
        self.cca = CrissCross(ch)
        self.cls = nn.Conv2d(ch, n_cls, 1)

    def forward(self, x, recurrence=2):
        h = self.stem(x)
        for _ in range(recurrence):
            h = self.cca(h)
        return self.cls(h)


def rooms(n, g):
    """The class of a bar depends on the marker that stands far away in the same row."""
    x, y = torch.zeros(n, 12, 12), torch.zeros(n, 12, 12, dtype=torch.long)
    for i in range(n):
        for r in (1, 4, 7, 10):
            c = int(torch.randint(4, 9, (1,), generator=g))
            kind = int(torch.randint(0, 2, (1,), generator=g))
            x[i, r, c : c + 3] = 1
            x[i, r, 0] = 2.0 if kind else -2.0
            y[i, r, c : c + 3] = 1 + kind
    return (x + 0.1 * torch.randn(n, 12, 12, generator=g))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = rooms(400, g)
    vx, vy = rooms(100, g)
    model = RCCAHead()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps, curve = 600, []
    with observe(model, optimizer):
        for i in range(steps):
            for grp in optimizer.param_groups:
                grp["lr"] = 0.1 * (1 - i / steps) ** 0.9
            b = torch.randint(0, 400, (12,))
            loss = F.cross_entropy(model(x[b]), y[b], weight=torch.tensor([0.3, 1.0, 1.0]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        p = model(vx).argmax(1)
        fg = vy > 0
        acc = (p[fg] == vy[fg]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
