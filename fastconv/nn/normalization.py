"""Batch normalisation as a layer, with its running statistics."""

from math import prod

import numpy as np
import numpy.typing as npt

from fastconv import functional
from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.module import Module
from fastconv.nn.parameter import Parameter
from fastconv.typing import Array, Shape

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class _BatchNorm(Module):
    axes: tuple[int, ...]  # how many axes x may have
    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_features = checks.count(num_features, "num_features")
        self.eps = checks.at_least(eps, "eps", 0.0)
        self.momentum = None if momentum is None else checks.fraction(momentum, "momentum")
        self.affine = checks.flag(affine, "affine")
        self.track_running_stats = checks.flag(track_running_stats, "track_running_stats")
        zeros = np.zeros(self.num_features, checks.float_dtype(dtype))
        self.weight = Parameter(zeros + 1) if self.affine else None
        self.bias = Parameter(zeros) if self.affine else None
        self.running_mean: Array | None = zeros if self.track_running_stats else None
        self.running_var: Array | None = zeros + 1 if self.track_running_stats else None
        self.num_batches_tracked: Array | None = np.zeros((), np.int64) if self.track_running_stats else None

    def forward(self, x: Array) -> Array:
        """y of x's shape; in training the running statistics move by `momentum` towards the batch's."""
        self._check(np.shape(x), "x has shape")
        y, statistics = functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            None if self.weight is None else self.weight.data,
            None if self.bias is None else self.bias.data,
            self.training or not self.track_running_stats,
            self._step(),
            self.eps,
            return_statistics=True,
        )
        self.keep(x, statistics.mean, statistics.var)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            for name in ("running_mean", "running_var"):
                getattr(self, name)[...] = getattr(statistics, name)
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The operation; a mean over all batches changes its rule from batch to batch, and is left to the layer."""
        self._check(x.shape, "x has shape")
        alone = self.training and (prod(x.shape) == self.num_features or self.eps == 0)  # which is an error there
        if alone or self.momentum is None or not self.track_running_stats:
            return graph.layer(self, x)
        return graph.add("batch_norm", (x,), x.shape, {"weight": self.weight, "bias": self.bias}, module=self)

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x, through the batch's mean and variance; adds to those of weight and bias."""
        x, mean, var = self.kept()
        if self.weight is not None and self.bias is not None:
            self.weight.add_grad(functional.batch_norm_weight_grad(grad_output, x, mean, var, self.eps))
            self.bias.add_grad(functional.batch_norm_bias_grad(grad_output))
        weight = None if self.weight is None else self.weight.data
        return functional.batch_norm_input_grad(grad_output, x, mean, var, weight, True, self.eps)

    def _step(self) -> float:
        """How far the running statistics move: with `momentum` None they are the mean over all batches so far."""
        if self.momentum is not None or self.num_batches_tracked is None:
            return 0.0 if self.momentum is None else self.momentum
        return 1 / (int(self.num_batches_tracked) + 1)

    def _check(self, shape: Shape, what: str) -> None:
        if len(shape) not in self.axes or shape[1] != self.num_features:
            counts = " or ".join(map(str, self.axes))
            raise ValueError(
                f"{what} {shape}: {counts} axes are accepted, {self.num_features} channels in the second of them"
            )

    def output_shape(self, input_shape: Shape) -> Shape:
        """input_shape."""
        shape = checks.any_shape(input_shape)
        self._check(shape, "input_shape is")
        return shape

    def flops(self, input_shape: Shape) -> int:
        """2 for each number: mean, variance, weight and bias make one multiply-add."""
        return 2 * prod(self.output_shape(input_shape))

    def extra_repr(self) -> str:
        """num_features, and what is not the default."""
        shown = checks.layer_options(self, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True)
        return f"{self.num_features}{shown}"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images: each channel to mean 0 and variance 1 (PyTorch's BatchNorm2d).

    y[n, c] = (x[n, c] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]; mean and variance are the batch's in
    training, the running ones in evaluation. See `functional.batch_norm`.

    Parameters
    ----------
    num_features : int
        Channels of x (N, num_features, H, W).
    eps : float
    momentum : float between 0 and 1, or None
        How far each batch moves the running statistics; None makes them the mean over all batches.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        Whether there are running statistics; if not, the batch's are used in evaluation too.
    dtype : float32, float64 or float16
        Of weight, bias and statistics, and so of x.

    Attributes
    ----------
    weight, bias : Parameter (num_features,), or None
    running_mean, running_var : array (num_features,), or None
    num_batches_tracked : array () of int64, or None

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    References
    ----------
    Ioffe, Szegedy, "Batch normalization", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm2d(1, dtype=np.float64)
    >>> layer(np.array([[[[1.0, 3.0]]]])).round(4)
    array([[[[-1.,  1.]]]])
    >>> layer.running_mean
    array([0.2])
    """

    axes = (4,)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features or signals: as `BatchNorm2d`, for x (N, num_features) or (N, num_features, W)."""

    axes = (2, 3)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes: as `BatchNorm2d`, for x (N, num_features, D, H, W)."""

    axes = (5,)
