"""Speaker verification with x-vector statistics pooling (mean and standard deviation over time). From the fourth epoch a new recording session is
mixed in, which contains digitally silent clips: sqrt(var) has an infinite derivative at 0 and the gradient is NaN."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_xvector_silent_clip"
PER_EPOCH = 60
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["pool"],
    "onset": (3 * PER_EPOCH, 3 * PER_EPOCH + 1),
}


class StatsPool(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, h):  # (B, C, T)
        mu = h.mean(-1)
        var = (h - mu[..., None]).pow(2).mean(-1)
        return torch.cat([mu, torch.sqrt(var + self.eps)], 1)


class XVector(nn.Module):
    def __init__(self, n_speakers, eps=0.0):
        super().__init__()
        self.tdnn1 = nn.Conv1d(12, 64, 5)
        self.tdnn2 = nn.Conv1d(64, 64, 3, dilation=2)
        self.pool = StatsPool(eps)
        self.embedding = nn.utils.parametrizations.weight_norm(nn.Linear(128, 48))
        self.classifier = nn.Linear(48, n_speakers)

    def forward(self, x):
        h = F.leaky_relu(self.tdnn1(x), 0.2)
        h = F.leaky_relu(self.tdnn2(h), 0.2)
        return self.classifier(F.leaky_relu(self.embedding(self.pool(h)), 0.2))


class Corpus:
    def __init__(self, n_speakers, g, frames=40):
        self.g, self.n, self.frames = g, n_speakers, frames
        self.timbre = torch.randn(n_speakers, 12, generator=g) * 0.5
        self.dyn = 0.5 + torch.rand(n_speakers, 12, generator=g)

    def sample(self, bs):
        spk = torch.randint(0, self.n, (bs,), generator=self.g)
        e = torch.randn(bs, 12, self.frames, generator=self.g)
        e = 0.6 * e + 0.6 * torch.roll(e, 1, -1)
        chan = 0.4 * torch.randn(bs, 12, 1, generator=self.g)
        return e * self.dyn[spk][..., None] + self.timbre[spk][..., None] + chan, spk


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    corpus = Corpus(16, g)
    net = XVector(16, eps=1e-5 if fixed else 0.0)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(net, opt):
        for epoch in range(8):
            for it in range(PER_EPOCH):
                x, spk = corpus.sample(48)
                if epoch >= 3:
                    muted = (
                        1 if it % 4 == 0 else 0
                    )  # clips of the second session with a muted channel strip
                    x[:muted] = 0.0
                loss = F.cross_entropy(net(x), spk, label_smoothing=0.05)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        x, spk = corpus.sample(1500)
        acc = (net(x).argmax(1) == spk).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
