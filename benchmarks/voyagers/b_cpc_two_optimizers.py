"""Contrastive predictive coding with accumulation and one optimizer for the encoder, one for the
context; only the context gradients are cleared, the encoder keeps adding to its old ones."""

import torch
from torch import nn

ID = "cpc-two-optimizers"
TRUTH = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": ["encoder", "encoder.0", "encoder.2", "encoder.4"],
    "onset": 1,
}


class CPC(nn.Module):
    def __init__(self, dim=32, horizon=3):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, dim, 8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv1d(dim, dim, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(dim, dim, 4, stride=2, padding=1),
        )
        self.context = nn.GRU(dim, dim, batch_first=True)
        self.predict = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(horizon))

    def forward(self, wave):
        z = self.encoder(wave.unsqueeze(1)).transpose(1, 2)
        c, _ = self.context(z)
        cut = z.shape[1] - len(self.predict) - 1
        labels = torch.arange(len(wave))
        losses, hits = [], []
        for k, head in enumerate(self.predict, 1):
            logits = head(c[:, cut]) @ z[:, cut + k].T / z.shape[-1] ** 0.5
            losses.append(nn.functional.cross_entropy(logits, labels))
            hits.append((logits.argmax(-1) == labels).float().mean())
        return torch.stack(losses).mean(), torch.stack(hits).mean()


def waves(n, length=192):
    t = torch.arange(length) / length
    out = torch.zeros(n, length)
    for _ in range(3):
        freq, phase, amp = (
            3 + 20 * torch.rand(n, 1),
            6.28 * torch.rand(n, 1),
            torch.rand(n, 1) + 0.3,
        )
        out += amp * torch.sin(6.28 * freq * t + phase)
    return out + 0.05 * torch.randn(n, length)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = CPC()
    enc_opt = torch.optim.SGD(model.encoder.parameters(), lr=0.1, momentum=0.9)
    ctx_params = [*model.context.parameters(), *model.predict.parameters()]
    ctx_opt = torch.optim.Adam(ctx_params, lr=3e-3)
    stale = [enc_opt, ctx_opt] if fixed else [ctx_opt]
    accumulate, curve = 2, []
    with observe(model, enc_opt):
        for _ in range(300):
            total = 0.0
            for _ in range(accumulate):
                loss, _ = model(waves(32))
                (loss / accumulate).backward()
                total += loss.item() / accumulate
            nn.utils.clip_grad_norm_(ctx_params, 1.0)
            enc_opt.step()
            ctx_opt.step()
            for optimizer in stale:
                optimizer.zero_grad()
            curve.append(total)
    with torch.no_grad():
        accuracy = torch.stack([model(waves(32))[1] for _ in range(20)]).mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
