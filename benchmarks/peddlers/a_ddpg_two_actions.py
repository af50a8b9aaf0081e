"""Robotics / RL: DDPG for a vehicle with two actions (steer, throttle). The actor's last layer is drawn from uniform(-6, 6) instead of
(-3e-3, 3e-3): tanh sits at +-1 from the start and the policy gets next to no gradient. Symptom as in rmst/ddpg issue 9 and
m5823779/DDPG issue 2 (actor output saturates with two actions)."""

import copy, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_ddpg_two_actions"
TRUTH = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["actor.mu", "actor.act"],
    "onset": (0, 0),
}


class Actor(nn.Module):
    def __init__(self, obs, act, init_w):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(obs, 64), nn.Linear(64, 64)
        self.mu = nn.Linear(64, act)
        self.act = nn.Tanh()
        for fc in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(fc.weight, nonlinearity="relu")
        nn.init.uniform_(self.mu.weight, -init_w, init_w)
        nn.init.uniform_(self.mu.bias, -init_w, init_w)

    def forward(self, s):
        return self.act(self.mu(F.relu(self.fc2(F.relu(self.fc1(s))))))


class Critic(nn.Module):
    def __init__(self, obs, act):
        super().__init__()
        self.fc1, self.fc2, self.q = nn.Linear(obs + act, 64), nn.Linear(64, 64), nn.Linear(64, 1)

    def forward(self, s, a):
        return self.q(F.relu(self.fc2(F.relu(self.fc1(torch.cat([s, a], 1))))))


class Agent(nn.Module):
    def __init__(self, init_w):
        super().__init__()
        self.actor, self.critic = Actor(4, 2, init_w), Critic(4, 2)


def env_step(s, a):
    """s: lateral error, heading error, speed error, curvature."""
    lat, head, v, k = s.unbind(1)
    head2 = head + 0.4 * a[:, 0] - 0.3 * k
    lat2 = lat + 0.3 * head2
    v2 = 0.95 * v + 0.3 * a[:, 1] + 0.05 * k
    r = -(lat2**2 + 0.5 * head2**2 + 0.5 * v2**2 + 0.3 * (a**2).sum(1))
    return torch.stack([lat2, head2, v2, 0.9 * k], 1).clamp(-3, 3), r.clamp(min=-10)


def reset(n, g):
    return torch.randn(n, 4, generator=g) * torch.tensor([0.8, 0.4, 0.8, 0.5])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 9)
    agent = Agent(3e-3 if fixed else 6.0)
    target = copy.deepcopy(agent)
    opt = torch.optim.Adam(
        [
            {"params": agent.actor.parameters(), "lr": 2e-4},
            {"params": agent.critic.parameters(), "lr": 1e-3},
        ]
    )
    buf, curve = [], []
    s = reset(16, g)
    with observe(agent, opt):
        for it in range(1500):
            with torch.no_grad():
                a = (agent.actor(s) + 0.3 * torch.randn(16, 2, generator=g)).clamp(-1, 1)
                s2, r = env_step(s, a)
            buf.append((s, a, r, s2))
            buf = buf[-600:]
            s = reset(16, g) if it % 20 == 19 else s2
            bs = [buf[i] for i in torch.randint(0, len(buf), (4,), generator=g).tolist()]
            S, A, R, S2 = (torch.cat(z) for z in zip(*bs))
            with torch.no_grad():
                y = 0.1 * R.unsqueeze(1) + 0.95 * target.critic(S2, target.actor(S2))
            closs = F.mse_loss(agent.critic(S, A), y)
            for p in agent.critic.parameters():
                p.requires_grad_(False)
            aloss = -agent.critic(S, agent.actor(S)).mean()
            for p in agent.critic.parameters():
                p.requires_grad_(True)
            opt.zero_grad()
            (closs + aloss).backward()
            opt.step()
            with torch.no_grad():
                for p, q in zip(agent.parameters(), target.parameters()):
                    q.lerp_(p, 0.01)
            curve.append(closs.item() + aloss.item())
    s = reset(256, torch.Generator().manual_seed(77))
    ret = 0.0
    with torch.no_grad():
        for t in range(20):
            s, r = env_step(s, agent.actor(s))
            ret += r.mean().item() / 20
    return {"metric": -ret, "better": "lower", "curve": curve}
