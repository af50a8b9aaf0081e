"""Activity recognition from wearable sensors with a conv + LSTM network and SGD; gradients are
clipped while they still carry the loss scale, so the unscaled step is about 65536 times shorter."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "activity-deepconv-lstm-clip-before-unscale"
TRUTH = {
    "mechanisms": ["excessive_gradient_clipping"],
    "layers": None,
    "onset": 0,
}

CHANNELS, FRAMES, ACTIVITIES = 6, 48, 6


class Wearable:
    """Each activity is a pair of frequencies with fixed phase shifts between the sensors."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.freq = 0.15 + 0.9 * torch.rand(ACTIVITIES, 2, generator=self.gen)
        self.gain = torch.randn(ACTIVITIES, CHANNELS, 2, generator=self.gen)
        self.shift = 6.28 * torch.rand(ACTIVITIES, CHANNELS, 2, generator=self.gen)

    def batch(self, n):
        y = torch.randint(0, ACTIVITIES, (n,), generator=self.gen)
        t = torch.arange(FRAMES).float() + 40 * torch.rand(n, 1, generator=self.gen)
        angle = self.freq[y][:, None, :, None] * t[:, None, None, :] + self.shift[y].unsqueeze(-1)
        x = (self.gain[y].unsqueeze(-1) * angle.sin()).sum(2)
        return x + 1.5 * torch.randn(x.shape, generator=self.gen), y


class DeepConvLSTM(nn.Module):
    def __init__(self, width=32, hidden=48):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(CHANNELS, width, 5, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, ACTIVITIES)

    def forward(self, x):
        h, _ = self.lstm(self.features(x).transpose(1, 2))
        return self.classifier(h.mean(1))


def optimizer_step(scaler, optimizer, model, max_norm, unscale_first):
    if unscale_first:
        scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Wearable(seed + 60)
    model = DeepConvLSTM()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=350)
    scaler = torch.amp.GradScaler("cpu")
    curve = []
    with observe(model, optimizer):
        for step in range(350):
            x, y = data.batch(64)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            optimizer_step(scaler, optimizer, model, max_norm=2.0, unscale_first=fixed)
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = data.batch(600)
        accuracy = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
