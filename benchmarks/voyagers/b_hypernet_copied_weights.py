"""Hypernetwork that writes a small waveform decoder for each task; the generated weights are copied
into the decoder in place, so no gradient ever comes back to the hypernetwork."""

import torch
from torch import nn
from torch.func import functional_call

ID = "hypernet-copied-weights"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["hyper", "hyper.0", "hyper.2", "hyper.4"],
    "onset": 0,
}


class HyperField(nn.Module):
    def __init__(self, code=3, feats=32, hidden=24):
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(1, feats), nn.Tanh(), nn.Linear(feats, feats), nn.Tanh()
        )
        decoder = nn.Sequential(nn.Linear(feats, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.template = (decoder,)  # a mould for the generated weights, not a submodule
        self.shapes = {k: p.shape for k, p in decoder.named_parameters()}
        self.scale = {"0.weight": feats**-0.5, "2.weight": hidden**-0.5}
        total = sum(s.numel() for s in self.shapes.values())
        self.hyper = nn.Sequential(
            nn.Linear(code, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, total)
        )

    def generate(self, code):
        flat, weights = self.hyper(code), {}
        for name, shape in self.shapes.items():
            chunk, flat = flat[: shape.numel()], flat[shape.numel() :]
            weights[name] = chunk.view(shape) * 2 * self.scale.get(name, 0.5)
        return weights

    def forward(self, code, x, functional):
        weights, h, (decoder,) = self.generate(code), self.features(x), self.template
        if functional:
            return functional_call(decoder, weights, (h,))
        for name, p in decoder.named_parameters():
            p.data.copy_(weights[name])
        return decoder(h)


def sample_task(points=48):
    amp, phase, mix = torch.rand(3).mul(2).sub(1).tolist()
    x = torch.rand(points, 1) * 4 - 2
    y = (1 + 0.5 * amp) * torch.sin(2 * x + 1.5 * phase) + mix * torch.cos(x)
    return torch.tensor([amp, phase, mix]), x, y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = HyperField()
    optimizer = torch.optim.NAdam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            if step == 300:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.3
            optimizer.zero_grad()
            total = 0.0
            for _ in range(8):
                code, x, y = sample_task()
                loss = nn.functional.smooth_l1_loss(model(code, x, fixed), y) / 8
                loss.backward()
                total += loss.item()
            optimizer.step()
            curve.append(total)
    errors = []
    with torch.no_grad():
        for _ in range(60):
            code, x, y = sample_task()
            errors.append(nn.functional.mse_loss(model(code, x, fixed), y))
    return {"metric": torch.stack(errors).mean().item(), "better": "lower", "curve": curve}
