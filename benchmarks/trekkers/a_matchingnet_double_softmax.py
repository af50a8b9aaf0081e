"""Matching networks, 20-way 1-shot episodes on procedural glyphs. gitabcworld/MatchingNetworks issue 5: the attention over the
support set is already a softmax, and its class probabilities go into cross_entropy, which applies another one."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_matchingnet_double_softmax"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}

WAYS, QUERIES = 20, 2


class Classifier(nn.Module):
    """the embedding g(.)"""

    def __init__(self, ch=16):
        super().__init__()

        def block(i, o):
            return nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)
            )

        self.layers = nn.Sequential(
            block(1, ch), block(ch, ch), nn.Flatten(), nn.Linear(ch * 9, 32)
        )

    def forward(self, x):
        return self.layers(x)


class DistanceNetwork(nn.Module):
    def forward(self, support, query):
        return 10.0 * F.normalize(query, dim=-1) @ F.normalize(support, dim=-1).t()


class AttentionalClassify(nn.Module):
    def forward(self, similarities, onehot):
        return F.softmax(similarities, dim=1) @ onehot


class MatchingNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.dn, self.classify = Classifier(), DistanceNetwork(), AttentionalClassify()

    def forward(self, support, query, onehot):
        z = self.g(torch.cat([support, query]))
        return self.classify(self.dn(z[: len(support)], z[len(support) :]), onehot)


def glyph_bank(n, g, size=12):
    low = torch.randn(n, 1, 4, 4, generator=g)
    return F.interpolate(low, size=(size, size), mode="bilinear", align_corners=True).sign() * 0.7


def episode(bank, g):
    cls = torch.randperm(len(bank), generator=g)[:WAYS]
    imgs = bank[cls].repeat_interleave(1 + QUERIES, 0)
    k = torch.randint(-1, 2, (len(imgs), 2), generator=g)
    imgs = torch.stack([torch.roll(im, tuple(s.tolist()), (1, 2)) for im, s in zip(imgs, k)])
    imgs = (imgs + 0.8 * torch.randn(imgs.shape, generator=g)).view(WAYS, 1 + QUERIES, 1, 12, 12)
    y = torch.arange(WAYS)
    return imgs[:, 0], imgs[:, 1:].flatten(0, 1), y.repeat_interleave(QUERIES)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(40 + seed)
    bank, held = glyph_bank(400, g), glyph_bank(120, g)
    model = MatchingNetwork()
    opt = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    eye = torch.eye(WAYS)
    curve = []
    with observe(model, opt):
        for step in range(450):
            s, q, y = episode(bank, g)
            preds = model(s, q, eye)
            loss = (
                F.nll_loss(preds.clamp(min=1e-8).log(), y) if fixed else F.cross_entropy(preds, y)
            )
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    tot = 0.0
    with torch.no_grad():
        for _ in range(40):
            s, q, y = episode(held, g)
            tot += (model(s, q, eye).argmax(1) != y).float().mean().item()
    return {"metric": tot / 40, "better": "lower", "curve": curve}
