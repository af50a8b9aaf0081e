"""Healthy but odd: double DQN; the TD loss RISES while Q values grow to their true size, and jumps at target syncs."""

import torch, torch.nn as nn, torch.nn.functional as F, copy

ID = "healthy-double-dqn-rising-loss"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.f1, self.f2 = (nn.Linear(4, 64), nn.Linear(64, 64))
        self.adv, self.val = (nn.Linear(64, 3), nn.Linear(64, 1))

    def forward(self, s):
        h = F.relu(self.f2(F.relu(self.f1(s))))
        a = self.adv(h)
        return self.val(h) + a - a.mean(1, keepdim=True)


def env_step(s, a):
    v = 0.9 * s[:, 1] + 0.1 * (a.float() - 1)
    x = (s[:, 0] + v).clamp(-1, 1)
    r = 1 - (x - s[:, 2]).abs() - 0.05 * (a != 1).float()
    return (torch.stack([x, v, s[:, 2], s[:, 3] + 0.05], 1), r)


def reset(n, g):
    return torch.stack(
        [
            2 * torch.rand(n, generator=g) - 1,
            torch.zeros(n),
            1.6 * torch.rand(n, generator=g) - 0.8,
            torch.zeros(n),
        ],
        1,
    )


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    q = QNet()
    tgt = copy.deepcopy(q)
    opt = torch.optim.Adam(q.parameters(), lr=0.001)
    s = reset(16, g)
    mem, td = ([], [])
    with observe(q, opt):
        for step in range(600):
            eps = max(0.05, 1 - step / 250)
            with torch.no_grad():
                greedy = q(s).argmax(1)
            a = torch.where(
                torch.rand(16, generator=g) < eps, torch.randint(0, 3, (16,), generator=g), greedy
            )
            n, r = env_step(s, a)
            done = n[:, 3] > 1.5
            mem.append(torch.cat([s, a[:, None].float(), r[:, None], n], 1))
            s = torch.where(done[:, None], reset(16, g), n)
            if step < 8:
                continue
            b = torch.cat(mem[-300:])
            b = b[torch.randint(0, len(b), (64,), generator=g)]
            ss, aa, rr, nn_ = (b[:, :4], b[:, 4:5].long(), b[:, 5], b[:, 6:])
            with torch.no_grad():
                y = rr + 0.95 * tgt(nn_).gather(1, q(nn_).argmax(1, keepdim=True)).squeeze(1)
            loss = F.smooth_l1_loss(q(ss).gather(1, aa).squeeze(1), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(q.parameters(), 10.0)
            opt.step()
            td.append(loss.item())
            if step % 40 == 0:
                tgt.load_state_dict(q.state_dict())
    s, R, R0 = (reset(200, torch.Generator().manual_seed(9)), 0, 0)
    s0 = s.clone()
    with torch.no_grad():
        for _ in range(30):
            s, r = env_step(s, q(s).argmax(1))
            R += r.mean().item()
            s0, r0 = env_step(s0, torch.randint(0, 3, (200,), generator=g))
            R0 += r0.mean().item()
    return {"metric": -R, "random_policy": -R0, "better": "lower", "curve": td}
