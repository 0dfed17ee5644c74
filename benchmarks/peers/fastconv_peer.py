"""fastconv itself, by its public names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastconv
from fastconv import functional
from fastconv.backends.cpu.roof import fma_rate

from .. import networks
from ..case import Array, Case
from ..operations import as_tuple, by_rank
from . import Peer, Unsupported, fastconv_filters

Call = Callable[[], Any]
Inputs = dict[str, Array]


class Fastconv:
    """Answers are arrays, or a dict of them, and there when the call returns."""

    compiles = True

    def version(self) -> str:
        return fastconv.__version__

    def prepare(self, case: Case, inputs: Inputs) -> dict[str, Call]:
        if case.operation in fastconv_filters.OPERATIONS:
            return fastconv_filters.prepare(case, inputs)
        operation, rank = by_rank(case.operation)
        if operation not in OPERATIONS:
            raise Unsupported(f"fastconv has no {case.operation}")
        return {"default": OPERATIONS[operation](rank, inputs, case.options)}

    def remark(self, case: Case) -> dict[str, Any] | None:
        """What the plan of a drawn convolution expects: seconds, what they go to, and on how many threads."""
        if case.suite != "drawn":
            return None
        found = fastconv.explain(
            case.operation, case.arrays["x"], case.arrays["weight"], dtype=case.dtype, **layer(case.options)
        )
        return {"expected": found.expected, "parts": found.parts, "threads": found.threads}

    def roof(self, case: Case) -> float | None:
        return fma_rate(8 if case.dtype == "float64" else 4, fastconv.get_num_threads())

    def finish(self, answer: Any) -> Any:
        return answer

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        return answer if isinstance(answer, dict) else {"y": answer}


def peer(threads: int) -> Peer:
    """fastconv on so many threads."""
    fastconv.set_num_threads(threads)
    return Fastconv()


def conv(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """Forward."""
    function, geometry = getattr(functional, f"conv{rank}d"), layer(options)
    x, weight = inputs["x"], inputs["weight"]
    return lambda: function(x, weight, None, **geometry)


def conv_input_grad(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The gradient with respect to x."""
    function, geometry = getattr(functional, f"conv{rank}d_input_grad"), layer(options)
    size, weight, grad = tuple(options["input_size"]), inputs["weight"], inputs["grad"]
    return lambda: function(size, weight, grad, **geometry)


def conv_weight_grad(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The gradient with respect to weight."""
    function, geometry = getattr(functional, f"conv{rank}d_weight_grad"), layer(options)
    x, size, grad = inputs["x"], tuple(options["weight_size"]), inputs["grad"]
    return lambda: function(x, size, grad, **geometry)


def conv_transpose(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """Transposed convolution, forward."""
    function, geometry = getattr(functional, f"conv_transpose{rank}d"), layer(options)
    x, weight = inputs["x"], inputs["weight"]
    return lambda: function(x, weight, None, **geometry)


def layer(options: dict[str, Any]) -> dict[str, Any]:
    """A convolution's options with tuples for lists, as a user writes them."""
    names = ("stride", "padding", "output_padding", "dilation", "groups", "algorithm")
    return {name: as_tuple(options[name]) for name in names if name in options}


def max_pool(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The largest pixel of each window."""
    return pool(f"max_pool{rank}d", inputs, options)


def avg_pool(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The mean of each window."""
    return pool(f"avg_pool{rank}d", inputs, options)


def pool(name: str, inputs: Inputs, options: dict[str, Any], **more: Any) -> Call:
    """Pooling by the function of that name."""
    function, x = getattr(functional, name), inputs["x"]
    window, stride, padding = (as_tuple(options[option]) for option in ("kernel_size", "stride", "padding"))
    return lambda: function(x, window, stride, padding, **more)


def max_pool_grad(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The gradient, whose indices are at hand."""
    function, grad, size = getattr(functional, f"max_pool{rank}d_input_grad"), inputs["grad"], inputs["x"].shape
    _, indices = pool(f"max_pool{rank}d", inputs, options, return_indices=True)()
    return lambda: function(grad, indices, size)


def linear(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """Forward."""
    x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
    return lambda: functional.linear(x, weight, bias)


def linear_input_grad(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The gradient with respect to x."""
    weight, grad = inputs["weight"], inputs["grad"]
    return lambda: functional.linear_input_grad(weight, grad)


def linear_weight_grad(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The gradient with respect to weight."""
    x, grad = inputs["x"], inputs["grad"]
    return lambda: functional.linear_weight_grad(x, grad)


def train_step(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """Two steps, whose losses are the answer, and from then on one a call."""
    name = options["model"]
    model = networks.build(name, str(inputs["x"].dtype))
    rate, momentum = networks.LEARNING_RATE, networks.MOMENTUM
    optimizer = fastconv.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    trainer = fastconv.training.Trainer(model, networks.LOSSES[name], optimizer)
    x, target = inputs["x"], networks.targets(name, inputs)
    return networks.Steps(lambda: trainer.step(x, target))


def infer(rank: int, inputs: Inputs, options: dict[str, Any]) -> Call:
    """The model in evaluation."""
    model, x = networks.build(options["model"], str(inputs["x"].dtype)).eval(), inputs["x"]
    return lambda: model(x)


OPERATIONS: dict[str, Callable[[int, Inputs, dict[str, Any]], Call]] = {
    "conv": conv,
    "conv_input_grad": conv_input_grad,
    "conv_weight_grad": conv_weight_grad,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool": avg_pool,
    "linear": linear,
    "linear_input_grad": linear_input_grad,
    "linear_weight_grad": linear_weight_grad,
    "train_step": train_step,
    "infer": infer,
}
