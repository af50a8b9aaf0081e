"""CNN + LSTM for clips: frame features (batch, time, d) go to a time-major LSTM through .view(time, batch, d) instead of a transpose,
which mixes the frames of different clips. After HHTseng/video-classification issue 42."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_video_lstm_view"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}


class EncoderCNN(nn.Module):
    def __init__(self, d=24):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
        )
        self.fc = nn.Linear(12 * 9, d)

    def forward(self, clip):
        b, t = clip.shape[:2]
        return self.fc(self.conv(clip.flatten(0, 1)).flatten(1)).view(b, t, -1)


class DecoderRNN(nn.Module):
    def __init__(self, d=24, h=48, n_cls=4, fixed=False):
        super().__init__()
        self.lstm, self.fc, self.fixed = nn.LSTM(d, h), nn.Linear(h, n_cls), fixed

    def forward(self, z):
        b, t, d = z.shape
        seq = z.transpose(0, 1) if self.fixed else z.reshape(t, b, d)
        out, _ = self.lstm(seq)
        return self.fc(out[-1])


def clips(n, g, t=10, s=12):
    """A spot moves left, right, up or down (wrapping round)."""
    y = torch.randint(0, 4, (n,), generator=g)
    step = torch.tensor([[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])[y] * (
        0.8 + 0.6 * torch.rand(n, 1, generator=g)
    )
    pos = s * torch.rand(n, 2, generator=g)
    grid = torch.arange(s + 0.0)
    frames = []
    for i in range(t):
        p = (pos + i * step) % s
        dy = (grid[None] - p[:, :1] + s / 2) % s - s / 2
        dx = (grid[None] - p[:, 1:] + s / 2) % s - s / 2
        frames.append(torch.exp(-(dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / 2.5))
    return torch.stack(frames, 1).unsqueeze(2) + 0.15 * torch.randn(n, t, 1, s, s, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    model = nn.Sequential(EncoderCNN(), DecoderRNN(fixed=fixed))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    model.train()
    with observe(model, optimizer):
        for step in range(450):
            x, y = clips(32, g)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        g2, hit = torch.Generator().manual_seed(313), 0.0
        for _ in range(10):
            x, y = clips(32, g2)
            hit += (model(x).argmax(1) == y).float().mean().item() / 10
    return {"metric": hit, "better": "higher", "curve": curve}
