"""What a call of a loss function says: its arguments are the exact fingerprint of head and loss."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from neuraldbg.capture.provenance import MOST_VIEWS, VIEWS
from neuraldbg.capture.reduce import stack_together, strided
from neuraldbg.records.recording import Fact

__all__ = [
    "LOSS_FUNCTIONS",
    "Open",
    "broadcasts",
    "function_of",
    "loss_facts",
    "made_by",
    "regressed_on",
    "settled",
    "target_of",
]

# Facts some of which are still tensors, so that nobody waits for a device in the midst of a forward pass.
Open = dict[str, Fact | Tensor]

LOSS_FUNCTIONS = frozenset(
    {
        "cross_entropy",
        "nll_loss",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "kl_div",
        "gaussian_nll_loss",
        "poisson_nll_loss",
        "hinge_embedding_loss",
        "cosine_embedding_loss",
        "triplet_margin_loss",
        "margin_ranking_loss",
        "soft_margin_loss",
        "multi_margin_loss",
        "ctc_loss",
        "difference",
    }
)
# Autograd nodes that choose entries of a prediction, as the value of the action that was taken.
CHOICES = frozenset({"gather", "index", "indexselect", "split", "unbind", "narrow", "diagonal"})
# What compares two outputs has its target after these, and of another shape; and the name of a Poisson loss of rates,
# not of their logarithms.
COMPARES = frozenset({"cosine_embedding_loss", "margin_ranking_loss"})
OF_RATES = "poisson_nll_loss of rates"
CLASSIFICATION = frozenset({"cross_entropy", "nll_loss"})
ROWS = 512
# Multiples of the golden ratio fall as evenly as can be, and never on one place again.
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
# Autograd nodes of losses that keep their target until the backward pass, and how far behind the loss they stand.
REGRESSIONS = ("MseLoss", "SmoothL1Loss", "HuberLoss")
FLAGS = frozenset({"input_rows_sum_to_one", "input_log_probabilities"})
# What says nothing where no row carries a label.
OF_LABELS = frozenset({"label_entropy", "accuracy", "confident", "confident_wrong"})
NEAR = 64


def target_of(function: str, args: Sequence[object], second: Tensor) -> Tensor:
    """Return the target among the arguments of a loss: where two outputs are compared it is the third of them."""
    if function in COMPARES and len(args) > 2 and isinstance(args[2], Tensor):
        return args[2]
    return second


def function_of(name: str, args: Sequence[object], kw: Mapping[str, object]) -> str:
    """Return the name that a call of a loss is known by; a Poisson loss is two functions in one."""
    if name != "poisson_nll_loss":
        return name
    return name if kw.get("log_input", args[2] if len(args) > 2 else True) else OF_RATES


@torch.no_grad()
def loss_facts(
    function: str, prediction: Tensor, target: Tensor, reduction: str, maker: str = ""
) -> Open:
    """Return everything that a diagnosis asks of one loss call; ``settled`` reads what is a tensor.

    Parameters
    ----------
    function
        Name in ``torch.nn.functional``.
    prediction, target
        Its first two arguments.
    reduction
        ``mean``, ``sum`` or ``none``.
    maker
        The operation that made the prediction, where its graph does not tell.
    """
    facts: Open = (
        {"reduction": reduction, "rows": int(prediction.shape[0] or 1)}
        if (prediction.dim())
        else {"reduction": reduction}
    )
    x = strided(prediction, 16384).float()
    if x.numel() == 0 or target.numel() == 0:
        return facts
    low, high = torch.aminmax(x)
    facts |= {"input_min": low, "input_max": high, "input_std": _deviation(x)}
    facts |= _target_facts(target)
    maker = maker or made_by(prediction)
    if maker:
        facts["made_by"] = maker
    if function in CLASSIFICATION and prediction.dim() >= 2:
        facts |= _class_facts(function, prediction, target)
    elif function == "ctc_loss":
        mass = _sampled_rows(prediction).exp().sum(dim=-1)
        facts["input_log_probabilities"] = (mass - 1).abs().max() < 1e-2
    elif prediction.shape != target.shape and function not in COMPARES:
        facts["shape_mismatch"] = broadcasts(prediction, target)
    return facts


def _sampled_rows(prediction: Tensor) -> Tensor:
    """Return some rows of a prediction whose last axis are the classes, as float32."""
    flat = prediction.detach().reshape(-1, prediction.shape[-1])
    return flat[_scattered(flat.shape[0], flat.device)].float()


def _deviation(x: Tensor) -> Tensor | float:
    return x.std() if x.numel() > 1 else 0.0


def settled(found: Sequence[Open]) -> list[dict[str, Fact]]:
    """Return facts as plain values; what is on a device is read in one transfer."""
    values = [x for facts in found for x in facts.values()]
    tensors = [x.detach().reshape(()) for x in values if isinstance(x, Tensor)]
    numbers = iter(stack_together([x.double() for x in tensors]).tolist() if tensors else ())
    return [_plain(facts, numbers) for facts in found]


def _plain(facts: Open, numbers: Iterator[float]) -> dict[str, Fact]:
    out: dict[str, Fact] = {}
    for name, value in facts.items():
        number = next(numbers) if isinstance(value, Tensor) else value
        out[name] = bool(number) if name in FLAGS else number
    if math.isnan(out.get("label_entropy") or 0.0):  # type: ignore[arg-type]
        return {name: value for name, value in out.items() if name not in OF_LABELS}
    return out


def made_by(prediction: Tensor) -> str:
    """Return the operation that made a prediction: ``sigmoid``, ``addmm`` …; empty if unknown.

    Views of it and choices among its entries are left out.
    """
    node = prediction.grad_fn
    for _ in range(MOST_VIEWS):
        if node is None:
            return ""
        name = node.name().partition("Backward")[0].lower()
        plain = name.removeprefix("unsafe").removesuffix("_")
        if plain not in VIEWS and plain not in CHOICES:
            return name
        node = node.next_functions[0][0] if node.next_functions else None
    return ""


@torch.no_grad()
def regressed_on(loss: Tensor) -> dict[str, float]:
    """Return mean and spread of the targets of a loss whose graph is whole; empty if none is a regression's."""
    ahead = deque([loss.grad_fn])
    for _ in range(NEAR):
        node = ahead.popleft() if ahead else None
        if node is None:
            break
        if node.name().startswith(REGRESSIONS):
            target = getattr(node, "_saved_target")  # noqa: B009 - torch does not declare it
            found = _target_facts(target)
            return {name: float(found[name]) for name in ("target_mean", "target_std")}  # type: ignore[arg-type]
        ahead += [child for child, _ in node.next_functions if child is not None]
    return {}


def broadcasts(prediction: Tensor, target: Tensor) -> bool:
    """Return whether the two shapes blow each other up, as ``[B, 1]`` against ``[B]`` does.

    Whoever wants every pair says so: ``[B, 1]`` against ``[1, B]``.
    """
    if prediction.dim() == target.dim():
        return False
    try:
        shape = torch.broadcast_shapes(prediction.shape, target.shape)
    except RuntimeError:
        return False
    return math.prod(shape) > max(prediction.numel(), target.numel())


def _target_facts(target: Tensor) -> Open:
    y = strided(target, 16384).float()
    low, high = torch.aminmax(y)
    return {
        "target_min": low,
        "target_max": high,
        "target_mean": y.mean(),
        "target_std": _deviation(y),
        "target_nonfinite": (~torch.isfinite(target.sum(dtype=torch.float32))).float(),
    }


def _class_facts(function: str, prediction: Tensor, target: Tensor) -> Open:
    logits, labels = _rows(prediction, target)
    facts: Open = {"classes": int(logits.shape[1])}
    total, mass = logits.sum(dim=1), logits.exp().sum(dim=1)
    facts["input_rows_sum_to_one"] = (logits.min() >= 0) & ((total - 1).abs().max() < 1e-3)
    facts["input_log_probabilities"] = (logits.max() <= 1e-4) & ((mass - 1).abs().max() < 1e-2)
    if labels is None:
        return facts
    log_p = logits if function == "nll_loss" else logits.log_softmax(dim=1)
    return facts | _label_facts(log_p, labels, int(logits.shape[1]))


def _rows(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return logits ``(rows, classes)`` and labels ``(rows,)`` of a subsample; labels None if soft."""
    flat = prediction.detach().movedim(1, -1).reshape(-1, prediction.shape[1])
    chosen = _scattered(flat.shape[0], flat.device)
    logits = flat[chosen].float()
    if target.is_floating_point() or target.numel() != flat.shape[0]:
        return logits, None
    return logits, target.detach().reshape(-1)[chosen].long()


def _scattered(count: int, device: torch.device) -> Tensor | slice:
    """Return which of so many rows to look at: all, or one in every stretch, each at another place in its own.

    At equal distances the rows of an image could all be of one column, whose labels are those of the border.
    """
    if count <= ROWS:
        return slice(None)
    place = torch.arange(ROWS, dtype=torch.float64)
    rows = ((place + (place * GOLDEN) % 1.0) * (count / ROWS)).long()
    return rows.to(device, non_blocking=True)


def _label_facts(log_p: Tensor, labels: Tensor, classes: int) -> Open:
    # Ignored positions (negative index, padding) carry no label.
    valid = (labels >= 0) & (labels < classes)
    labels, count = labels.clamp(0, classes - 1), valid.sum()
    # As many operations whatever the labels are: to choose among them would wait for the device.
    share = torch.zeros(classes, device=labels.device).index_add_(0, labels, valid.float()) / count
    # Miller & Madow 1955: a sample of n labels underestimates the entropy by (seen - 1) / 2n.
    entropy = torch.special.entr(share).sum() + ((share > 0).sum() - 1) / (2 * count)
    top = log_p.max(dim=1)
    own = log_p.gather(1, labels[:, None])[:, 0]
    confident = valid & (top.values > math.log(0.8))
    wrong = confident & (own < math.log(0.1))
    return {
        "label_entropy": entropy.clamp(max=math.log(classes)),
        "accuracy": (valid & (top.indices == labels)).sum() / count,
        "confident": confident.sum() / count,
        "confident_wrong": wrong.sum() / count,
    }
