"""Entity embedding regression (shop x product sales). To save memory the big product table was put in bfloat16; with N(0,1) entries and
steps of 5e-4 nearly all updates are below half a unit in the last place and are lost."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_bf16_embedding_table"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": ["product"], "onset": (0, 0)}


class SalesNet(nn.Module):
    def __init__(self, n_shop, n_prod, fixed):
        super().__init__()
        self.shop = nn.Embedding(n_shop, 6)
        self.product = nn.Embedding(n_prod, 12)
        if not fixed:
            self.product = self.product.to(torch.bfloat16)
        self.mlp = nn.Sequential(
            nn.Linear(6 + 12 + 2, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 1)
        )

    def forward(self, shop, prod, cont):
        z = torch.cat([self.shop(shop), self.product(prod).float(), cont], 1)
        return self.mlp(z).squeeze(1)


def make(n, table, shops, g):
    s = torch.randint(0, shops.size(0), (n,), generator=g)
    p = torch.randint(0, table.size(0), (n,), generator=g)
    c = torch.randn(n, 2, generator=g)
    y = (
        table[p, 0]
        + (table[p, 1] * shops[s, 0])
        + 0.4 * c[:, 0] * torch.tanh(table[p, 2])
        + 0.3 * shops[s, 1]
    )
    return s, p, c, y + 0.1 * torch.randn(n, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    table, shops = torch.randn(600, 3, generator=g), torch.randn(20, 2, generator=g)
    data = make(20000, table, shops, g)
    test = make(4000, table, shops, g)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*data), batch_size=200, shuffle=True
    )
    model = SalesNet(20, 600, fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, eps=1e-8)
    curve = []
    with observe(model, optimizer):
        for epoch in range(26):
            for s, p, c, y in loader:
                optimizer.zero_grad(set_to_none=True)
                loss = F.mse_loss(model(s, p, c), y)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = F.mse_loss(model(*test[:3]), test[3]).item()
    return {"metric": err, "better": "lower", "curve": curve}
