"""A hand-written multilayer perceptron (lists of weights, log-sum-exp, summed one-hot loss) reads stroke digits with plain SGD, after
GitHub: jax-ml/jax pull request 159, 'Lower learning rate in NN example notebook to fix divergence'. The step size multiplies a gradient
that is summed over the batch and is ten times too large for it, so the loss jumps about from the first steps and little is learnt. The
number would suit the mean over a batch, and nobody changes it when the reduction changes."""

import torch
from torch import nn

ID = "a_handmade_digits"
TRUTH = {"mechanisms": ["learning_rate_too_high"], "layers": None, "onset": (0, 5)}

SIDE, DIGITS = 12, 10
LAYER_SIZES = [SIDE * SIDE, 96, 96, DIGITS]


class HandMade(nn.Module):
    def __init__(self, sizes, scale=0.1):
        super().__init__()
        self.weights = nn.ParameterList(
            [scale * torch.randn(n, m) for m, n in zip(sizes[:-1], sizes[1:])]
        )
        self.biases = nn.ParameterList([scale * torch.randn(n) for n in sizes[1:]])

    def forward(self, image):
        h = image
        for w, b in zip(self.weights[:-1], self.biases[:-1]):
            h = (h @ w.T + b).clamp_min(0)
        logits = h @ self.weights[-1].T + self.biases[-1]
        return logits - torch.logsumexp(logits, 1, keepdim=True)


def glyphs(gen):
    """Ten prototypes of three strokes each."""
    g = torch.arange(SIDE).float()
    yy, xx = torch.meshgrid(g, g, indexing="ij")
    out = torch.zeros(DIGITS, SIDE, SIDE)
    for d in range(DIGITS):
        for _ in range(3):
            a, b = (
                torch.rand(2, generator=gen) * (SIDE - 4) + 2,
                torch.rand(2, generator=gen) * (SIDE - 4) + 2,
            )
            for t in torch.linspace(0, 1, 12):
                p = a + t * (b - a)
                out[d] = torch.maximum(
                    out[d], torch.exp(-((yy - p[0]) ** 2 + (xx - p[1]) ** 2) / 1.2)
                )
    return out


def draw(n, prototypes, gen):
    y = torch.randint(0, DIGITS, (n,), generator=gen)
    x = prototypes[y]
    dy, dx = torch.randint(-1, 2, (2, n), generator=gen)
    x = torch.stack([im.roll((int(a), int(b)), (0, 1)) for im, a, b in zip(x, dy, dx)])
    x = (
        x * (0.7 + 0.3 * torch.rand(n, 1, 1, generator=gen))
        + 0.2 * torch.randn(n, SIDE, SIDE, generator=gen)
    ).clamp(0, 1)
    return x.flatten(1), nn.functional.one_hot(y, DIGITS).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 171)
    prototypes = glyphs(gen)
    images, targets = draw(2048, prototypes, gen)
    test_images, test_targets = draw(600, prototypes, gen)
    model = HandMade(LAYER_SIZES)
    step_size, batch_size, num_epochs = (0.001 if fixed else 0.01), 128, 25
    optimizer = torch.optim.SGD(model.parameters(), lr=step_size)
    curve = []
    with observe(model, optimizer):
        for epoch in range(num_epochs):
            order = torch.randperm(len(images), generator=gen)
            for pick in order.split(batch_size):
                loss = -(model(images[pick]) * targets[pick]).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item() / batch_size)
    with torch.no_grad():
        metric = (model(test_images).argmax(1) == test_targets.argmax(1)).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
