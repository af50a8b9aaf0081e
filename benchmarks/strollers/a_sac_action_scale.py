"""Soft actor-critic on a reaching task with actions in [-2, 2]. The tanh correction of the log-probability is
taken from the SCALED action, log(1 - (scale*tanh)^2 + eps), whose argument turns negative once an action passes 1:
cpnota/autonomous-learning-library issue 139. Fixed: the correction uses tanh before scaling."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_sac_action_scale"
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["policy.squash", "policy"],
    "onset": (20, 110),
}


class SquashedSample(nn.Module):
    def __init__(self, scale, fixed):
        super().__init__()
        self.scale, self.fixed = scale, fixed

    def forward(self, mean, log_std):
        normal = torch.distributions.Normal(mean, log_std.exp(), validate_args=False)
        raw = normal.rsample()
        action = self.scale * torch.tanh(raw)
        log_prob = normal.log_prob(raw)
        if self.fixed:
            log_prob = log_prob - torch.log(1 - torch.tanh(raw).pow(2) + 1e-6)
        else:
            log_prob = log_prob - torch.log(1 - action.pow(2) + 1e-6)
        return action, log_prob.sum(1)


class SoftDeterministicPolicy(nn.Module):
    def __init__(self, n_obs, n_act, fixed):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_obs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 2 * n_act)
        nn.init.uniform_(self.head.weight, -3e-3, 3e-3)
        self.squash = SquashedSample(2.0, fixed)
        with torch.no_grad():
            self.head.bias[n_act:] = -2.8
            self.head.bias[:n_act] = 0.0

    def forward(self, obs):
        mean, log_std = self.head(self.body(obs)).chunk(2, -1)
        return self.squash(mean, log_std.clamp(-5, 1))


class Agent(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.policy = SoftDeterministicPolicy(6, 2, fixed)
        self.q = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )


def reward(obs, act):
    target = 1.4 * torch.tanh(torch.stack([obs[:, 0] + obs[:, 1], obs[:, 2] - obs[:, 3]], -1))
    return -(act - target).pow(2).sum(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    agent = Agent(fixed)
    opt = torch.optim.Adam(
        [
            {"params": agent.policy.parameters(), "lr": 3e-4},
            {"params": agent.q.parameters(), "lr": 1e-3},
        ]
    )
    alpha, curve = 0.02, []
    with observe(agent, opt):
        for step in range(1200):
            obs = torch.randn(128, 6)
            with torch.no_grad():
                act = 4 * torch.rand(128, 2) - 2  # replayed exploratory actions
                nxt = torch.randn(128, 6)
                a2, logp2 = agent.policy(nxt)
                soft_v = agent.q(torch.cat([nxt, a2], 1)).squeeze(1) - alpha * logp2
                target = reward(obs, act) + 0.5 * soft_v
            q = agent.q(torch.cat([obs, act], 1)).squeeze(1)
            q_loss = F.mse_loss(q, target)
            a, logp = agent.policy(obs)
            for p in agent.q.parameters():
                p.requires_grad_(False)
            pi_loss = (alpha * logp - agent.q(torch.cat([obs, a], 1)).squeeze(1)).mean()
            for p in agent.q.parameters():
                p.requires_grad_(True)
            opt.zero_grad()
            (q_loss + pi_loss).backward()
            opt.step()
            curve.append(float(q_loss + pi_loss))
    with torch.no_grad():
        obs = torch.randn(2000, 6)
        score = reward(obs, agent.policy(obs)[0]).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}
