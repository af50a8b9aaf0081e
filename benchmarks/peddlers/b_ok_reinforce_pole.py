"""HEALTHY. REINFORCE with baseline on a small own pole-balancing simulator, softmax policy by hand.
Rewards and 'losses' are noisy and do not fall; the episode length rises."""

import math
import torch
import torch.nn as nn

ID = "b_ok_reinforce_pole"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Policy(nn.Module):
    def __init__(self, s=4, h=32, a=2):
        super().__init__()
        self.W1, self.b1 = (
            nn.Parameter(torch.randn(s, h) / math.sqrt(s)),
            nn.Parameter(torch.zeros(h)),
        )
        self.W2, self.b2 = nn.Parameter(0.01 * torch.randn(h, a)), nn.Parameter(torch.zeros(a))

    def forward(self, s):
        return torch.log_softmax(torch.tanh(s @ self.W1 + self.b1) @ self.W2 + self.b2, -1)


class Poles:
    """n carts side by side (Barto's equations)"""

    def __init__(self, n, g):
        self.g, self.s = g, 0.1 * torch.rand(n, 4, generator=g) - 0.05

    def obs(self):
        return self.s * torch.tensor([0.5, 0.5, 5.0, 0.7])

    def step(self, a):
        x, xd, th, thd = self.s.unbind(1)
        f = 10.0 * (2 * a.float() - 1)
        st, ct = th.sin(), th.cos()
        tmp = (f + 0.05 * thd**2 * st) / 1.1
        tha = (9.8 * st - ct * tmp) / (0.5 * (4 / 3 - 0.1 * ct**2 / 1.1))
        xa = tmp - 0.05 * tha * ct / 1.1
        self.s = torch.stack([x + 0.02 * xd, xd + 0.02 * xa, th + 0.02 * thd, thd + 0.02 * tha], 1)
        return (self.s[:, 0].abs() < 2.4) & (self.s[:, 2].abs() < 0.21)


def rollout(policy, n, g, T=100):
    env, alive, O, A, M = Poles(n, g), torch.ones(n, dtype=torch.bool), [], [], []
    with torch.no_grad():
        for _ in range(T):
            o = env.obs()
            a = torch.multinomial(policy(o).exp(), 1, generator=g)[:, 0]
            O.append(o), A.append(a), M.append(alive.float())
            alive = alive & env.step(a)
            env.s = torch.where(alive[:, None], env.s, torch.zeros_like(env.s))
            if not alive.any():
                break
    return torch.stack(O), torch.stack(A), torch.stack(M)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 211)
    model = Policy()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    curve = []
    with observe(model, optimizer):
        for it in range(250):
            O, A, M = rollout(model, 16, g)
            G = torch.zeros_like(M)
            run = torch.zeros(M.shape[1])
            for t in range(len(M) - 1, -1, -1):
                run = M[t] * (1 + 0.97 * run)
                G[t] = run
            base = (G * M).sum() / M.sum()
            adv = (G - base) / (((G - base) ** 2 * M).sum() / M.sum() + 1e-6).sqrt()
            logp = model(O).gather(-1, A[..., None])[..., 0]
            loss = -(logp * adv * M).sum() / M.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    _, _, M = rollout(model, 64, g)
    return {"metric": M.sum(0).mean().item(), "better": "higher", "curve": curve}
