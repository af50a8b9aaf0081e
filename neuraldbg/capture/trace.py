"""Watching the user's own tensor functions on sampled steps: dataflow, functional activations, losses, attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from neuraldbg.capture.attention import is_attention, is_of_one, row_numbers, scaled_dot_product
from neuraldbg.capture.choices import Choices
from neuraldbg.capture.compiled import is_transformed
from neuraldbg.capture.dropping import BORN, DROPOUTS, Dropping, rate_of
from neuraldbg.capture.halves import HALF
from neuraldbg.capture.labels import NO_LABELS, Label, Origin
from neuraldbg.capture.listener import Listener
from neuraldbg.capture.losses import LOSS_FUNCTIONS, broadcasts, function_of, target_of
from neuraldbg.capture.norms import NORMALIZING, STATISTICS
from neuraldbg.capture.products import PRODUCTS
from neuraldbg.capture.reduce import float_tensors, given
from neuraldbg.capture.shards import local
from neuraldbg.capture.sites import SINGULAR
from neuraldbg.capture.topology import ACTIVATIONS, activation_name

__all__ = ["Tracer"]

MATMULS = frozenset({"matmul", "__matmul__", "bmm", "baddbmm", "einsum"})
# Operations between q @ k and the softmax that keep a tensor a matrix of attention logits.
KEEPS_LOGITS = frozenset(
    {"mul", "__mul__", "__rmul__", "div", "__truediv__", "masked_fill", "masked_fill_", "where"}
    | {"add", "__add__", "__radd__", "sub", "__sub__", "float", "to", "type_as"}
)
# What is made in the shape of a tensor and holds nothing of it.
BLANK = frozenset(
    {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "zeros_like", "ones_like"}
    | {"full_like", "empty_like", "rand_like", "randn_like", "randint_like"}
)
# What hands its input on as it is: a module with a hook on its backward pass does so with its output.
SAME = "view_as"
# Looked at inside of layers, too: a softmax may be a module of its own and have attention logits for its input, and a
# layer may cut off what it is given.
IN_LAYERS = LOSS_FUNCTIONS | {"softmax", "detach"}
# All that somebody looks at there.
TOLD = IN_LAYERS | SINGULAR | PRODUCTS | NORMALIZING | DROPOUTS | BORN
SINGULAR_AT_ZERO = frozenset({"log", "log2", "log10", "sqrt", "rsqrt", "reciprocal"})
DIFFERENCES = frozenset({"sub", "__sub__", "__rsub__", "subtract"})
DRAWS = frozenset({"multinomial", "bernoulli", "normal"})
LOOKED_AT = (
    LOSS_FUNCTIONS
    | DRAWS
    | frozenset(ACTIVATIONS)
    | SINGULAR_AT_ZERO
    | DIFFERENCES
    | {"scaled_dot_product_attention", "detach"}
)


class Tracer(TorchFunctionMode):
    """A function mode that lets every call through and looks at what went in and out.

    It never changes an argument or a result. Calls inside a leaf layer are not looked at: the layer's
    own hook speaks for them.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.leaf_depth = 0
        # The layer that runs, where that depth is not zero, and what it was called with first.
        self.leaf = -1
        self.given: object = None
        self.resting = True
        self._listener = listener
        self._labels: dict[int, Label] = {}
        self._choices, self._dropping = Choices(), Dropping()
        # Whether gradients are off: a cut or a risky operation means nothing there.
        self._quiet = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call through, then look."""
        if torch.compiler.is_compiling():
            return func(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if self.resting or is_transformed():
            return result
        name, half = getattr(func, "__name__", ""), type(result) is Tensor and result.dtype is HALF
        if self.leaf_depth == 0 or half or self._dropping.born.found or name in TOLD:
            self._listener.guard(self._see, func, name, args, kwargs or {}, result)
        return result

    def _see(
        self,
        func: Callable[..., Any],
        name: str,
        args: Sequence[Any],
        kw: Mapping[str, Any],
        result: Any,
    ) -> None:
        """Hand a call over to all that look at it."""
        if name in SINGULAR:
            self._listener.on_operation(name, args, result)
        if name in PRODUCTS:
            self._listener.on_product(name, args, kw)
        if type(result) is Tensor and result.dtype is HALF:
            self._half(name, args, result)
        if name in NORMALIZING:
            self._normalize(name, args, kw)
        if self._dropping.wants(name):
            self._drop(name, args, kw, result)
        if self.leaf_depth == 0 or name in IN_LAYERS:
            self._after(func, name, args, kw, result)

    def clear(self) -> None:
        """Forget every tensor of the step and look no more until woken."""
        self.resting = True
        for known in (self._labels, self._choices, self._dropping):
            known.clear()
        self.leaf_depth, self.given = 0, None

    def rest(self) -> None:
        """Look no more until woken; what was dropped so far is told."""
        self.resting = True
        for layer, kept in self._dropping.finish():
            self._listener.on_dropped(layer, kept)

    def layers_in(self, values: object) -> frozenset[int]:
        """Return the layers that any tensor inside a value came from."""
        return NO_LABELS.union(*(self.layers_of(t) for t in float_tensors(values)))

    def layers_of(self, tensor: Tensor) -> frozenset[int]:
        """Return the layers that a tensor came from."""
        found = self._find(tensor)
        return found.layers if found else NO_LABELS

    def mark(self, tensor: Tensor, layer: int) -> None:
        """Say that a tensor is the output of a layer."""
        self._labels[id(tensor)] = Label(tensor, frozenset({layer}), direct=True, logits=False)

    def origin_of(self, tensor: Tensor) -> Origin:
        """Return where a tensor came from."""
        found = self._find(tensor)
        return Origin(found.layers, found.direct, found.maker) if found else Origin()

    def label(self, tensor: Tensor, origin: Origin) -> None:
        """Say where a tensor came from."""
        if origin.layers:
            label = Label(tensor, origin.layers, direct=origin.direct, logits=False)
            label.maker = origin.maker
            self._labels[id(tensor)] = label

    @contextmanager
    def awake(self, *, tracing: bool) -> Iterator[None]:
        """Watch what runs inside, if asked to, also where PyTorch was told not to ask modes."""
        if not tracing:
            yield
            return
        before = self.resting, self.leaf_depth
        self.resting, self.leaf_depth = False, 0
        try:
            with torch._C._EnableTorchFunction(), self:  # noqa: SLF001 - there is no public way to allow it again
                yield
        finally:
            self.resting, self.leaf_depth = before

    def _find(self, tensor: Tensor) -> Label | None:
        found = self._labels.get(id(tensor))
        return found if found is not None and found.ref() is tensor else None

    def _half(self, name: str, args: Sequence[Any], out: Tensor) -> None:
        layers = NO_LABELS if self.leaf_depth else self.layers_in(args)
        layer = self._listener.latest(layers) if layers else -1
        self._listener.on_half(self.leaf if self.leaf_depth else layer, name, args, out)
        if not self.leaf_depth:
            # What is beyond the range of half precision is told with who called it.
            self._listener.on_operation(name, args, out)

    def _after(
        self,
        func: Callable[..., Any],
        name: str,
        args: Sequence[Any],
        kw: Mapping[str, Any],
        out: Any,
    ) -> None:
        self._quiet = not torch.is_grad_enabled()
        if name in BLANK or (self._quiet and not self._listener.open):
            return
        if name == "__get__":
            self._after_attribute(func, args, out)
            return
        found = self._labels_of((*args, *kw.values()) if kw else args)
        layers = found[0].layers if len(found) == 1 else NO_LABELS.union(*(f.layers for f in found))
        if not self._quiet and (chose := self._choices.take(args, kw, out, layers)):
            self._listener.on_choice(chose)
        self._meet(found, out)
        if not found:
            self._look_unknown(name, args, kw, out)
            return
        if name in LOOKED_AT and (not self._quiet or activation_name(name) is not None):
            self._look(name, args, kw, out=out, found=found, layers=layers)
        self._hand_on(name, found, layers, out)

    def _hand_on(self, name: str, found: list[Label], layers: frozenset[int], out: Any) -> None:
        """Say of what a function gave where it came from."""
        logits = name in MATMULS or (name in KEEPS_LOGITS and any(f.logits for f in found))
        for tensor in (out,) if isinstance(out, Tensor) else float_tensors(out, 1):
            if tensor.is_floating_point():
                known = self._find(tensor) if name.endswith("_") else None
                known = found[0] if name == SAME else known
                direct = known is not None and known.direct
                self._labels[id(tensor)] = Label(tensor, layers, direct=direct, logits=logits)

    def _labels_of(self, values: Sequence[Any]) -> list[Label]:
        """Return the labels of tensors among arguments, also inside lists and tuples."""
        found = []
        for value in values:
            if isinstance(value, Tensor):
                label = self._labels.get(id(value))
                if label is not None and label.ref() is value:
                    found.append(label)
            elif isinstance(value, (tuple, list)):
                found += [label for t in float_tensors(value, 1) if (label := self._find(t))]
        return found

    def _after_attribute(self, func: Callable[..., Any], args: Sequence[Any], out: Any) -> None:
        if not isinstance(out, Tensor) or not args or not isinstance(args[0], Tensor):
            return
        found, cuts = self._find(args[0]), func == Tensor.data.__get__  # type: ignore[attr-defined]
        if found is None:
            if cuts:
                self._take_out(args[0])
            return
        if cuts:
            self._cut(args[0], found.layers)
        self._labels[id(out)] = Label(out, found.layers, direct=False, logits=found.logits)

    def _look(
        self,
        name: str,
        args: Sequence[Any],
        kw: Mapping[str, Any],
        *,
        out: Any,
        found: list[Label],
        layers: frozenset[int],
    ) -> None:
        listener = self._listener
        last = listener.latest(layers)
        nonlinearity = activation_name(name)
        if name in LOSS_FUNCTIONS:
            self._loss(name, args, kw, last, out)
        elif name == "scaled_dot_product_attention":
            self._fused_attention(args, kw)
        elif name == "detach" or is_of_one(nonlinearity, args, kw, out):
            self._cut(args[0], layers)
        elif nonlinearity == "softmax" and found[0].logits and is_attention(args, kw, out):
            listener.on_attention(last, row_numbers(args[0][:2, ..., -32:, :]))
        elif nonlinearity is not None and isinstance(args[0], Tensor):
            direct = found[0].direct and len(found[0].layers) == 1
            listener.on_activation(last, nonlinearity, args[0], direct=direct)
        elif name in SINGULAR_AT_ZERO:
            self._singular(name, args[0], last)
        elif not listener.inside:
            self._look_outside(name, args, last)

    def _look_unknown(
        self, name: str, args: Sequence[Any], kw: Mapping[str, Any], out: Any
    ) -> None:
        """Look at a call that was given nothing which came from a layer, as far as is known."""
        if name == "detach":
            self._take_out(args[0])
        elif name in LOSS_FUNCTIONS and not self.leaf_depth:
            # What a transform gives out has lost where it came from; its graph knows.
            prediction = kw.get("input", args[0] if args else None)
            if isinstance(prediction, Tensor) and self._listener.is_ours(prediction):
                self._loss(name, args, kw, -1, out)

    def _take_out(self, tensor: Tensor) -> None:
        """Take a parameter that is used without its gradient."""
        if isinstance(tensor, nn.Parameter) and not self._quiet:
            self._listener.on_taken_out(tensor)

    def _meet(self, found: Sequence[Label], out: Any) -> None:
        """Take what has no gradient and meets, within the model, what has one, from a layer or not."""
        if not (found and self._listener.inside and isinstance(out, Tensor) and out.requires_grad):
            return
        still = [f.layers for f in found if (x := f.ref()) is not None and not x.requires_grad]
        layers = NO_LABELS.union(*still)
        self._listener.on_mixing(layers)
        if len(still) < len(found):
            self._listener.on_meeting(layers)

    def _cut(self, tensor: Tensor, layers: frozenset[int]) -> None:
        if tensor.requires_grad and not self._quiet:
            self._listener.on_cut(layers)

    def _drop(self, name: str, args: Sequence[Any], kw: Mapping[str, Any], out: object) -> None:
        """Take a dropout that is no module, or what may become one: noise, and what it multiplies."""
        if not torch.is_grad_enabled():
            return
        if name in DROPOUTS:
            x = args[0] if args else kw["input"]
            if rate := rate_of(args, kw):
                kept = torch.full((), 1.0 - rate, device=x.device)
                self._listener.on_dropped(self._place(x), kept)
            return
        mask = self._dropping.follow(name, args, out)
        if mask is not None:
            self._dropping.note(self._place(args[0] if args[1] is mask else args[1]), mask)

    def _normalize(self, name: str, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
        """Take a function that normalizes, or the statistic that a layer takes of its input."""
        x = args[0] if args else kw.get("input")
        if not (isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()):
            return
        if local(x) is not x:
            # What is here of a distributed tensor need not be all that a statistic is taken of.
            return
        if name not in STATISTICS or (self.leaf_depth and x is self.given):
            self._listener.on_norm(self._place(x), name, args, kw)

    def _place(self, tensor: Tensor) -> int:
        """Return the layer that runs, or the last one that a tensor came from; -1 if none is known."""
        if self.leaf_depth:
            return self.leaf
        layers = self.layers_of(tensor)
        return self._listener.latest(layers) if layers else -1

    def _look_outside(self, name: str, args: Sequence[Any], last: int) -> None:
        """Take what the loop itself does with an output."""
        if name in DRAWS:
            self._listener.on_draw()
        elif name in DIFFERENCES:
            self._difference(args, last)

    def _loss(
        self, name: str, args: Sequence[Any], kw: Mapping[str, Any], last: int, out: Any
    ) -> None:
        pair = [a for a in (*args, *kw.values()) if isinstance(a, Tensor)][:2]
        if len(pair) < 2:
            return
        prediction, target = (
            kw.get("input", pair[0]),
            kw.get("target", target_of(name, args, pair[1])),
        )
        layers = self.layers_of(prediction)
        reduction = str(kw.get("reduction", "mean"))
        layer = self._listener.latest(layers) if layers else last
        maker = self.origin_of(prediction).maker
        name = function_of(name, args, kw)
        value = out if isinstance(out, Tensor) and out.numel() == 1 else None
        self._listener.on_loss(name, layer, prediction, target, reduction, maker=maker, value=value)

    def _difference(self, args: Sequence[Any], last: int) -> None:
        """Take ``prediction - target`` in a hand-written loss."""
        if len(args) < 2 or not (isinstance(args[0], Tensor) and isinstance(args[1], Tensor)):
            return
        ours = [bool(self._find(a)) for a in args[:2]]
        # Of two that the model made the one that is held fixed is the target.
        first = args[0].requires_grad if all(ours) else ours[0]
        prediction, target = (args[0], args[1]) if first else (args[1], args[0])
        if not any(ours) or target.requires_grad or not target.is_floating_point():
            return
        if not (target.dim() and prediction.dim() and prediction.shape[0] == target.shape[0]):
            return
        if not all(ours) or (prediction.requires_grad and broadcasts(prediction, target)):
            self._listener.on_loss("difference", last, prediction, target, "none")

    def _fused_attention(self, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        named = given(names, args, kw)
        query = named["query"]
        layers = self.layers_of(query)
        if not layers or query.dim() < 3:
            return
        numbers = scaled_dot_product(
            query,
            named["key"],
            named.get("attn_mask"),
            causal=bool(named.get("is_causal", False)),
            scale=named.get("scale"),
        )
        self._listener.on_attention(self._listener.latest(layers), numbers)

    def _singular(self, name: str, tensor: Any, last: int) -> None:
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.numel():
            return
        # Reading a number would stall a device; there the singular point stays unseen.
        if not tensor.is_cuda and bool((tensor.detach().amin() <= 0).item()):
            self._listener.on_risky(last, name)
