"""DLRM click model (dense features, embedding bags, dot interaction). facebookresearch/dlrm pull request 358: a bias that starts
strongly negative before a ReLU, so that its derivative is zero ever after. Here the click prior log(p/(1-p)), meant for the
last layer, is written into every Linear of the bottom and of the top MLP."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_dlrm_prior_bias"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["bot_l.0", "bot_l.1", "top_l.0", "top_l.1"],
    "onset": (0, 0),
}

CARD = [40, 25, 60]


class DLRM(nn.Module):
    def __init__(self, prior, fixed, m=16):
        super().__init__()
        self.prior, self.fixed = prior, fixed
        self.emb_l = nn.ModuleList(nn.EmbeddingBag(n, m, mode="sum") for n in CARD)
        for e in self.emb_l:
            nn.init.uniform_(
                e.weight, -math.sqrt(1 / e.num_embeddings), math.sqrt(1 / e.num_embeddings)
            )
        nf = len(CARD) + 1
        self.bot_l = self.create_mlp([13, 64, 32, m], last_act=True)
        self.top_l = self.create_mlp([m + nf * (nf - 1) // 2, 64, 32, 1], last_act=False)
        self.register_buffer("tri", torch.tril_indices(nf, nf, -1))

    def create_mlp(self, ln, last_act):
        layers = nn.Sequential()
        for i, (n, m) in enumerate(zip(ln[:-1], ln[1:])):
            last = i == len(ln) - 2 and not last_act
            LL = nn.Linear(n, m)
            nn.init.normal_(LL.weight, 0.0, math.sqrt(2 / (m + n)))
            nn.init.constant_(LL.bias, self.prior if (last or not self.fixed) else 0.0)
            layers.append(LL)
            if not last:
                layers.append(nn.ReLU())
        return layers

    def forward(self, dense, sparse):
        x = self.bot_l(dense)
        ly = [e(sparse[:, k : k + 1]) for k, e in enumerate(self.emb_l)]
        T = torch.stack([x] + ly, 1)
        Z = torch.bmm(T, T.transpose(1, 2))[:, self.tri[0], self.tri[1]]
        return self.top_l(torch.cat([x, Z], 1)).squeeze(1)


def clicks(n, g, w):
    dense = torch.log1p(torch.rand(n, 13, generator=g) * 6) - 1.2
    sparse = torch.stack([torch.randint(0, c, (n,), generator=g) for c in CARD], 1)
    z = (
        3.0 * torch.tanh(2 * dense[:, :5] @ w[0])
        + 2.0 * (dense[:, 5] * dense[:, 6]) * 2
        + sum(t[sparse[:, k]] for k, t in enumerate(w[1]))
    )
    y = (torch.rand(n, generator=g) < torch.sigmoid(z - 4.6)).float()
    return dense, sparse, y


def auc(score, y):
    r = score.argsort().argsort().double() + 1
    p = y.sum().item()
    q = len(y) - p
    return ((r[y > 0].sum().item()) - p * (p + 1) / 2) / (p * q)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    w = (torch.randn(5, generator=g), [0.8 * torch.randn(c, generator=g) for c in CARD])
    D, S, Y = clicks(30000, g, w)
    Dv, Sv, Yv = clicks(8000, g, w)
    p = Y.mean().item()
    model = DLRM(math.log(p / (1 - p)), fixed)
    opt = torch.optim.Adagrad(model.parameters(), lr=0.03)
    curve = []
    with observe(model, opt):
        for step in range(1200):
            i = torch.randint(0, len(Y), (256,))
            loss = F.binary_cross_entropy_with_logits(model(D[i], S[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        # small jitter breaks ties of a constant score
        s = model(Dv, Sv)
        s = s + 1e-9 * torch.randn(s.shape)
    return {"metric": auc(s, Yv), "better": "higher", "curve": curve}
