"""A CNN on log spectrograms recognises eight bird calls; clips come from a folder listing and labels from an annotation table.
The listing is sorted as strings (clip_10.wav before clip_2.wav) while the table runs in numerical order, the familiar trap of
`sorted(os.listdir(...))`, so almost every clip gets another clip's species."""

import numpy as np
import torch
from torch import nn

ID = "c_birdsong_folder"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}

SR, DUR = 4000, 0.4


def chirp(species, rng):
    t = np.arange(int(SR * DUR)) / SR
    base = 500 + 120 * (species % 4)
    sweep = 900 if species < 4 else -250
    f = base * (1 + 0.04 * rng.normal()) + sweep * t * (1 + 0.1 * rng.normal())
    phase = 2 * np.pi * np.cumsum(f) / SR
    trill = 1 + 0.6 * np.sin(2 * np.pi * (12 if species % 2 else 25) * t + rng.uniform(0, 6.28))
    env = np.exp(-(((t - rng.uniform(0.12, 0.28)) / 0.12) ** 2))
    return (env * trill * np.sin(phase) + rng.normal(0, 0.45, t.size)).astype(np.float32)


def record(n, rng):
    """returns (storage: filename -> waveform, annotation table in recording order)"""
    table = rng.integers(0, 8, size=n)
    storage = {f"clip_{i}.wav": chirp(s, rng) for i, s in enumerate(table)}
    return storage, table


class LogMel(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(128))

    def forward(self, wav):
        s = torch.stft(wav, 128, 64, window=self.window, return_complex=True).abs()[:, :56]
        s = torch.log(s + 1e-2)
        return ((s - s.mean((1, 2), keepdim=True)) / s.std((1, 2), keepdim=True)).unsqueeze(1)


def build_model():
    def unit(i, o):
        return [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.SiLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *unit(1, 12),
        *unit(12, 24),
        *unit(24, 32),
        nn.AdaptiveAvgPool2d((4, 1)),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(128, 8),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(100 + seed)
    storage, table = record(900, rng)
    names = sorted(storage, key=lambda s: int(s[5:-4])) if fixed else sorted(storage)
    frontend = LogMel()
    x = frontend(torch.tensor(np.stack([storage[n] for n in names])))
    y = torch.tensor(table)
    test_storage, test_table = record(300, rng)
    x_test = frontend(torch.tensor(np.stack([test_storage[f"clip_{i}.wav"] for i in range(300)])))

    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    sched = torch.optim.lr_scheduler.StepLR(optimizer, step_size=8, gamma=0.3)
    curve = []
    model.train()
    with observe(model, optimizer):
        for epoch in range(14):
            order = torch.randperm(len(y))
            for k in range(0, len(y) - 31, 32):
                b = order[k : k + 32]
                loss = loss_fn(model(x[b]), y[b])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            sched.step()

    model.eval()
    with torch.no_grad():
        acc = float((model(x_test).argmax(-1) == torch.tensor(test_table)).float().mean())
    return {"metric": acc, "better": "higher", "curve": curve}
