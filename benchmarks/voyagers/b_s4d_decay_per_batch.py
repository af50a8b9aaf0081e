"""Diagonal state-space classifier of noisy chirps; the exponential decay was tuned per epoch but the
scheduler is advanced inside the batch loop, so the learning rate vanishes within an epoch or two."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

ID = "s4d-decay-per-batch"
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": (0, 30),
}


class Chirps(Dataset):
    """Six classes: three sweep rates, each rising or falling, at a random start and phase."""

    def __init__(self, n, length=128):
        self.y = torch.randint(0, 6, (n,))
        t = torch.linspace(0, 1, length)
        rate = torch.tensor([8.0, 16.0, 24.0])[self.y // 2] * (1 - 2 * (self.y % 2))
        start = 16 - rate / 2 + torch.randn(n)
        phase = 6.28 * (start[:, None] * t + rate[:, None] * t**2 / 2 + torch.rand(n, 1))
        self.x = (phase.sin() + 0.4 * torch.randn(n, length)).unsqueeze(-1)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class S4D(nn.Module):
    def __init__(self, dim, state=8):
        super().__init__()
        self.log_dt = nn.Parameter(torch.empty(dim).uniform_(-4.6, -1.6))
        self.log_decay = nn.Parameter(torch.full((dim, state), 0.5).log())
        self.freq = nn.Parameter(torch.pi * torch.arange(state).float().repeat(dim, 1))
        self.c = nn.Parameter(torch.randn(dim, state, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.ones(dim))

    def forward(self, u):
        n = u.shape[1]
        a = torch.complex(-self.log_decay.exp(), self.freq)
        dta = a * self.log_dt.exp().unsqueeze(-1)
        c = torch.view_as_complex(self.c) * (dta.exp() - 1) / a
        powers = (dta.unsqueeze(-1) * torch.arange(n)).exp()
        kernel = 2 * torch.einsum("ds,dsn->dn", c, powers).real
        uf = torch.fft.rfft(u.transpose(1, 2), 2 * n)
        y = torch.fft.irfft(uf * torch.fft.rfft(kernel, 2 * n), 2 * n)[..., :n]
        return y.transpose(1, 2) + u * self.skip


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ssm = S4D(dim)
        self.mix = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GLU())

    def forward(self, x):
        return x + self.mix(nn.functional.gelu(self.ssm(self.norm(x))))


class ChirpNet(nn.Module):
    def __init__(self, dim=32, depth=2):
        super().__init__()
        self.inp = nn.Linear(1, dim)
        self.blocks = nn.Sequential(*(Block(dim) for _ in range(depth)))
        self.head = nn.Linear(dim, 6)

    def forward(self, x):
        return self.head(self.blocks(self.inp(x)).mean(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    loader = DataLoader(Chirps(1280), batch_size=32, shuffle=True, drop_last=True)
    test = Chirps(400)
    model = ChirpNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.85)
    curve = []
    with observe(model, optimizer):
        for _ in range(8):
            for x, y in loader:
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                if not fixed:
                    schedule.step()
                curve.append(loss.item())
            if fixed:
                schedule.step()
    with torch.no_grad():
        accuracy = (model(test.x).argmax(-1) == test.y).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
