"""A2C on a 5x5 grid: value head gives (N,1), returns are (N,): mse_loss and the advantage broadcast to (N,N)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a2c-value-broadcast"
TRUTH = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["value", "model.value"],
    "onset": (0, 1),
}
S, MOVES = (5, torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]]))


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy, self.value = (nn.Linear(64, 4), nn.Linear(64, 1))

    def forward(self, s):
        h = self.body(s)
        return (self.policy(h), self.value(h))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = ActorCritic()
    opt = torch.optim.Adam(model.parameters(), lr=0.002)
    E, H, errs, gamma = (12, 16, [], 0.95)
    with observe(model, opt):
        for it in range(350):
            pos, goal = (
                torch.randint(0, S, (E, 2), generator=g),
                torch.randint(0, S, (E, 2), generator=g),
            )
            alive = torch.ones(E)
            obs, acts, rews, masks = ([], [], [], [])
            for t in range(H):
                s = torch.cat([pos, goal], 1).float() / 2 - 1
                with torch.no_grad():
                    logits, _ = model(s)
                a = torch.multinomial(logits.softmax(-1), 1, generator=g).squeeze(1)
                pos = (pos + MOVES[a]).clamp(0, S - 1)
                hit = (pos == goal).all(1).float()
                obs.append(s)
                acts.append(a)
                rews.append(alive * (hit * 1.0 - 0.02))
                masks.append(alive.clone())
                alive = alive * (1 - hit)
            R, rets = (torch.zeros(E), [])
            for r in reversed(rews):
                R = r + gamma * R
                rets.insert(0, R)
            keep = torch.cat(masks) > 0
            s, a, ret = (torch.cat(obs)[keep], torch.cat(acts)[keep], torch.cat(rets)[keep])
            logits, v = model(s)
            if fixed:
                v = v.squeeze(-1)
            logp = logits.log_softmax(-1).gather(1, a[:, None]).squeeze(1)
            ent = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
            adv = (ret - v).detach()
            loss = -(logp * adv).mean() + 0.5 * F.mse_loss(v, ret) - 0.01 * ent
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            opt.step()
            errs.append(((v.detach().flatten() - ret) ** 2).mean().item())
    return {"metric": sum(errs[-40:]) / 40, "better": "lower", "curve": errs}
