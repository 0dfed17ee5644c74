"""Representative calls of the cuda backend at realistic sizes, and the kernels that they launch, without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any
from unittest.mock import patch

import numpy as np
from numba import typeof

import fastconv as fc
import fastconv.functional as F
from fastconv import ndimage
from fastconv.backends import cuda
from fastconv.backends.cuda import device, tiles
from fastconv.backends.cuda.launching import Kernel

from .case import Array

# What is planned for where there is no GPU: multiprocessors and clock of an A100 and an H100.
MACHINES = {
    (8, 0): tiles.Machine(108, 1.41e9, (8, 0)),
    (9, 0): tiles.Machine(132, 1.98e9, (9, 0)),
}


@dataclass
class Launched:
    """A kernel for the types of its arguments.

    Attributes
    ----------
    kernel : Kernel
    signature : tuple
        Numba's types.
    calls : dict
        The calls that launch it, each with the blocks of its largest launch.
    """

    kernel: Kernel
    signature: tuple[Any, ...]
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def double(self) -> bool:
        """Whether it computes with float64 arrays."""
        return any(getattr(kind, "dtype", None) == typeof(np.float64(0)) for kind in self.signature)


class Handle(np.ndarray[Any, Any]):
    """Memory of the recorder's, in which others see a GPU's."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.__array_interface__, "stream": None}


class Recorder:
    """A device whose memory is the computer's, and which notes launches and computes nothing: results are zeros."""

    def __init__(self) -> None:
        self.call = ""
        self.launched: dict[tuple[Kernel, tuple[Any, ...]], Launched] = {}

    def take(self, size: int, dtype: Any) -> tuple[Array, None]:
        """Zeros as memory."""
        return np.zeros(max(size, 1), dtype).view(Handle), None

    def give_back(self, handle: Array, key: None) -> None:
        """Nothing is kept."""

    def clear(self) -> None:
        """Nothing is kept."""

    def copy_in(self, handle: Array, array: Array) -> None:
        """Fill memory."""
        handle[...] = array.reshape(-1)

    def copy_out(self, handle: Array) -> Array:
        """The numbers in memory."""
        return np.array(handle)

    def launch(self, kernel: Kernel, blocks: int | tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        """Note a launch."""
        signature = tuple([typeof(argument) for argument in device.handles(arguments)])
        found = self.launched.setdefault((kernel, signature), Launched(kernel, signature))
        count = prod(blocks) if isinstance(blocks, tuple) else int(blocks)
        found.calls[self.call] = max(count, found.calls.get(self.call, 0))


@contextmanager
def recording(capability: tuple[int, int]) -> Iterator[Recorder]:
    """The cuda backend is active, plans for a GPU of that capability, and computes on a recorder."""
    recorder = Recorder()
    fc.clear_cache()  # plans of another GPU, and what is kept in its memory
    known = MACHINES[capability]
    with ExitStack() as stack:
        stack.callback(fc.backends.load.cache_clear)
        for where, name, value in (
            (cuda, "require", lambda: None),
            (device, "current", recorder),
            (tiles, "machine", lambda: known),
        ):
            stack.enter_context(patch.object(where, name, value))
        stack.enter_context(fc.use_backend("cuda"))
        stack.callback(fc.clear_cache)
        yield recorder


def recorded(capability: tuple[int, int], calls: dict[str, Callable[[], Any]] | None = None) -> list[Launched]:
    """The kernels of these calls, or of all of CALLS, in the order in which they are first launched."""
    with recording(capability) as recorder:
        for recorder.call, call in (CALLS if calls is None else calls).items():
            call()
        return list(recorder.launched.values())


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    """An array on the device."""
    return fc.to_device(np.zeros(shape, dtype))


def convolution(
    batch: int,
    channels: int,
    side: int,
    filters: int,
    taps: int,
    stride: int = 1,
    groups: int = 1,
    dtype: Any = np.float32,
) -> Callable[[], None]:
    """A layer forward, and both of its gradients."""

    def call() -> None:
        shape, size = (batch, channels, side, side), (filters, channels // groups, taps, taps)
        x, weight, options = zeros(*shape, dtype=dtype), zeros(*size, dtype=dtype), (stride, taps // 2, 1, groups)
        y = F.conv2d(x, weight, zeros(filters, dtype=dtype), *options)
        F.conv2d_input_grad(shape, weight, y, *options)
        F.conv2d_weight_grad(x, size, y, *options)

    return call


def in_tf32(call: Callable[[], None]) -> Callable[[], None]:
    """The call in TF32."""

    def rounded() -> None:
        before = fc.get_precision()
        fc.set_precision("tf32")
        try:
            call()
        finally:
            fc.set_precision(before)

    return rounded


def transposed() -> None:
    """A layer of DCGAN."""
    F.conv_transpose2d(zeros(16, 256, 16, 16), zeros(256, 128, 4, 4), zeros(128), 2, 1)


def linear() -> None:
    """The last layer of ResNet-50, forward and both gradients."""
    x, weight = zeros(16, 2048), zeros(1000, 2048)
    y = F.linear(x, weight, zeros(1000))
    F.linear_input_grad(weight, y)
    F.linear_weight_grad(x, y)


def pooling() -> None:
    """Both kinds with their gradients, as in ResNet-50 and DenseNet-121."""
    x = zeros(16, 64, 112, 112)
    y, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    F.max_pool2d_input_grad(y, indices, x.shape)
    z = F.avg_pool2d(x, 2, 2)
    F.avg_pool2d_input_grad(z, x.shape, 2, 2)


def normalization() -> None:
    """A layer of batch normalization in training, forward and backward, and in evaluation."""
    layer = fc.nn.BatchNorm2d(64).to_device()
    y = layer(zeros(16, 64, 56, 56))
    layer.backward(y)
    layer.eval()(y)


def step(model: Callable[..., Any], batch: int, loss: str) -> Callable[[], None]:
    """A step of training by SGD with momentum, of a batch that comes from the computer's memory."""

    def call() -> None:
        network = model(seed=0)
        trainer = fc.training.Trainer(network, loss, fc.optim.SGD(network.parameters(), lr=0.01, momentum=0.9))
        x = np.zeros((batch, 1, 28, 28), np.float32)
        trainer.step(x, np.zeros(batch, np.int64) if loss == "cross_entropy" else x)

    return call


def optimizer(kind: str) -> Callable[[], None]:
    """A step of another optimizer."""

    def call() -> None:
        network = fc.nn.Sequential(fc.nn.Linear(256, 10, rng=0))
        trainer = fc.training.Trainer(network, "mse", getattr(fc.optim, kind)(network.parameters()))
        trainer.step(np.zeros((64, 256), np.float32), np.zeros((64, 10), np.float32))

    return call


def filters() -> None:
    """A Gaussian, a Sobel filter and a dense one, of an image."""
    image = np.zeros((2048, 2048), np.float32)
    ndimage.gaussian_filter(image, 2.0)
    ndimage.sobel(image, 0)
    ndimage.correlate(image, np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32))


CALLS: dict[str, Callable[[], Any]] = {
    "LeNet, a step of 64": step(fc.models.lenet, 64, "cross_entropy"),
    "autoencoder, a step of 64": step(fc.models.autoencoder, 64, "mse"),
    "residual_net, a step of 64": step(fc.models.residual_net, 64, "cross_entropy"),
    "unet, a step of 64": step(fc.models.unet, 64, "mse"),
    "Adam": optimizer("Adam"),
    "AdamW": optimizer("AdamW"),
    "ResNet-50 3x224x224 64 7x7 s2 n16": convolution(16, 3, 224, 64, 7, 2),
    "ResNet-50 64x56x56 64 3x3 n16": convolution(16, 64, 56, 64, 3),
    "ResNet-50 64x56x56 256 1x1 n16": convolution(16, 64, 56, 256, 1),
    "ResNet-50 128x56x56 128 3x3 s2 n16": convolution(16, 128, 56, 128, 3, 2),
    "ResNet-50 512x7x7 512 3x3 n16": convolution(16, 512, 7, 512, 3),
    "ResNet-50 512x7x7 512 3x3 n1": convolution(1, 512, 7, 512, 3),
    "MobileNet 128x56x56 depthwise 3x3 n16": convolution(16, 128, 56, 128, 3, groups=128),
    "ResNet-50 64x56x56 64 3x3 n16, TF32": in_tf32(convolution(16, 64, 56, 64, 3)),
    "ResNet-50 64x56x56 256 1x1 n16, TF32": in_tf32(convolution(16, 64, 56, 256, 1)),
    "ResNet-50 64x56x56 64 3x3 n16, float64": convolution(16, 64, 56, 64, 3, dtype=np.float64),
    "DCGAN 256x16x16 128 4x4 s2 n16, transposed": transposed,
    "linear 2048 1000 n16": linear,
    "linear 2048 1000 n16, TF32": in_tf32(linear),
    "pooling 64x112x112 n16": pooling,
    "batch normalization 64x56x56 n16": normalization,
    "filters of 2048x2048": filters,
}
