"""Healthy: implicit-feedback MF with BPR loss, sparse embeddings, SparseAdam, power-law popularity."""

import torch
from torch import nn

ID = "healthy-bpr-sparse-adam"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class BPR(nn.Module):
    def __init__(self, nu, ni, k):
        super().__init__()
        self.user = nn.Embedding(nu, k, sparse=True)
        self.item = nn.Embedding(ni, k, sparse=True)
        self.bias = nn.Embedding(ni, 1, sparse=True)
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)
        nn.init.zeros_(self.bias.weight)

    def forward(self, u, i):
        return (self.user(u) * self.item(i)).sum(1) + self.bias(i).squeeze(1)


def train(observe, seed=0, fixed=False):
    g = torch.Generator().manual_seed(seed)
    nu, ni = (400, 1000)
    P = torch.randn(nu, 3, generator=g) * 1.2
    Q = torch.randn(ni, 3, generator=g) * 1.2
    pop = -0.8 * torch.log(torch.arange(1, ni + 1).float())
    pr = torch.softmax(P @ Q.T + pop, 1)
    pos = torch.multinomial(pr, 40, True, generator=g)
    torch.manual_seed(seed)
    model = BPR(nu, ni, 16)
    opt = torch.optim.SparseAdam(list(model.parameters()), lr=0.01)
    losses = []
    u_all = torch.arange(nu).repeat_interleave(40)
    i_all = pos.reshape(-1)
    with observe(model, opt):
        for epoch in range(8):
            perm = torch.randperm(len(u_all))
            for s in range(0, len(u_all), 256):
                j = perm[s : s + 256]
                neg = torch.randint(0, ni, (len(j),))
                loss = -nn.functional.logsigmoid(
                    model(u_all[j], i_all[j]) - model(u_all[j], neg)
                ).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower", "first": losses[0]}
