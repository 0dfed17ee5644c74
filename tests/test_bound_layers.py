"""Steps of pooling, batch normalisation, sums and concatenation: what the functions give, to the bit, task by task.

As a script it checks drawn pooling beside pages that can't be touched: python test_bound_layers.py <seed> <draws>
"""

import sys

import numpy as np
import pytest
from guarded import Guard, tell
from numpy.testing import assert_allclose, assert_array_equal
from steps import run_ranges
from vector_widths import each_width, needs_guards, run_script

import fastconv.functional as F
from fastconv import geometry
from fastconv.backends.cpu import branches, normalization, pooling

DTYPES = (np.float32, np.float64)
ORDERS = ("all", "one by one", "by images")
DRAWS = 60


def run(steps, order="all"):
    """Run steps: all tasks at once, one by one from the last, or image by image."""
    for step in steps:
        ranges = {
            "all": [(0, step.tasks)],
            "one by one": [(task, task + 1) for task in reversed(range(step.tasks))],
            "by images": [(0, step.tasks)],
        }[order]
        if order == "by images" and step.images:
            each, rest = divmod(step.tasks, step.images)
            assert rest == 0
            ranges = [(n * each, (n + 1) * each) for n in reversed(range(step.images))]
        run_ranges(step, ranges)


def same_bits(found, expected):
    """Equal, the signs of zeros too; any NaN for a NaN."""
    assert found.dtype == expected.dtype
    assert_array_equal(found, expected)
    zero = expected == 0
    assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


def full(shape, dtype):
    """An array of what no result is: what is not written shows."""
    return np.full(shape, 77, dtype)


def drawn_pooling(rng, tiles):
    """Options and spatial size of a pooling of any rank; with `tiles` windows adjoin."""
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    kernel = tuple(int(k) for k in rng.choice([1, 2, 2, 3, 3, 4, 5] if rank < 3 else [1, 2, 3], rank))
    stride = kernel if tiles else tuple(int(s) for s in rng.integers(1, 4, rank))
    dilation = (1,) * rank if tiles else tuple(int(d) for d in rng.choice([1, 1, 2], rank))
    size = tuple(k * d + int(e) for k, d, e in zip(kernel, dilation, rng.choice([0, 1, 5, 12, 39], rank), strict=True))
    size = size if rank < 3 else tuple(min(s, 9) for s in size)
    padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) for k in kernel)
    return kernel, stride, padding if rng.random() < 0.6 else 0, dilation, bool(rng.random() < 0.5), size


def drawn_numbers(rng, shape, dtype):
    """Small integers, so that there are ties, some of them zeros of both signs, NaN or infinite."""
    x = rng.integers(-3, 4, shape).astype(dtype) * rng.choice([-1.0, 1.0], shape).astype(dtype)
    special = rng.random(shape)
    x[special < 0.03] = np.nan
    x[special > 0.97] = np.inf
    x[(special > 0.5) & (special < 0.55)] = -np.inf
    return x


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pooling_by_numbers_and_by_indices(rng, dtype):
    for draw in range(DRAWS):
        tiles = bool(draw % 2)
        kernel, stride, padding, dilation, ceil, size = drawn_pooling(rng, tiles)
        shape = geometry.pooling(size, kernel, stride, padding, dilation, ceil)
        n, c = (int(k) for k in rng.integers(1, 5, 2))
        x = drawn_numbers(rng, (n, c, *size), dtype)
        function = getattr(F, f"max_pool{len(size)}d")
        y, indices = function(x, kernel, stride, padding, dilation, ceil, return_indices=True)
        grad = rng.standard_normal(y.shape).astype(dtype)
        grad[rng.random(y.shape) < 0.1] = -0.0
        expected = getattr(F, f"max_pool{len(size)}d_input_grad")(grad, indices, x.shape)
        assert pooling.tiles(shape) == (tiles or (stride == kernel and max(dilation) == 1))
        for kept in (None, np.int64, np.uint8) if pooling.tiles(shape) else (None, np.int64):
            order = ORDERS[int(rng.integers(3))]
            found, codes, grad_x = (
                full(y.shape, dtype),
                None if kept is None else full(y.shape, kept),
                full(x.shape, dtype),
            )
            run(pooling.max_pool_steps(x, found, codes, shape, n), order)
            same_bits(found, y)
            if kept is not None:
                if kept is np.int64:
                    assert_array_equal(codes, indices)
                run(pooling.max_pool_grad_steps(grad, codes, grad_x, shape, n), order)
                same_bits(grad_x, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_average_pooling_and_its_gradient_are_the_functions(rng, dtype):
    for draw in range(DRAWS):
        kernel, stride, padding, _, ceil, size = drawn_pooling(rng, bool(draw % 3 == 0))
        if draw % 5 == 0:  # a window that has everything
            kernel, stride, padding, ceil = size, size, 0, False
        include = bool(rng.random() < 0.5)
        shape = geometry.pooling(size, kernel, stride, padding, 1, ceil)
        counts = geometry.window_counts(shape, include, None)
        n, c, rank = *(int(k) for k in rng.integers(1, 11, 2)), len(size)
        x = rng.standard_normal((n, c, *size)).astype(dtype)
        options = kernel, stride, padding, ceil, include
        y = getattr(F, f"avg_pool{rank}d")(x, *options)
        grad = rng.standard_normal(y.shape).astype(dtype)
        grad_x = getattr(F, f"avg_pool{rank}d_input_grad")(grad, x.shape, *options)
        found, found_grad, order = full(y.shape, dtype), full(x.shape, dtype), ORDERS[int(rng.integers(3))]
        run(pooling.avg_pool_steps(x, found, shape, counts, n), order)
        run(pooling.avg_pool_grad_steps(grad, found_grad, shape, counts, n), order)
        same_bits(found, y)
        same_bits(found_grad, grad_x)
        # Sums of at most 9 numbers of about 1 in float32, else in float64, and a division.
        exact = getattr(F, f"avg_pool{rank}d")(x.astype(np.float64), *options)
        assert_allclose(y, exact, rtol=0, atol=10 * np.finfo(dtype).eps)
        exact = getattr(F, f"avg_pool{rank}d_input_grad")(grad.astype(np.float64), x.shape, *options)
        assert_allclose(grad_x, exact, rtol=4 * np.finfo(dtype).eps, atol=4e-16 if dtype is np.float64 else 1e-12)


def normal_case(rng, shape, dtype):
    x, grad = (rng.standard_normal((2, *shape)) * 2 + 1).astype(dtype)
    weight, bias, mean, var = (rng.random((4, shape[1])) + 0.5).astype(dtype)
    return x, grad, weight, bias, mean, var


SHAPES = [(5, 20, 49), (3, 2, 70), (4, 17, 1), (40, 3, 130), (2, 16, 256), (1, 5, 9)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [False, True])
def test_batch_normalisation_and_its_gradients_are_the_functions(rng, shape, dtype, affine):
    x, grad, weight, bias, running_mean, running_var = normal_case(rng, shape, dtype)
    weight, bias = (weight, bias) if affine else (None, None)
    images = shape[0]
    y, used = F.batch_norm(x, running_mean, running_var, weight, bias, True, 0.3, 1e-3, return_statistics=True)
    expected = [F.batch_norm_input_grad(grad, x, used.mean, used.var, weight, True, 1e-3)]
    expected += [F.batch_norm_weight_grad(grad, x, used.mean, used.var, 1e-3), F.batch_norm_bias_grad(grad)]
    for order, apart in (("all", 0), ("one by one", 0), ("by images", images), ("one by one", images)):
        found, numbers = full(shape, dtype), np.empty(normalization.NUMBERS)
        mean, var = full(shape[1], dtype), full(shape[1], dtype)
        moved = running_mean.copy(), running_var.copy()
        arguments = (x, found, mean, var, weight, bias, *moved, numbers, 1e-3, 0.9)
        steps = normalization.batch_norm_steps(*arguments, images=apart)
        numbers[normalization.MOMENTUM] = 0.3  # of this run
        run(steps, order)
        for one, two in zip((found, mean, var, *moved), (y, *used), strict=True):
            same_bits(one, two)
        grads = [grad.copy(), full(shape[1], dtype), full(shape[1], dtype)]
        given = (grads[0], x, mean, var, weight, bias, *grads, 1e-3)
        run(normalization.batch_norm_grad_steps(*given, images=apart), order)
        for one, two in zip(grads, expected, strict=True):
            same_bits(one, two)
    found, expected_y = full(shape, dtype), F.batch_norm(x, running_mean, running_var, weight, bias, eps=1e-3)
    given = (x, found, running_mean, running_var, weight, bias, 1e-3)
    run(normalization.evaluated_steps(*given, images=images), "by images")
    same_bits(found, expected_y)
    run(normalization.evaluated_steps(*given, relu=True), "one by one")
    same_bits(found, F.relu(expected_y))
    together = normalization.batch_norm_grads(grad, x, used.mean, used.var, weight, 1e-3)
    for one, two in zip(together, expected, strict=True):
        same_bits(one, two)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_batch_normalisation_with_a_rectifier_is_both_functions(rng, shape, dtype):
    x, grad, weight, bias, _, _ = normal_case(rng, shape, dtype)
    bias -= dtype(1)
    x[0, 0, 0] = np.nan if shape[1] == 20 else 1
    y, used = F.batch_norm(x, None, None, weight, bias, True, return_statistics=True)
    masked = F.relu_input_grad(grad, y)
    found, mean, var = full(shape, dtype), full(shape[1], dtype), full(shape[1], dtype)
    given = (x, found, mean, var, weight, bias, None, None, np.empty(normalization.NUMBERS), 1e-5, 0.1, True)
    run(normalization.batch_norm_steps(*given), "one by one")
    same_bits(found, F.relu(y))
    grads = [full(shape, dtype), full(shape[1], dtype), full(shape[1], dtype)]
    run(normalization.batch_norm_grad_steps(grad, x, mean, var, weight, bias, *grads, 1e-5, True))
    same_bits(grads[0], F.batch_norm_input_grad(masked, x, used.mean, used.var, weight, True))
    same_bits(grads[1], F.batch_norm_weight_grad(masked, x, used.mean, used.var))
    same_bits(grads[2], F.batch_norm_bias_grad(masked))


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 1e4), (np.float64, 1e9)])
def test_a_variance_far_from_zero_is_as_exact_as_two_passes(rng, dtype, offset):
    x = (rng.standard_normal((30, 4, 500)) + offset).astype(dtype)
    _, used = F.batch_norm(x, None, None, training=True, return_statistics=True)
    wide = x.astype(np.longdouble)
    assert_allclose(used.mean, wide.mean(axis=(0, 2)).astype(float), rtol=2 * np.finfo(dtype).eps)
    # In float64 the mean has an error of 1e-16 of the offset, which squared is below the variance's last bit.
    assert_allclose(used.var, wide.var(axis=(0, 2)).astype(float), rtol=8 * np.finfo(dtype).eps)


def test_an_infinite_number_spoils_its_channel_alone():
    x = np.ones((3, 20, 5))
    x[1, 3, 2] = np.inf
    x[:, :, 0] = 2
    y, used = F.batch_norm(x, None, None, training=True, return_statistics=True)
    assert used.mean[3] == np.inf
    assert np.isnan(y[:, 3]).any()
    assert np.isfinite(np.delete(y, 3, axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 7, 7), (2, 9), (4, 1, 3000)])
def test_sums_and_channels_are_numpys(rng, shape, dtype):
    a, b = rng.standard_normal((2, *shape)).astype(dtype)
    for images in (0, shape[0]):
        y = a.copy()
        run([branches.add(y, b, y, images)], "by images")
        same_bits(y, a + b)
        y = full(shape, dtype)
        run([branches.add(a, b, y, images, relu=True)], "one by one")
        same_bits(y, F.relu(a + b))
        wide = rng.standard_normal((shape[0], shape[1] + 4, *shape[2:])).astype(dtype)
        expected, target = wide.copy(), wide.copy()
        expected[:, 3 : 3 + shape[1]] = a
        run([branches.copy_channels(a, target, 3, images)], "by images")
        same_bits(target, expected)
        back = b.copy()
        run([branches.copy_channels(wide, back, 4, images)], "one by one")
        same_bits(back, wide[:, 4:])
        back = b.copy()
        run([branches.copy_channels(wide, back, 2, images, accumulate=True)], "one by one")
        same_bits(back, b + wide[:, 2 : 2 + shape[1]])
    with pytest.raises(ValueError, match=f"place is 1, both arrays have {shape[1]} channels"):
        branches.copy_channels(a, b, 1)


@needs_guards
@each_width
def test_vectors_of_any_width_touch_no_page_beside_an_array(bits):
    run_script(bits, __file__, bits, 40)


def check_guarded(rng, side):
    """A drawn pooling, normalisation and sum beside guards, against the functions."""
    guard, dtype, tiles = Guard(side), DTYPES[int(rng.integers(2))], bool(rng.random() < 0.6)
    kernel, stride, padding, dilation, ceil, size = drawn_pooling(rng, tiles)
    n, c, rank = *(int(k) for k in rng.integers(1, 4, 2)), len(size)
    # The last line tells which case ended the process.
    tell(f"{dtype.__name__} {(n, c, *size)} {kernel} {stride} {padding} {dilation} {ceil} {side}")
    x = rng.standard_normal((n, c, *size)).astype(dtype)
    shape = geometry.pooling(size, kernel, stride, padding, dilation, ceil)
    y, indices = getattr(F, f"max_pool{rank}d")(x, kernel, stride, padding, dilation, ceil, return_indices=True)
    found, kept, grad_x = (
        guard.empty(y.shape, dtype),
        np.uint8 if pooling.tiles(shape) else np.int64,
        guard.empty(x.shape, dtype),
    )
    codes = guard.empty(y.shape, kept)
    run(pooling.max_pool_steps(guard.fixed(x), found, codes, shape, n))
    run(pooling.max_pool_grad_steps(guard.fixed(y), guard.fixed(codes), grad_x, shape, n))
    same_bits(found, y)
    same_bits(grad_x, getattr(F, f"max_pool{rank}d_input_grad")(y, indices, x.shape))
    if max(dilation) == 1:
        counts, found, grad_x = (
            geometry.window_counts(shape, True, None),
            guard.empty(y.shape, dtype),
            guard.empty(x.shape, dtype),
        )
        run(pooling.avg_pool_steps(guard.fixed(x), found, shape, counts, n))
        run(pooling.avg_pool_grad_steps(guard.fixed(y), grad_x, shape, counts, n))
        options = kernel, stride, padding, ceil
        same_bits(found, getattr(F, f"avg_pool{rank}d")(x, *options))
        same_bits(grad_x, getattr(F, f"avg_pool{rank}d_input_grad")(y, x.shape, *options))
    flat = x.reshape(n, c, -1)
    if flat.shape[0] * flat.shape[2] > 1:
        result, mean, var = guard.empty(flat.shape, dtype), guard.empty((c,), dtype), guard.empty((c,), dtype)
        numbers = guard.empty((normalization.NUMBERS,))
        run(
            normalization.batch_norm_steps(
                guard.fixed(flat), result, mean, var, None, None, None, None, numbers, 0.1, 0.1
            )
        )
        same_bits(result, F.batch_norm(flat, None, None, training=True, eps=0.1))
        grads = guard.empty(flat.shape, dtype), guard.empty((c,), dtype), guard.empty((c,), dtype)
        given = (guard.fixed(result), guard.fixed(flat), mean, var, None, None, *grads, 0.1)
        run(normalization.batch_norm_grad_steps(*given))
        same_bits(grads[0], F.batch_norm_input_grad(result, flat, mean, var, training=True, eps=0.1))
    total = guard.empty(x.shape, dtype)
    run([branches.add(guard.fixed(x), guard.fixed(x), total, n)])
    same_bits(total, x + x)


if __name__ == "__main__":
    seeded = np.random.default_rng(int(sys.argv[1]))
    for number in range(int(sys.argv[2])):
        check_guarded(seeded, ("before", "after")[number % 2])
    tell("all right")
