"""Healthy: FedAvg in one process, non-IID clients (two classes each), one shared working model and SGD.
Looks odd: the weights jump at each client switch, the local loss falls to near 0 and is back high at the next client."""

import copy, torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_healthy_fedavg"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LeNetish(nn.Module):
    def __init__(self, n_cls=8):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(16 * 9, 32), nn.Linear(32, n_cls)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def digits(y, protos):
    sh = torch.randint(-1, 2, (2,)).tolist()
    return (torch.roll(protos[y], sh, (1, 2)) + 0.5 * torch.randn(len(y), 12, 12))[:, None]


def average(states, sizes):
    tot = sum(sizes)
    return {k: sum(s[k] * (n / tot) for s, n in zip(states, sizes)) for k in states[0]}


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(21)
    protos = F.interpolate(torch.randn(8, 1, 5, 5, generator=g), size=12)[:, 0]
    clients = []
    for c in range(8):
        y = torch.tensor([c, (c + 1) % 8])[torch.randint(2, (96 + 16 * (c % 3),))]
        clients.append((torch.cat([digits(yy, protos) for yy in y.split(16)]), y))
    model = LeNetish()
    opt = torch.optim.SGD(model.parameters(), lr=0.08)
    glob = copy.deepcopy(model.state_dict())
    curve = []
    with observe(model, opt):
        for rnd in range(70):
            states, sizes = [], []
            for c in torch.randperm(8)[:6].tolist():
                model.load_state_dict(glob)
                x, y = clients[c]
                for i in torch.randperm(len(x)).split(32):
                    loss = F.cross_entropy(model(x[i]), y[i])
                    opt.zero_grad()
                    loss.backward()
                    opt.step()
                    curve.append(loss.item())
                states.append(copy.deepcopy(model.state_dict()))
                sizes.append(len(x))
            glob = average(states, sizes)
    model.load_state_dict(glob)
    with torch.no_grad():
        y = torch.randint(8, (800,))
        acc = (
            (model(torch.cat([digits(yy, protos) for yy in y.split(16)])).argmax(1) == y)
            .float()
            .mean()
            .item()
        )
    return {"metric": acc, "better": "higher", "curve": curve}
