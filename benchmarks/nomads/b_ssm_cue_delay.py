"""A diagonal state-space model (S4D style, run as an FFT convolution) must keep a cue given in the first steps of a signal over
more than 170 steps of distractors. The decay parameters were initialised like any other weight, `randn`, so each pole lies near
one half, and what reaches step 180 from the cue, and the gradient on its way back, is far below float precision.
People overlook that an SSM without its special initialisation (slow, log-spaced time scales) has no memory to start from."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ssm_cue_delay"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["blocks.0.ssm", "blocks.1.ssm"],
    "onset": 0,
}

LENGTH, CUES = 180, 6


class DiagonalSSM(nn.Module):
    def __init__(self, dim, state, slow):
        super().__init__()
        if slow:
            tau = torch.exp(
                torch.rand(dim, state) * (math.log(600.0) - math.log(2.0)) + math.log(2.0)
            )
            decay = torch.exp(-1.0 / tau)
            nu = torch.log(decay / (1 - decay))
        else:
            nu = torch.randn(dim, state)
        self.nu = nn.Parameter(nu)
        self.c = nn.Parameter(torch.randn(dim, state) / math.sqrt(state))
        self.skip = nn.Parameter(torch.ones(dim))

    def forward(self, u):
        steps = torch.arange(u.shape[1], dtype=u.dtype)
        log_a = F.logsigmoid(self.nu)
        gain = torch.sqrt(-torch.expm1(2 * log_a)) * self.c
        kernel = (gain[..., None] * torch.exp(log_a[..., None] * steps)).sum(1)
        n = 2 * u.shape[1]
        y = torch.fft.irfft(
            torch.fft.rfft(u.transpose(1, 2), n=n) * torch.fft.rfft(kernel, n=n), n=n
        )[..., : u.shape[1]]
        return y.transpose(1, 2) + u * self.skip


class Block(nn.Module):
    def __init__(self, dim, state, slow):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ssm = DiagonalSSM(dim, state, slow)
        self.mix = nn.Linear(dim, 2 * dim)

    def forward(self, x):
        return x + F.glu(self.mix(F.gelu(self.ssm(self.norm(x)))), dim=-1)


class CueNet(nn.Module):
    def __init__(self, dim=20, state=4, slow=True):
        super().__init__()
        self.encode = nn.Linear(CUES + 2, dim)
        self.blocks = nn.ModuleList(Block(dim, state, slow) for _ in range(2))
        self.decode = nn.Linear(dim, CUES)

    def forward(self, x):
        x = self.encode(x)
        for block in self.blocks:
            x = block(x)
        return self.decode(x[:, -1])


def trials(n, g):
    y = torch.randint(0, CUES, (n,), generator=g)
    x = torch.zeros(n, LENGTH, CUES + 2)
    x[:, :5, :CUES] = 2.0 * F.one_hot(y, CUES).float()[:, None]
    x[:, :, CUES:] = torch.randn(n, LENGTH, 2, generator=g)
    x[:, 5:, :CUES] = 0.1 * torch.randn(n, LENGTH - 5, CUES, generator=g)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    model = CueNet(slow=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 220)
    curve = []
    with observe(model, optimizer):
        for _ in range(220):
            x, y = trials(24, g)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = trials(600, torch.Generator().manual_seed(seed + 77))
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
