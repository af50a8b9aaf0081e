"""A small convolutional keyword spotter on log-mel patches, trained with SGD, automatic mixed precision and a loss scaler. As in
github.com/Lightning-AI/pytorch-lightning issues 9599 and 9330 (and many other trainers) the gradient norm is clipped to 1 directly
after backward, while the gradients are still multiplied by the scale, because that is where the clipping stood before AMP was added.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_keyword_amp"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


class Spotter(nn.Module):
    def __init__(self, n_words):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 4, n_words)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(F.adaptive_avg_pool2d(x, (4, 1)).flatten(1))


def speech(n, gen, words):
    k = torch.randint(0, len(words), (n,), generator=gen)
    t = torch.arange(24.0)[None, None, :]
    f = torch.arange(20.0)[None, :, None]
    start, slope = words[k, 0][:, None, None], words[k, 1][:, None, None]
    shift = torch.rand(n, 1, 1, generator=gen) * 6
    x = torch.exp(-((f - start - slope * (t - shift)) ** 2) / 3) * 3
    return (x + 0.8 * torch.randn(n, 20, 24, generator=gen))[:, None], k


class Trainer:
    def __init__(self, model, max_norm=1.0):
        self.model, self.max_norm = model, max_norm
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        self.scaler = torch.amp.GradScaler("cpu")

    def training_step(self, x, y, late):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(self.model(x).float(), y)
        self.scaler.scale(loss).backward()
        if late:
            self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(7 + seed)
    words = torch.tensor(
        [
            [2.0, 0.0],
            [2.0, 0.4],
            [2.0, 0.8],
            [10.0, 0.0],
            [17.0, -0.4],
            [17.0, -0.8],
            [17.0, 0.0],
            [10.0, 0.3],
        ]
    )
    x, y = speech(1600, gen, words)
    xt, yt = speech(500, gen, words)
    model = Spotter(len(words))
    trainer = Trainer(model)
    curve = []
    with observe(model, trainer.optimizer):
        for epoch in range(6):
            for idx in torch.randperm(len(x), generator=gen).split(32):
                curve.append(trainer.training_step(x[idx], y[idx], late=fixed))
    model.eval()
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
