"""A factorization model predicts which phages infect which bacterial strains from a sparse table of spot assays. Both embedding tables
start at one constant "to be neutral about unseen strains", so all the latent factors of the product stay copies of one another and the
model has rank one however wide it is."""

import torch
from torch import nn

ID = "a_phage_host_factors"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["phage", "strain"], "onset": 0}

PHAGES, STRAINS = 120, 160


def assays(n, gen):
    receptor = torch.randint(0, 6, (STRAINS,), generator=gen)
    target = torch.rand(PHAGES, 6, generator=gen) < 0.4
    lysis = target[:, receptor].float()
    cells = torch.randperm(PHAGES * STRAINS, generator=gen)
    p, s = cells // STRAINS, cells % STRAINS
    y = lysis[p, s]
    flip = (torch.rand(len(y), generator=gen) < 0.03).float()
    y = (y - flip).abs()
    return (p[:n], s[:n], y[:n]), (p[n : n + 4000], s[n : n + 4000], y[n : n + 4000])


class Infect(nn.Module):
    def __init__(self, rank):
        super().__init__()
        self.phage = nn.Embedding(PHAGES, rank)
        self.strain = nn.Embedding(STRAINS, rank)
        self.phage_bias = nn.Embedding(PHAGES, 1)
        self.strain_bias = nn.Embedding(STRAINS, 1)
        for bias in (self.phage_bias, self.strain_bias):
            nn.init.zeros_(bias.weight)

    def forward(self, p, s):
        score = (self.phage(p) * self.strain(s)).sum(-1)
        return score + self.phage_bias(p)[:, 0] + self.strain_bias(s)[:, 0]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(2 * seed + 60)
    (p, s, y), (pt, st, yt) = assays(6000, gen)
    model = Infect(rank=12)
    for table in (model.phage, model.strain):
        if fixed:
            nn.init.normal_(table.weight, std=0.3)
        else:
            nn.init.constant_(table.weight, 0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    bce = nn.BCEWithLogitsLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            for i in torch.randperm(len(y), generator=gen).split(256):
                reg = 0.004 * (model.phage(p[i]) ** 2 + model.strain(s[i]) ** 2).sum(1).mean()
                loss = bce(model(p[i], s[i]), y[i]) + reg
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = ((model(pt, st) > 0).float() == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
