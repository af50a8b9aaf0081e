"""A convolutional-recurrent keyword spotter is trained with static loss scaling, prepared for mixed precision. The gradient norm is
clipped to 1 while the gradients are still multiplied by the loss scale, and they are divided by the scale afterwards, so what reaches
SGD has a norm of 1/16384: the well-known slip of clipping before `unscale_`."""

import torch
from torch import nn

ID = "a_keyword_scaled_clip"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}

WORDS, MELS, FRAMES = 8, 24, 40


def utterances(n, g):
    """Log-mel patches: two formant tracks whose start and end depend on the word, with jitter in time and pitch."""
    table = torch.rand(WORDS, 4, generator=torch.Generator().manual_seed(3)) * 18 + 3
    y = torch.randint(0, WORDS, (n,), generator=g)
    t = torch.linspace(0, 1, FRAMES)[None]
    warp = t ** torch.exp(0.25 * torch.randn(n, 1, generator=g))
    shift = 0.7 * torch.randn(n, 1, generator=g)
    mel = torch.arange(float(MELS))[None, :, None]
    out = 0.35 * torch.randn(n, MELS, FRAMES, generator=g)
    for a, b in ((0, 1), (2, 3)):
        track = table[y, a][:, None] * (1 - warp) + table[y, b][:, None] * warp + shift
        out = out + torch.exp(-0.5 * ((mel - track[:, None]) / 1.3) ** 2)
    return (out - 0.2) / 0.5, y


class Spotter(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(MELS, 32, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(32)
        self.rnn = nn.GRU(32, 40, batch_first=True)
        self.out = nn.Linear(40, WORDS)

    def forward(self, x):
        h = torch.relu(self.norm(self.conv(x))).transpose(1, 2)
        h, _ = self.rnn(h)
        return self.out(h.mean(1))


class ScaledStep:
    def __init__(self, model, optimizer, scale, max_norm, unscale_first):
        self.params, self.optimizer = list(model.parameters()), optimizer
        self.scale, self.max_norm, self.unscale_first = scale, max_norm, unscale_first

    def unscale(self):
        for p in self.params:
            p.grad.div_(self.scale)

    def __call__(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.scale).backward()
        if self.unscale_first:
            self.unscale()
            nn.utils.clip_grad_norm_(self.params, self.max_norm)
        else:
            nn.utils.clip_grad_norm_(self.params, self.max_norm)
            self.unscale()
        self.optimizer.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    x, y = utterances(1600, g)
    xv, yv = utterances(400, g)
    model = Spotter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    update = ScaledStep(model, optimizer, 2.0**14, 1.0, unscale_first=fixed)
    loss_fn = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            idx = torch.randint(0, len(x), (32,), generator=g)
            loss = loss_fn(model(x[idx]), y[idx])
            update(loss)
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
