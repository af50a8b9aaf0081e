"""Hidden layers kept in a Python list: the module, and so the optimizer, does not know them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, split_digits
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "layers-in-list"
FAMILY = "mlp"
TITLE = "Layers in a plain list are not registered"
SOURCE = "github: pytorch/pytorch issue 715, 'Module: parameters are not included if the module is initialized in a list'"
TRUTH: Truth = {
    "mechanisms": ["parameters_not_updated"],
    "layers": None,  # the layers concerned have no name in the model
    "onset": 0,
    "symptom": "loss_plateau",
}


class SNLINet(nn.Module):
    def __init__(self, n_layers: int, n_hid: int, registered: bool) -> None:
        super().__init__()
        hids: list[nn.Module] = []
        indim = 64
        for _ in range(n_layers):
            hids += [nn.Linear(indim, n_hid), nn.Tanh()]
            indim = n_hid
        self.hids = nn.ModuleList(hids) if registered else hids
        self.classifier = nn.Linear(n_hid, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hids:
            x = layer(x)
        return self.classifier(x)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = split_digits()
    model = SNLINet(n_layers=4, n_hid=32, registered=fixed)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    with observe(model, optimizer) as watch:
        for index in batches(len(y), 32, 400, seed):
            optimizer.zero_grad()
            loss = criterion(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
