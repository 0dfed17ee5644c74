"""Calls that reach every kernel of the cuda backend, on small shapes: what is compiled, checked and interpreted.

A stop of the tour is a function of (rng) that returns an array, or several, of float32 unless its name says else.
"""

from functools import partial

import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import geometry, ndimage
from fastconv.backends.cuda import array, lowering, plans, tiles

STOPS = {}


def stop(function):
    """Puts a function on the tour, by its name."""
    STOPS[function.__name__] = function
    return function


def stop_in_both(function):
    """Puts a function of (rng, dtype) on the tour twice: by its name in float32, and in float64."""
    for dtype, ending in ((np.float32, ""), (np.float64, "_float64")):
        STOPS[function.__name__ + ending] = partial(function, dtype=dtype)
    return function


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def convolutions(rng, x_shape, weight_shape, dtype=np.float32, **options):
    """Forward pass and both gradients."""
    rank = len(x_shape) - 2
    x, weight = normal(rng, *x_shape, dtype=dtype), normal(rng, *weight_shape, dtype=dtype)
    y = getattr(F, f"conv{rank}d")(x, weight, normal(rng, weight_shape[0], dtype=dtype), **options)
    g = normal(rng, *y.shape, dtype=dtype)
    grad_x = getattr(F, f"conv{rank}d_input_grad")(x.shape, weight, g, **options)
    grad_weight = getattr(F, f"conv{rank}d_weight_grad")(x, weight.shape, g, **options)
    return y, grad_x, grad_weight, getattr(F, f"conv{rank}d_bias_grad")(g)


@stop
def convolution_of_images(rng):
    return convolutions(rng, (2, 5, 9, 8), (7, 5, 3, 3), padding=1)


@stop
def convolution_wide(rng):
    return convolutions(rng, (1, 40, 6, 7), (130, 40, 3, 3), padding=((1, 0), (0, 1)))


@stop
def convolution_of_many_pixels(rng):
    return convolutions(rng, (1, 3, 24, 40), (8, 3, 3, 3), padding=1)


@stop
def convolution_strided(rng):
    return convolutions(rng, (3, 4, 11, 10), (6, 4, 3, 2), stride=(2, 3), padding=1)


@stop
def convolution_dilated_in_groups(rng):
    return convolutions(rng, (2, 6, 10, 9), (8, 3, 3, 3), dilation=2, padding=2, groups=2)


@stop
def convolution_depthwise(rng):
    return convolutions(rng, (2, 6, 10, 9), (6, 1, 3, 3), stride=2, padding=1, groups=6)


@stop
def convolution_pointwise(rng):
    return convolutions(rng, (2, 20, 5, 6), (33, 20, 1, 1))


@stop
def convolution_of_signals(rng):
    return convolutions(rng, (2, 3, 50), (4, 3, 5), stride=2, padding=2)


@stop
def convolution_of_volumes(rng):
    return convolutions(rng, (1, 2, 5, 6, 4), (3, 2, 2, 3, 2), stride=(1, 2, 1), padding=1)


@stop
def convolution_float64(rng):
    return convolutions(rng, (2, 5, 9, 8), (7, 5, 3, 3), np.float64, padding=1)


@stop
def convolution_depthwise_float64(rng):
    return convolutions(rng, (2, 4, 7, 8), (4, 1, 3, 3), np.float64, groups=4)


@stop
def convolution_float16(rng):
    return F.conv2d(normal(rng, 1, 2, 5, 5, dtype=np.float16), normal(rng, 3, 2, 3, 3, dtype=np.float16))


@stop
def convolution_transposed(rng):
    x, weight = normal(rng, 2, 5, 4, 5), normal(rng, 5, 3, 4, 3)
    options = {"stride": (2, 3), "padding": 1, "output_padding": (1, 0)}
    y = F.conv_transpose2d(x, weight, normal(rng, 3), **options)
    g = normal(rng, *y.shape)
    grad_x = F.conv_transpose2d_input_grad(x.shape, weight, g, **options)
    return y, grad_x, F.conv_transpose2d_weight_grad(x, weight.shape, g, **options)


def by_every_tile(rng, dtype, precision="float32", largest=0):
    """A convolution by each tile, whole and in parts of the depth: small shapes choose few of them."""
    shape = geometry.convolution((2, 9, 6, 5), (9, 9, 3, 2), 1, 0, 1, 1)
    x, weight, bias = (normal(rng, *size, dtype=dtype) for size in (shape.input_shape, shape.weight_shape, (9,)))
    chosen = [(tile, parts) for tile in tiles.tiles(np.dtype(dtype), precision) for parts in (1, 2)]
    if fc.backend_name() != "cuda":
        return [F.conv2d(x, weight, bias)] * len(chosen)
    found = []
    for choice in chosen:
        y = array.empty(shape.output_shape, x.dtype)
        plan = plans.plan(lowering.forward(shape), np.dtype(dtype), precision, largest, choice)
        plan(*[fc.to_device(given) for given in (weight, x, bias)], y)
        found.append(y.to_host())
    return found


@stop
def every_tile(rng):
    return by_every_tile(rng, np.float32)


@stop
def every_tile_with_long_offsets(rng):
    return by_every_tile(rng, np.float32, largest=1 << 40)


@stop
def every_tile_in_float64(rng):
    return by_every_tile(rng, np.float64)


@stop
def every_tile_in_tf32(rng):
    return by_every_tile(rng, np.float32, "tf32")


def linears(rng, dtype, n, c, o):
    x, weight, g = (normal(rng, *shape, dtype=dtype) for shape in ((n, c), (o, c), (n, o)))
    y = F.linear(x, weight, normal(rng, o, dtype=dtype))
    return y, F.linear_input_grad(weight, g), F.linear_weight_grad(x, g), F.linear_bias_grad(g)


@stop
def linear_small(rng):
    return linears(rng, np.float32, 5, 17, 10)


@stop
def linear_wide(rng):
    return linears(rng, np.float32, 70, 150, 140)


@stop
def linear_float64(rng):
    return linears(rng, np.float64, 9, 33, 12)


def poolings(rng, dtype, rank):
    x = normal(rng, 2, 3, *(7, 9, 6)[:rank], dtype=dtype)
    y, indices = getattr(F, f"max_pool{rank}d")(x, 3, 2, 1, return_indices=True)
    g, means = normal(rng, *y.shape, dtype=dtype), getattr(F, f"avg_pool{rank}d")(x, 2, padding=1)
    return (
        y,
        getattr(F, f"max_pool{rank}d")(x, 2),
        getattr(F, f"max_pool{rank}d_input_grad")(g, indices, x.shape),
        means,
        getattr(F, f"avg_pool{rank}d_input_grad")(normal(rng, *means.shape, dtype=dtype), x.shape, 2, padding=1),
    )


@stop
def pooling_of_images(rng):
    return poolings(rng, np.float32, 2)


@stop
def pooling_of_signals(rng):
    return poolings(rng, np.float32, 1)


@stop
def pooling_of_volumes(rng):
    return poolings(rng, np.float32, 3)


@stop
def pooling_float64(rng):
    return poolings(rng, np.float64, 2)


@stop
def unpooling(rng):
    x = normal(rng, 2, 3, 4, 6)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(y, indices, 2)
    return back, F.max_unpool2d_input_grad(normal(rng, *back.shape), indices)


def there(array):
    """An array on the device, if that is what computes."""
    return fc.to_device(array) if fc.backend_name() == "cuda" else array


@stop
def pooling_whose_windows_are_known(rng):
    x = normal(rng, 2, 3, 7, 9)
    y, indices = F.max_pool2d(there(x), 3, 2, 1, return_indices=True)
    grad_x = F.max_pool2d_input_grad(there(normal(rng, *y.shape)), indices, x.shape)
    y, indices = F.max_pool2d(there(x[:, :, :6, :8]), 2, return_indices=True)
    return fc.to_host(grad_x), fc.to_host(F.max_unpool2d(y, indices, 2))


@stop_in_both
def activations(rng, dtype):
    x, g = 3 * normal(rng, 4, 33, dtype=dtype), normal(rng, 4, 33, dtype=dtype)
    found = []
    for name in ("tanh", "sigmoid", "softmax", "log_softmax"):
        y = getattr(F, name)(x)
        found += [y, getattr(F, f"{name}_input_grad")(g, y)]
    for name in ("relu", "leaky_relu", "elu", "gelu", "softplus"):
        found += [getattr(F, name)(x), getattr(F, f"{name}_input_grad")(g, x)]
    found += [F.gelu(x, "tanh"), F.gelu_input_grad(g, x, "tanh"), F.softmax(x, 0)]
    return *found, F.dropout(x, 0.4, rng=0)


@stop_in_both
def losses(rng, dtype):
    x, probable = normal(rng, 7, 5, dtype=dtype), rng.uniform(0.1, 0.9, (7, 5)).astype(dtype)
    labels, weight = rng.integers(0, 5, 7), rng.uniform(0.5, 2, 5).astype(dtype)
    found = []
    for reduction in ("mean", "sum", "none"):
        given = normal(rng, 7, dtype=dtype) if reduction == "none" else None
        options = {"weight": weight, "reduction": reduction, "label_smoothing": 0.1}
        found += [F.cross_entropy(x, labels, **options), F.cross_entropy_input_grad(given, x, labels, **options)]
        found += [F.cross_entropy(x, probable, reduction=reduction)]
        given = normal(rng, 7, 5, dtype=dtype) if reduction == "none" else None
        for name in ("mse_loss", "l1_loss", "binary_cross_entropy_with_logits"):
            found += [getattr(F, name)(x, probable, reduction=reduction)]
            found += [getattr(F, f"{name}_input_grad")(given, x, probable, reduction=reduction)]
        found += [F.binary_cross_entropy(probable, probable, reduction=reduction)]
        found += [F.binary_cross_entropy_input_grad(given, probable, probable[::-1], reduction=reduction)]
    return found


@stop_in_both
def normalization(rng, dtype):
    x, g = 2 * normal(rng, 5, 3, 4, 5, dtype=dtype) + 7, normal(rng, 5, 3, 4, 5, dtype=dtype)
    weight, bias = normal(rng, 3, dtype=dtype), normal(rng, 3, dtype=dtype)
    running = np.zeros(3, dtype), np.ones(3, dtype)
    y, statistics = F.batch_norm(x, *running, weight, bias, training=True, return_statistics=True)
    mean, var = statistics.mean, statistics.var
    return (
        y,
        *statistics,
        F.batch_norm(x, *running, weight, bias),
        F.batch_norm_input_grad(g, x, mean, var, weight),
        F.batch_norm_input_grad(g, x, mean, var, weight, training=False),
        F.batch_norm_weight_grad(g, x, mean, var),
        F.batch_norm_bias_grad(g),
    )


@stop
def interpolation(rng):
    x = normal(rng, 2, 2, 5, 6)
    y = F.interpolate(x, scale_factor=2, mode="bilinear")
    nearest = F.interpolate(x, (7, 9))
    return y, nearest, F.interpolate_input_grad(normal(rng, *y.shape), x.shape, scale_factor=2, mode="bilinear")


@stop_in_both
def optimizers(rng, dtype):
    found = []
    for make in (
        lambda p: fc.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: fc.optim.SGD(p, lr=0.1),
        lambda p: fc.optim.Adam(p, weight_decay=0.01),
        lambda p: fc.optim.AdamW(p),
    ):
        parameter = fc.nn.Parameter(normal(rng, 3, 50, dtype=dtype))
        optimizer = make([parameter])
        for _ in range(2):
            parameter.grad = normal(rng, 3, 50, dtype=dtype)
            optimizer.step()
        found.append(parameter.data)
    return found


@stop_in_both
def filters_of_images(rng, dtype):
    image, taps = normal(rng, 20, 23, dtype=dtype), normal(rng, 3, 5, dtype=dtype)
    whole = rng.integers(0, 255, (14, 15)).astype(np.uint8)
    return (
        ndimage.correlate(image, taps, mode="mirror"),
        ndimage.convolve(whole, rng.integers(-3, 4, (3, 3))),
        ndimage.gaussian_filter(image, 1.2),
        ndimage.sobel(image, 0),
        ndimage.uniform_filter(image, 3),
        ndimage.maximum_filter(image, 3),
        ndimage.minimum_filter(image, footprint=np.array([[0, 1, 0], [1, 1, 1]])),
        ndimage.correlate(normal(rng, 5, 6, 7, dtype=dtype), normal(rng, 2, 3, 2, dtype=dtype), mode="wrap"),
    )


@stop
def template(rng):
    image = normal(rng, 18, 21)
    found = [fc.match_template(image, image[3:8, 4:10], method) for method in fc.template.METHODS]
    return *found, fc.match_template(normal(rng, 12, 11, 3), normal(rng, 4, 5, 3))


@stop
def arrays(rng):
    a, b = there(normal(rng, 4, 5, 6)), there(normal(rng, 5, 1))
    joined = np.concatenate([a, a * b], axis=1)
    parts = np.split(joined, [3, 7], axis=1)
    found = [joined, *parts, a + b, a / 2, -a, np.maximum(a, b), a.sum(axis=(0, 2)), a.astype(np.float64)]
    return [fc.to_host(array) for array in found]
