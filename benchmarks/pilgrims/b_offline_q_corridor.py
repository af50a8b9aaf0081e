"""Offline Q-learning on logged play of a corridor game with a small prize nearby and a large one far away.
The vectorised simulator resets itself, so the logged next observation of a finished episode is the start of the next one, and
the Bellman target bootstraps through it because the terminal flag was dropped; the agent learns to farm the small prize."""

import copy

import torch
import torch.nn as nn

ID = "b_offline_q_corridor"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 100)}
W, H, START, SMALL, LARGE = 10, 3, (2, 1), (0, 1), (9, 1)
GAMMA = 0.97


def advance(pos, action):
    dx = torch.tensor([1, -1, 0, 0])[action]
    dy = torch.tensor([0, 0, 1, -1])[action]
    new = torch.stack([(pos[:, 0] + dx).clamp(0, W - 1), (pos[:, 1] + dy).clamp(0, H - 1)], 1)
    small = (new == torch.tensor(SMALL)).all(1)
    large = (new == torch.tensor(LARGE)).all(1)
    return new, 0.35 * small.float() + large.float(), small | large


def features(pos):
    return torch.cat(
        [nn.functional.one_hot(pos[:, 0], W), nn.functional.one_hot(pos[:, 1], H)], 1
    ).float()


def log_play(envs, length, rng):
    pos = torch.tensor([START]).repeat(envs, 1)
    rows = []
    for _ in range(length):
        act = torch.randint(0, 4, (envs,), generator=rng)
        act = torch.where(torch.rand(envs, generator=rng) < 0.15, torch.zeros_like(act), act)
        new, rew, done = advance(pos, act)
        nxt = torch.where(done[:, None], torch.tensor([START]), new)
        rows.append((features(pos), act, rew, features(nxt), done.float()))
        pos = nxt
    return [torch.cat(c) for c in zip(*rows)]


def qnet():
    return nn.Sequential(
        nn.Linear(W + H, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )


@torch.no_grad()
def play(net, rng, episodes=200):
    pos = torch.tensor([START]).repeat(episodes, 1)
    total, alive, disc = torch.zeros(episodes), torch.ones(episodes), 1.0
    for _ in range(40):
        act = net(features(pos)).argmax(1)
        slip = torch.rand(episodes, generator=rng) < 0.1
        act = torch.where(slip, torch.randint(0, 4, (episodes,), generator=rng), act)
        pos, rew, done = advance(pos, act)
        total += disc * alive * rew
        alive = alive * (1 - done.float())
        disc *= GAMMA
    return total.mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 3)
    obs, act, rew, nxt, done = log_play(100, 400, rng)
    not_done = 1 - done if fixed else torch.ones_like(done)
    model = qnet()
    target = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    huber, curve = nn.HuberLoss(), []
    with observe(model, optimizer):
        for step in range(1500):
            i = torch.randint(0, len(act), (256,), generator=rng)
            with torch.no_grad():
                best = model(nxt[i]).argmax(1, keepdim=True)
                goal = rew[i] + GAMMA * not_done[i] * target(nxt[i]).gather(1, best).squeeze(1)
            loss = huber(model(obs[i]).gather(1, act[i, None]).squeeze(1), goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for p, q in zip(target.parameters(), model.parameters()):
                    p.lerp_(q, 0.02)
            curve.append(loss.item())
    return {"metric": play(model, rng), "better": "higher", "curve": curve}
