"""A one-dimensional convolutional net recognises spoken keywords from mel frames, after GitHub: pytorch/pytorch issue 19250, 'InstanceNorm,
GroupNorm doesn't crash with # of elements == 1'. After global pooling, each group of the group norm is one channel of one value, so its
output is all zeros whatever was said. It happens when the convolutional block is reused after pooling with its num_groups=channels, and
nothing raises an error."""

import math
import torch
from torch import nn

ID = "a_keyword_pooling"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["embed_norm"], "onset": 0}

MELS, FRAMES, WORDS = 20, 40, 6


class KeywordNet(nn.Module):
    def __init__(self, embed_groups):
        super().__init__()
        self.stem = nn.Conv1d(MELS, 24, 5, stride=2, padding=2)
        self.stem_norm = nn.GroupNorm(24, 24)
        self.body = nn.Conv1d(24, 32, 3, stride=2, padding=1)
        self.body_norm = nn.GroupNorm(32, 32)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.embed = nn.Conv1d(32, 32, 1)
        self.embed_norm = nn.GroupNorm(embed_groups, 32)
        self.act = nn.SiLU()
        self.words = nn.Linear(32, WORDS)

    def forward(self, mel):
        x = self.act(self.stem_norm(self.stem(mel)))
        x = self.act(self.body_norm(self.body(x)))
        x = self.act(self.embed_norm(self.embed(self.pool(x))))
        return self.words(x.flatten(1))


def utterances(n, formants, gen):
    word = torch.randint(0, WORDS, (n,), generator=gen)
    t = torch.linspace(0, 1, FRAMES)
    shift = 0.15 * torch.randn(n, 1, generator=gen)
    start, slope, bend = (formants[word, i].unsqueeze(1) for i in range(3))
    track = start + slope * (t + shift) + bend * torch.sin(math.pi * (t + shift))
    mel = torch.exp(-0.5 * ((torch.arange(MELS).view(1, -1, 1) - track.unsqueeze(1)) / 1.5) ** 2)
    mel = mel * (0.5 + torch.rand(n, 1, 1, generator=gen)) + 0.25 * torch.randn(
        n, MELS, FRAMES, generator=gen
    )
    return mel, word


def fit(model, optimizer, scheduler, batches, criterion, log):
    for mel, word in batches:
        optimizer.zero_grad()
        loss = criterion(model(mel), word)
        loss.backward()
        optimizer.step()
        scheduler.step()
        log.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 51)
    formants = torch.tensor(
        [
            [4.0, 8.0, 0.0],
            [12.0, -8.0, 0.0],
            [4.0, 0.0, 8.0],
            [14.0, 0.0, -8.0],
            [9.0, 6.0, 3.0],
            [9.0, -6.0, -3.0],
        ]
    )
    batches = [utterances(32, formants, gen) for _ in range(500)]
    test_mel, test_word = utterances(600, formants, gen)
    model = KeywordNet(embed_groups=8 if fixed else 32)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2e-3, total_steps=len(batches), cycle_momentum=False
    )
    curve = []
    with observe(model, optimizer):
        fit(model, optimizer, scheduler, batches, nn.CrossEntropyLoss(), curve)
    model.eval()
    with torch.no_grad():
        metric = (model(test_mel).argmax(1) == test_word).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
