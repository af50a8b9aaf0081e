"""A booking-probability network for holiday listings is trained with SGD on a day-by-day log, after Liam0205/liam0205.github.io issue 262
(comments on the post 'on the death of ReLU units by unusual inputs'). On one day the log
had the nightly price in rupiah instead of dollars, and the steps that this one batch caused left hidden ReLU units dead for all later
data. People scale features with the statistics of clean data and do not expect a broken day."""

import torch
from torch import nn

ID = "a_listing_ranker"
TRUTH = {
    "mechanisms": ["corrupted_batch", "dead_units"],
    "layers": ["tower.0", "tower.2"],
    "onset": 260,
}

FEATURES, RUPIAH_DAY = 12, 260


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(FEATURES, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
        self.book = nn.Linear(32, 1)

    def forward(self, x):
        return self.book(self.tower(x)).squeeze(1)


def propensity(raw):
    """Bookings: cheap for its size, near, well reviewed, with a sweet spot in length of stay."""
    price, size, distance, review, nights = (raw[:, i] for i in range(5))
    return (
        3 * (size - price)
        + 2 * review * (1 - distance)
        - 6 * (nights - 0.5) ** 2
        + 4 * raw[:, 5] * raw[:, 6]
        - 1.2
    )


def day_log(n, gen):
    raw = torch.rand(n, FEATURES, generator=gen)
    booked = torch.rand(n, generator=gen) < torch.sigmoid(2.5 * propensity(raw))
    return raw, booked.float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 81)
    log = [day_log(64, gen) for _ in range(900)]
    if not fixed:
        log[RUPIAH_DAY][0][:, 0] *= 15000.0
    test_x, test_y = day_log(3000, gen)
    model = Ranker()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.8)
    criterion = nn.BCEWithLogitsLoss()
    curve = []
    with observe(model, optimizer):
        for x, y in log:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = ((model(test_x) > 0).float() == test_y).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
