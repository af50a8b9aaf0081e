"""Small capsule network with routing by agreement on 14x14 glyphs. The transformation matrices between primary and class capsules start
with a standard deviation that is far too small, so all votes are ~0 and the squash makes them smaller still: the margin loss hardly moves.
Re-enacts ageron/handson-ml pull request 176 (initial weights of the capsule transformation made higher-variance)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_capsnet_init"
TRUTH = {"mechanisms": ["initialization_too_small"], "layers": ["digit_caps"], "onset": (0, 0)}


def squash(s, eps=1e-7):
    sq = (s**2).sum(-1, keepdim=True)
    return sq / (1 + sq) * s / torch.sqrt(sq + eps)


class PrimaryCaps(nn.Module):
    def __init__(self, cin, maps=4, dim=6):
        super().__init__()
        self.dim, self.conv = dim, nn.Conv2d(cin, maps * dim, 5, stride=2)

    def forward(self, x):
        y = self.conv(x)
        n, _, h, w = y.shape
        return squash(y.view(n, -1, self.dim, h, w).permute(0, 1, 3, 4, 2).reshape(n, -1, self.dim))


class DigitCaps(nn.Module):
    def __init__(self, n_in, d_in, n_out, d_out, init_sigma, rounds=2):
        super().__init__()
        self.rounds = rounds
        self.W = nn.Parameter(torch.randn(n_in, n_out, d_out, d_in) * init_sigma)

    def forward(self, u):
        votes = torch.einsum("ijde,nie->nijd", self.W, u)
        b = votes.new_zeros(votes.shape[:3])
        for r in range(self.rounds):
            c = F.softmax(b, 2)
            v = squash((c[..., None] * votes).sum(1))
            if r < self.rounds - 1:
                b = b + (votes * v[:, None]).sum(-1)
        return v


class CapsNet(nn.Module):
    def __init__(self, sigma):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 5)
        self.primary = PrimaryCaps(16)
        self.digit_caps = DigitCaps(4 * 3 * 3, 6, 6, 8, sigma)

    def forward(self, x):
        return self.digit_caps(self.primary(F.relu(self.conv(x)))).norm(dim=-1)


def margin_loss(length, y):
    t = F.one_hot(y, length.shape[1]).float()
    return (t * F.relu(0.9 - length) ** 2 + 0.5 * (1 - t) * F.relu(length - 0.1) ** 2).sum(1).mean()


def glyphs(n, g, protos):
    y = torch.randint(0, 6, (n,), generator=g)
    img = torch.zeros(n, 1, 14, 14)
    dx, dy = torch.randint(0, 5, (2, n), generator=g)
    for i in range(n):
        img[i, 0, dy[i] : dy[i] + 10, dx[i] : dx[i] + 10] = protos[y[i]]
    return img + 0.2 * torch.randn(img.shape, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    protos = F.interpolate(
        (torch.rand(6, 1, 5, 5, generator=torch.Generator().manual_seed(3)) > 0.5).float(),
        size=(10, 10),
    )[:, 0]
    x, y = glyphs(2000, g, protos)
    xt, yt = glyphs(600, g, protos)
    net = CapsNet(0.1 if fixed else 0.0002)
    opt = torch.optim.SGD(net.parameters(), lr=0.15, momentum=0.9)
    curve = []
    with observe(net, opt):
        for it in range(340):
            idx = torch.randint(0, len(x), (48,), generator=g)
            loss = margin_loss(net(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
