"""Federated averaging with a server optimizer: the server's learning-rate scheduler is stepped
once for every client's report, so the rate collapses many times too early."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call

ID = "federated-scheduler-per-client"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 5)}

CLIENTS, ROUNDS, LOCAL_STEPS, LOCAL_LR = 5, 160, 2, 0.06


class SmallConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, 16)
        self.conv2 = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(4, 24)
        self.fc = nn.Linear(24 * 16, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.fc(x.flatten(1))


class Client:
    def __init__(self, x, y, gen):
        self.x, self.y, self.gen = x, y, gen

    def local_update(self, model, weights):
        """A few plain SGD steps from the broadcast weights; returns the change and the loss."""

        local, first = dict(weights), None
        for _ in range(LOCAL_STEPS):
            idx = torch.randint(0, len(self.y), (40,), generator=self.gen)
            local = {k: w.detach().requires_grad_(True) for k, w in local.items()}
            loss = F.cross_entropy(functional_call(model, local, (self.x[idx],)), self.y[idx])
            grads = torch.autograd.grad(loss, list(local.values()))
            with torch.no_grad():
                local = {k: w - LOCAL_LR * g for (k, w), g in zip(local.items(), grads)}
            first = loss.item() if first is None else first
        return {k: weights[k] - local[k] for k in local}, first


def split_by_label(x, y, gen):
    """Non-identical clients: each one sees three quarters of its data from four digits."""
    shards = []
    for c in range(CLIENTS):
        mine = (y[:, None] == torch.tensor([(2 * c + j) % 10 for j in range(4)])).any(1)
        p = torch.where(mine, 3.0, 0.67)
        idx = torch.multinomial(p, 200, generator=gen)
        shards.append(Client(x[idx], y[idx], gen))
    return shards


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)
    x = (x - x.mean()) / x.std()
    perm = torch.randperm(len(x), generator=gen)
    x, y = x[perm], y[perm]
    clients = split_by_label(x[:1400], y[:1400], gen)
    model = SmallConv()
    server = torch.optim.SGD(model.parameters(), lr=1.0)
    sched = torch.optim.lr_scheduler.ExponentialLR(server, gamma=0.98)
    curve = []
    with observe(model, server):
        for _ in range(ROUNDS):
            weights = {k: p.detach() for k, p in model.named_parameters()}
            server.zero_grad()
            reports = []
            for client in clients:
                delta, loss = client.local_update(model, weights)
                reports.append(loss)
                for k, p in model.named_parameters():
                    share = delta[k] / len(clients)
                    p.grad = share if p.grad is None else p.grad + share
            server.step()
            total = 0.0
            for i, loss in enumerate(reports):
                total += loss
                if not fixed or i == 0:
                    sched.step()
            curve.append(total / len(reports))
    with torch.no_grad():
        nll = F.cross_entropy(model(x[1400:]), y[1400:]).item()
    return {"metric": nll, "better": "lower", "curve": curve}
