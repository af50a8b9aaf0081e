"""A hypernetwork writes the weights of a small sensor-calibration network from a task descriptor.
The generated weights are installed with `.data.copy_`, the natural way to "load" weights into a module, and that cuts the graph:
the optimiser holds the hypernetwork, whose parameters never see a gradient."""

import torch
from torch import nn

ID = "b_hypernet_tasks"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["trunk.0", "trunk.2", "to_w1", "to_b1", "to_w2", "to_b2"],
    "onset": 0,
}
H = 12


class Primary(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(1, H)
        self.l2 = nn.Linear(H, 1)

    def forward(self, x):
        return self.l2(torch.tanh(self.l1(x)))


class HyperCalibrator(nn.Module):
    def __init__(self, functional):
        super().__init__()
        self.functional = functional
        self.trunk = nn.Sequential(nn.Linear(2, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.to_w1 = nn.Linear(48, H)
        self.to_b1 = nn.Linear(48, H)
        self.to_w2 = nn.Linear(48, H)
        self.to_b2 = nn.Linear(48, 1)
        self.primary = Primary()

    def forward(self, task, x):
        h = self.trunk(task)
        new = {
            "l1.weight": self.to_w1(h).view(H, 1),
            "l1.bias": self.to_b1(h),
            "l2.weight": self.to_w2(h).view(1, H),
            "l2.bias": self.to_b2(h),
        }
        if self.functional:
            return torch.func.functional_call(self.primary, new, (x,))
        for name, p in self.primary.named_parameters():
            p.data.copy_(new[name])
        return self.primary(x)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 5)

    def episode(n=64):
        amp = 0.5 + 1.5 * torch.rand(1, generator=rng)
        phase = 3.0 * torch.rand(1, generator=rng)
        x = torch.rand(n, 1, generator=rng) * 4 - 2
        return torch.cat([amp - 1.25, phase - 1.5]), x, amp * torch.sin(1.2 * x + phase)

    model = HyperCalibrator(functional=fixed)
    generator_params = [p for n, p in model.named_parameters() if not n.startswith("primary")]
    optimizer = torch.optim.AdamW(generator_params, lr=2e-3, weight_decay=0.0)
    curve = []
    with observe(model, optimizer):
        for _ in range(800):
            optimizer.zero_grad()
            loss = 0.0
            tasks = [episode() for _ in range(4)]
            for task, x, y in tasks:
                part = ((model(task, x) - y) ** 2).mean() / len(tasks)
                part.backward()
                loss += part.item()
            optimizer.step()
            curve.append(loss)
    with torch.no_grad():
        errs = [
            ((model(t, x) - y) ** 2).mean().item() for t, x, y in (episode() for _ in range(60))
        ]
    return {"metric": sum(errs) / len(errs), "better": "lower", "curve": curve}
