"""Message-passing network on random graphs (node classification: parity of a seed's colour class at distance <= 2). Nine plain propagation
layers with logistic activations, no residual path: the gradient fades at each layer and the first ones hardly move."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_gnn_sigmoid_stack"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": [
        "convs.0",
        "convs.0.lin_self",
        "convs.0.lin_nb",
        "convs.1",
        "convs.1.lin_self",
        "convs.1.lin_nb",
        "encode",
    ],
    "onset": (0, 0),
}


def graphs(n, g, N=16, p=0.15):
    A = (torch.rand(n, N, N, generator=g) < p).float().triu(1)
    A = A + A.transpose(1, 2)
    x = torch.randn(n, N, 4, generator=g)
    s = x[..., 0] * 1.0 + x[..., 1]
    nb = (A @ s[..., None]).squeeze(-1)
    y = ((nb > 0) != (x[..., 2] > 0)).long()
    return A / A.sum(-1, keepdim=True).clamp(min=1), x, y


class Conv(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.lin_self, self.lin_nb = nn.Linear(d, d), nn.Linear(d, d, bias=False)

    def forward(self, h, A):
        return self.lin_self(h) + self.lin_nb(A @ h)


class GNN(nn.Module):
    def __init__(self, residual, d=32, depth=9):
        super().__init__()
        self.encode = nn.Linear(4, d)
        self.convs = nn.ModuleList(Conv(d) for _ in range(depth))
        self.readout = nn.Linear(d, 2)
        self.residual = residual

    def forward(self, x, A):
        h = self.encode(x)
        for c in self.convs:
            m = torch.sigmoid(c(h, A))
            h = h + m if self.residual else m
        return self.readout(h)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 90)
    A, x, y = graphs(1500, g)
    At, xt, yt = graphs(300, g)
    model = GNN(residual=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(12):
            for idx in torch.randperm(len(x), generator=g).split(30):
                loss = F.cross_entropy(model(x[idx], A[idx]).flatten(0, 1), y[idx].flatten())
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xt, At).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
