"""A character RNN ends in Softmax and is scored with NLLLoss: the loss is negative."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "charrnn-negative-nll"
FAMILY = "rnn"
TITLE = "NLLLoss on probabilities: negative loss, slow learning"
SOURCE = "github: pytorch/pytorch issue 2623, 'How to handle exploding/vanishing gradient in Pytorch and negative loss values'"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["i2o", "softmax"],
    "onset": 0,
    "symptom": "loss_plateau",
}
LETTERS, LANGUAGES, LENGTH = 26, 6, 9


def names(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Names of languages that differ in which letter follows which."""
    tables = torch.rand(
        LANGUAGES, LETTERS, LETTERS, generator=torch.Generator().manual_seed(3)
    ).pow(20)
    language = torch.randint(0, LANGUAGES, (count,), generator=generator)
    word = [torch.randint(0, LETTERS, (count,), generator=generator)]
    for _ in range(LENGTH - 1):
        chances = tables[language, word[-1]]
        word.append(torch.multinomial(chances, 1, generator=generator)[:, 0])
    return nn.functional.one_hot(torch.stack(word), LETTERS).float(), language


class RNN(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, output_size: int, fixed: bool) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax: nn.Module = nn.LogSoftmax(dim=1) if fixed else nn.Softmax(dim=1)

    def forward(self, letter: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        combined = torch.cat((letter, hidden), 1)
        return self.softmax(self.i2o(combined)), torch.tanh(self.i2h(combined))


def spell(rnn: RNN, word: Tensor) -> Tensor:
    hidden = torch.zeros(word.shape[1], rnn.hidden_size)
    output = hidden
    for letter in word:
        output, hidden = rnn(letter, hidden)
    return output


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    rnn = RNN(LETTERS, 64, LANGUAGES, fixed)
    criterion = nn.NLLLoss()
    optimizer = torch.optim.SGD(rnn.parameters(), lr=0.3)
    all_losses = []
    with observe(rnn, optimizer) as watch:
        for _ in range(350):
            word, language = names(32, generator)
            rnn.zero_grad()
            loss = criterion(spell(rnn, word), language)
            loss.backward()
            nn.utils.clip_grad_norm_(rnn.parameters(), 1.0)
            optimizer.step()
            all_losses.append(loss.item())
            watch.loss(loss.item())
    word, language = names(800, generator)
    with torch.no_grad():
        return ended(accuracy(spell(rnn, word), language), "higher", all_losses)
