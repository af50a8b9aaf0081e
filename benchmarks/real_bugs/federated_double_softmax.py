"""A federated client whose MLP already ends in softmax is trained with cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, split_digits
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "federated-double-softmax"
FAMILY = "mlp"
TITLE = "Softmax before CrossEntropyLoss in a federated client"
SOURCE = "github: shaoxiongji/federated-learning issue 9, 'Pytorch CrossEntropy function contains softmax'"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["layer_hidden", "softmax"],
    "onset": 0,
    "symptom": "loss_plateau",
}


class ClientMLP(nn.Module):
    def __init__(self, probabilities: bool) -> None:
        super().__init__()
        self.layer_input = nn.Linear(64, 100)
        self.dropout = nn.Dropout(0.2)
        self.relu = nn.ReLU()
        self.layer_hidden = nn.Linear(100, 10)
        self.softmax = nn.Softmax(dim=1) if probabilities else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.shape[0], -1)
        x = self.relu(self.dropout(self.layer_input(x)))
        return self.softmax(self.layer_hidden(x))


class LocalUpdate:
    """One client: some steps of SGD on its own shard."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.model, self.seed = model, seed
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.5)

    def train(self, observe: Observe) -> list[float]:
        x, y, _, _ = split_digits()
        history: list[float] = []
        self.model.train()
        with observe(self.model, self.optimizer) as watch:
            for index in batches(len(y), 20, 300, self.seed):
                self.model.zero_grad()
                loss = self.criterion(self.model(x[index]), y[index])
                loss.backward()
                self.optimizer.step()
                history.append(loss.item())
                watch.loss(history[-1])
        return history


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    net = ClientMLP(probabilities=not fixed)
    history = LocalUpdate(net, seed).train(observe)
    net.eval()
    _, _, held, target = split_digits()
    with torch.no_grad():
        return ended(accuracy(net(held), target), "higher", history)
