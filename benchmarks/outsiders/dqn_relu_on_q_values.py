"""DQN on a 6x6 maze with reward -1 a step; the Q network ends in a ReLU (copied hidden block), Q must be negative."""

import torch, torch.nn as nn, torch.nn.functional as F, copy

ID = "dqn-relu-on-q-values"
TRUTH = {
    "mechanisms": ["loss_output_mismatch", "dead_units"],
    "layers": ["net.4", "net.5", "net"],
    "onset": (0, 30),
}
S, MOVES = (6, torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]]))


class QNet(nn.Module):
    def __init__(self, relu):
        super().__init__()
        l = [nn.Linear(S * S, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)]
        self.net = nn.Sequential(*(l + [nn.ReLU()] if relu else l))

    def forward(self, s):
        return self.net(F.one_hot(s, S * S).float())


def move(pos, a):
    xy = torch.stack([pos // S, pos % S], 1)
    xy = (xy + MOVES[a]).clamp(0, S - 1)
    return xy[:, 0] * S + xy[:, 1]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    q = QNet(not fixed)
    target = copy.deepcopy(q)
    opt = torch.optim.Adam(q.parameters(), lr=0.001)
    goal, buf, pos = (S * S - 1, [], torch.randint(0, S * S - 1, (8,), generator=g))
    with observe(q, opt):
        for step in range(600):
            eps = max(0.1, 1 - step / 300)
            with torch.no_grad():
                greedy = q(pos).argmax(1)
            a = torch.where(
                torch.rand(8, generator=g) < eps, torch.randint(0, 4, (8,), generator=g), greedy
            )
            nxt = move(pos, a)
            done = nxt == goal
            buf.append(torch.stack([pos, a, nxt, done.long()], 1))
            pos = torch.where(done, torch.randint(0, goal, (8,), generator=g), nxt)
            if len(buf) < 10:
                continue
            mem = torch.cat(buf[-400:])
            b = mem[torch.randint(0, len(mem), (64,), generator=g)]
            with torch.no_grad():
                y = -1.0 + 0.97 * (1 - b[:, 3].float()) * target(b[:, 2]).max(1).values
            loss = F.smooth_l1_loss(q(b[:, 0]).gather(1, b[:, 1:2]).squeeze(1), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(q.parameters(), 10.0)
            opt.step()
            if step % 25 == 0:
                target.load_state_dict(q.state_dict())
    pos = torch.arange(goal)
    steps = torch.zeros(goal)
    alive = torch.ones(goal, dtype=torch.bool)
    for _ in range(30):
        with torch.no_grad():
            pos = torch.where(alive, move(pos, q(pos).argmax(1)), pos)
        steps += alive.float()
        alive &= pos != goal
    return {"metric": steps.mean().item(), "better": "lower"}
