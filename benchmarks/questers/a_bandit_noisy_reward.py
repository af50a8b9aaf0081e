"""Actor-critic on one-step contexts with very noisy rewards: the policy loss hovers about zero and even rises while the policy gets better.
Healthy."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_bandit_noisy_reward"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ActorCritic(nn.Module):
    def __init__(self, obs, actions):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(obs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.policy = nn.Linear(64, actions)
        self.value = nn.Linear(64, 1)

    def forward(self, x):
        h = self.body(x)
        return self.policy(h), self.value(h)


class SlotMachine:
    """Context -> one of six arms is right; an arm pays by its angle to the context."""

    def __init__(self, seed, obs=8, arms=6):
        g = torch.Generator().manual_seed(seed)
        self.w = torch.randn(obs, arms, generator=g) / obs**0.5

    def reset(self, n):
        self.x = torch.randn(n, self.w.shape[0])
        return self.x

    def step(self, a):
        mean = torch.tanh(2 * self.x @ self.w).gather(1, a[:, None]).squeeze(1)
        return mean + 1.0 * torch.randn(len(a))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = SlotMachine(seed + 1)
    net = ActorCritic(8, 6)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-3)
    curve = []
    with observe(net, opt):
        for step in range(1200):
            states_v = env.reset(128)
            logits_v, value_v = net(states_v)
            actions_t = torch.distributions.Categorical(logits=logits_v.detach()).sample()
            vals_ref_v = env.step(actions_t)
            loss_value_v = F.mse_loss(value_v.squeeze(-1), vals_ref_v)
            log_prob_v = F.log_softmax(logits_v, dim=1)
            adv_v = vals_ref_v - value_v.squeeze(-1).detach()
            log_prob_actions_v = adv_v * log_prob_v[range(128), actions_t]
            loss_policy_v = -log_prob_actions_v.mean()
            prob_v = F.softmax(logits_v, dim=1)
            entropy_loss_v = 0.01 * (prob_v * log_prob_v).sum(dim=1).mean()
            loss_v = loss_policy_v + entropy_loss_v + 0.5 * loss_value_v
            opt.zero_grad()
            loss_v.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            curve.append(loss_v.item())
    with torch.no_grad():
        x = env.reset(4000)
        a = net(x)[0].argmax(1)
        reward = torch.tanh(2 * x @ env.w).gather(1, a[:, None]).mean().item()
    return {"metric": reward, "better": "higher", "curve": curve}
