"""PyTorch: its layers in both memory layouts, the arrays already in the layout.

Arrays lie where PyTorch's default device is while a case is prepared: on the processor, or on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F

from .. import networks
from ..case import Array, Case
from ..operations import by_rank, symmetric
from . import Peer, Unsupported, pytorch_filters
from .networks_pytorch import module
from .pytorch_tensors import tensor

Call = Callable[[], Any]
Tensors = dict[str, Any]
Options = dict[str, Any]
aten = torch.ops.aten

# By number of axes; a signal has no such layout.
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}

# A gradient's call wants the array that it belongs to, and looks at its shape and layout alone.
STANDING_IN = {"input_size": "x", "weight_size": "weight"}


class PyTorch:
    """Answers are tensors, or a dict of arrays; on a CPU they are there when the call returns."""

    compiles = False

    def __init__(self) -> None:
        self.mode = ExitStack()  # inference mode, entered once and not in every call: that costs a microsecond

    def version(self) -> str:
        return str(torch.__version__)

    def prepare(self, case: Case, inputs: dict[str, Array]) -> dict[str, Call]:
        self.mode.close()
        if case.operation == "train_step":
            return {name: train_step(case, inputs, layout) for name, layout in layouts(2).items()}
        self.mode.enter_context(torch.inference_mode())
        if case.operation in pytorch_filters.OPERATIONS:
            return pytorch_filters.prepare(case, inputs)
        if case.operation == "infer":
            return {name: infer(case, inputs, layout) for name, layout in layouts(2).items()}
        operation, rank = by_rank(case.operation)
        if operation not in OPERATIONS:
            raise Unsupported(f"PyTorch has no {case.operation}")
        calls = {}
        for name, layout in layouts(rank).items():
            tensors = {key: in_layout(tensor(array), layout) for key, array in inputs.items()}
            for size, key in STANDING_IN.items():
                if size in case.options:
                    tensors[key] = in_layout(torch.empty(case.options[size], dtype=getattr(torch, case.dtype)), layout)
            calls[name] = OPERATIONS[operation](rank, tensors, case.options)
        return calls

    def finish(self, answer: Any) -> Any:
        return answer

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        return answer if isinstance(answer, dict) else {"y": answer.cpu().numpy()}


def peer(threads: int) -> Peer:
    """PyTorch on so many threads."""
    torch.set_num_threads(threads)
    return PyTorch()


def layouts(rank: int) -> dict[str, Any]:
    """The memory layouts of images of so many axes, by name."""
    found = {"contiguous": torch.contiguous_format}
    return {**found, "channels_last": CHANNELS_LAST[rank]} if rank in CHANNELS_LAST else found


def in_layout(tensor: Any, layout: Any) -> Any:
    """The tensor with its numbers in the layout's order."""
    return tensor.contiguous(memory_format=layout) if tensor.ndim > 2 else tensor


def conv(rank: int, tensors: Tensors, options: Options) -> Call:
    """Forward."""
    function = getattr(F, f"conv{rank}d")
    x, weight, (stride, padding, dilation, groups) = tensors["x"], tensors["weight"], geometry(options)
    return lambda: function(x, weight, None, stride, padding, dilation, groups)


def conv_input_grad(rank: int, tensors: Tensors, options: Options) -> Call:
    """The gradient with respect to x alone: what autograd calls, and torch.nn.grad.conv2d_input."""
    return gradient(tensors, options, 0)


def conv_weight_grad(rank: int, tensors: Tensors, options: Options) -> Call:
    """The gradient with respect to weight alone."""
    return gradient(tensors, options, 1)


def gradient(tensors: Tensors, options: Options, which: int) -> Call:
    """One of convolution's gradients; the values of the array that it belongs to are not read."""
    grad, x, weight = (tensors[name] for name in ("grad", "x", "weight"))
    stride, padding, dilation, groups = geometry(options)
    none, mask = [0] * len(stride), [i == which for i in range(3)]
    function = aten.convolution_backward.default
    return lambda: function(grad, x, weight, None, stride, padding, dilation, False, none, groups, mask)[which]


def conv_transpose(rank: int, tensors: Tensors, options: Options) -> Call:
    """Transposed convolution, forward."""
    function, x, weight = getattr(F, f"conv_transpose{rank}d"), tensors["x"], tensors["weight"]
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    stride, padding, extra, groups, dilation = (options[name] for name in names)
    return lambda: function(x, weight, None, stride, padding, extra, groups, dilation)


def geometry(options: Options) -> tuple[list[int], list[int], list[int], int]:
    """Stride, padding, dilation and groups of a convolution."""
    padding = symmetric(options["padding"])
    if padding is None:
        raise Unsupported("PyTorch pads both sides alike")
    return options["stride"], list(padding), options["dilation"], options["groups"]


def window(options: Options) -> tuple[list[int], list[int], list[int]]:
    """A pooling's window, stride and padding."""
    return options["kernel_size"], options["stride"], options["padding"]


def max_pool(rank: int, tensors: Tensors, options: Options) -> Call:
    """The largest pixel of each window."""
    function, x, (size, stride, padding) = getattr(F, f"max_pool{rank}d"), tensors["x"], window(options)
    return lambda: function(x, size, stride, padding)


def avg_pool(rank: int, tensors: Tensors, options: Options) -> Call:
    """The mean of each window."""
    function, x, (size, stride, padding) = getattr(F, f"avg_pool{rank}d"), tensors["x"], window(options)
    return lambda: function(x, size, stride, padding)


def max_pool_grad(rank: int, tensors: Tensors, options: Options) -> Call:
    """The gradient, whose indices are at hand."""
    if rank == 1:
        raise Unsupported("PyTorch has no such call of its own for signals")
    x, grad, (size, stride, padding) = tensors["x"], tensors["grad"], window(options)
    _, indices = getattr(F, f"max_pool{rank}d")(x, size, stride, padding, return_indices=True)
    function, ones = getattr(aten, f"max_pool{rank}d_with_indices_backward").default, [1] * rank
    return lambda: function(grad, x, size, stride, padding, ones, False, indices)


def linear(rank: int, tensors: Tensors, options: Options) -> Call:
    """Forward."""
    x, weight, bias = tensors["x"], tensors["weight"], tensors["bias"]
    return lambda: F.linear(x, weight, bias)


def linear_input_grad(rank: int, tensors: Tensors, options: Options) -> Call:
    """The gradient with respect to x, as autograd computes it."""
    weight, grad = tensors["weight"], tensors["grad"]
    return lambda: torch.mm(grad, weight)


def linear_weight_grad(rank: int, tensors: Tensors, options: Options) -> Call:
    """The gradient with respect to weight, as autograd computes it."""
    x, grad = tensors["x"], tensors["grad"]
    return lambda: torch.mm(grad.t(), x)


def train_step(case: Case, inputs: dict[str, Array], layout: Any) -> Call:
    """Two steps, whose losses are the answer, and from then on one a call."""
    name = case.options["model"]
    model = module(name, case.dtype).to(memory_format=layout).train()
    rate, momentum = networks.LEARNING_RATE, networks.MOMENTUM
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    losses: dict[str, Callable[..., Any]] = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}
    loss_function = losses[networks.LOSSES[name]]
    x, target = (in_layout(torch.from_numpy(array), layout) for array in (inputs["x"], networks.targets(name, inputs)))
    device = torch.get_default_device()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(x.to(device)), target.to(device))  # a batch comes from the computer's memory
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return networks.Steps(step)


def infer(case: Case, inputs: dict[str, Array], layout: Any) -> Call:
    """The model in evaluation."""
    model = module(case.options["model"], case.dtype).to(memory_format=layout).eval()
    x = in_layout(tensor(inputs["x"]), layout)
    return lambda: model(x)


OPERATIONS: dict[str, Callable[[int, Tensors, Options], Call]] = {
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
}
