"""What runs on the GPU's side alone: indices that know their windows, arrays that stay there, tiles of any shape."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastconv as fc
import fastconv.functional as F
from fastconv import geometry, ndimage
from fastconv.backends.reference import filtering as reference_filtering
from fastconv.backends.reference import pooling as reference_pooling
from fastconv.borders import MODES, around
from fastconv.template import METHODS, match_template

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda")]


def windows(rng):
    """The shape of x and a drawn geometry of windows, of any rank."""
    rank = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, rank)
    padding = [tuple(rng.integers(0, k, 2).tolist()) for k in kernel]
    size = kernel * 2 + rng.integers(0, 5, rank)
    options = rng.integers(1, 4, rank).tolist(), padding, rng.integers(1, 3, rank).tolist(), bool(rng.integers(2))
    shape = tuple(map(int, (*rng.integers(1, 3, 2), *size)))
    return shape, geometry.pooling(shape[2:], kernel.tolist(), *options)


@pytest.mark.parametrize("seed", range(12))
def test_winners_lead_their_gradients_the_same_way_as_any_indices(seed):
    from fastconv.backends.cuda import pooling

    rng = np.random.default_rng(seed)
    shape, windows_ = windows(rng)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    y, indices = pooling.max_pool(fc.to_device(x), windows_)
    expected = reference_pooling.max_pool(x, windows_)
    assert_array_equal(y.to_host(), expected[0])
    assert_array_equal(indices.to_host(), expected[1])
    least, greatest = indices.bounds
    assert least <= expected[1].min(initial=0)
    assert (least == -1) == (expected[1].min() == -1)
    assert greatest >= expected[1].max()
    grad = fc.to_device(rng.standard_normal(y.shape).astype(np.float32))
    plain = fc.to_device(indices.to_host())
    assert pooling._geometry(indices, shape[2:]) is windows_
    assert pooling._geometry(plain, shape[2:]) is None
    grads = [pooling.max_pool_input_grad(grad, places, shape[2:]).to_host() for places in (indices, plain)]
    assert_array_equal(*grads)
    assert_allclose(grads[0], reference_pooling.max_pool_input_grad(grad.to_host(), expected[1], shape[2:]), atol=1e-5)
    if least == 0:
        filled = [pooling.max_unpool(grad, places, shape[2:]).to_host() for places in (indices, plain)]
        assert_array_equal(filled[0], reference_pooling.max_unpool(grad.to_host(), expected[1], shape[2:]))
        assert_array_equal(*filled)


def test_indices_that_are_written_to_know_no_windows(rng):
    from fastconv.backends.cuda import pooling

    x = fc.to_device(rng.standard_normal((2, 3, 6, 6)))
    _, indices = pooling.max_pool(x, geometry.pooling((6, 6), 2, None, 0, 1, False))
    assert pooling._geometry(indices[1:], (6, 6)) is not None
    assert pooling._geometry(indices.reshape(6, 1, 3, 3), (6, 6)) is not None
    assert pooling._geometry(indices, (4, 9)) is None
    assert pooling._geometry(indices.reshape(18, 3)[3:12].reshape(9, 1, 3, 1), (6, 6)) is None
    assert pooling._geometry(indices.reshape(54)[3:30].reshape(3, 1, 3, 3), (6, 6)) is None
    indices[...] = 0
    assert pooling._geometry(indices, (6, 6)) is None
    grad = pooling.max_pool_input_grad(fc.to_device(np.ones((2, 3, 3, 3))), indices, (6, 6)).to_host()
    assert_array_equal(grad[..., 0, 0], np.full((2, 3), 9.0))
    assert grad.sum() == 54


@pytest.mark.parametrize("shape", [(2, 3, 20, 18), (1, 2, 400)])
def test_large_windows_are_averaged_by_blocks(shape, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    pool, kernel = (F.avg_pool1d, 300) if len(shape) == 3 else (F.avg_pool2d, (18, 17))
    for options in ({}, {"stride": 1, "padding": 3, "count_include_pad": False}):
        found = pool(x, kernel, **options)
        with fc.use_backend("reference"):
            assert_allclose(found, pool(x.astype(np.float64), kernel, **options), rtol=0, atol=1e-6)


def drawn_filter(rng, rank):
    """A shape, taps along each axis, and borders."""
    shape = tuple(rng.integers(1, (60, 20, 7, 4)[rank - 1], rank).tolist())
    taps = tuple(rng.integers(1, (50, 24, 5, 3)[rank - 1], rank).tolist())
    mode = str(rng.choice(MODES))
    origins = [int(rng.integers(-(k // 2), (k - 1) // 2 + 1)) for k in taps]
    return shape, taps, tuple(around(h, k, o, mode) for h, k, o in zip(shape, taps, origins, strict=True))


@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f8", "f8"), ("u1", "i2"), ("?", "u1"), ("f4", "?"), ("u8", "u8")])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_sums_of_more_taps_than_a_tile_takes(dtypes, rank):
    from fastconv.backends.cuda import filtering

    for seed in range(3):
        rng = np.random.default_rng([rank, seed])
        shape, taps, borders = drawn_filter(rng, rank)
        x = (np.abs(rng.standard_normal(shape)) * 40).astype(dtypes[0])
        weights = rng.standard_normal(taps) * (rng.random(taps) < 0.7)
        expected, y = np.empty(shape, dtypes[1]), np.empty(shape, dtypes[1])
        reference_filtering.correlate(x, weights, expected, borders, 1.5, True)
        filtering.correlate(x, weights, y, borders, 1.5, True)
        if y.dtype.kind == "f":  # rounding of sums of some hundred terms
            limit = 8 * np.finfo(y.dtype).eps * np.abs(weights).sum() * max(1.5, np.abs(x).max())
            assert_allclose(y, expected, rtol=0, atol=limit)
        else:
            assert_array_equal(y, expected)


def test_tiny_and_huge_taps_of_float32(rng):
    x = np.array([1.0, np.inf, 2.0, 3e38], np.float32)
    for weights in ([1e-60, 1.0], [1e60, 0.0], [1e300, 1.0]):
        with np.errstate(all="ignore"):
            found = ndimage.correlate1d(x, weights)
            with fc.use_backend("reference"):
                assert_array_equal(found, ndimage.correlate1d(x, weights))


FILTERS = [
    ("correlate", ([[0.5, 1.0], [-2.0, 0.25], [1.0, 1.5]],)),
    ("convolve", ([[0.5, 1.0], [-2.0, 0.25]],)),
    ("correlate1d", ([1.0, 2.0, -1.0],)),
    ("convolve1d", ([1.0, 2.0],)),
    ("gaussian_filter", (1.0,)),
    ("gaussian_filter1d", (0.7,)),
    ("gaussian_laplace", (0.7,)),
    ("gaussian_gradient_magnitude", (0.7,)),
    ("sobel", ()),
    ("prewitt", ()),
    ("laplace", ()),
    ("uniform_filter", (3,)),
    ("maximum_filter", (3,)),
    ("minimum_filter", (None, [[0, 1, 0], [1, 1, 1]])),
]


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4", "?"])
@pytest.mark.parametrize(("name", "arguments"), FILTERS)
def test_images_stay_on_the_gpu(name, arguments, dtype, rng):
    function = getattr(ndimage, name)
    x = (rng.random((9, 7)) * 30).astype(dtype)
    expected, there = function(x, *arguments), fc.to_device(x)
    found = function(there, *arguments)
    into = fc.to_device(np.zeros(x.shape, dtype))
    assert function(there, *arguments, output=into) is into
    same = function(there, *arguments, output=there)
    assert same is there
    for y in (found, into, same):
        assert y.dtype == x.dtype
        assert_allclose(fc.to_host(y), expected, rtol=1e-6, atol=1e-5 if dtype == "f4" else 1e-12)
    with pytest.raises(TypeError, match="lives on a GPU"):
        function(fc.to_device(x), *arguments, output=np.zeros(x.shape, dtype))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(14, 17), (12, 11, 3)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_scores_stay_on_the_gpu(method, shape, dtype, rng):
    image = (100 + rng.random(shape) * 100).astype(dtype)
    template = image[2:6, 3:8].copy()
    expected, found = match_template(image, template, method), match_template(fc.to_device(image), template, method)
    assert not isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    limit = (1e-5 if dtype != "f8" else 1e-11) * np.abs(expected).max()
    assert_allclose(fc.to_host(found), expected, rtol=0, atol=limit)
    mask = rng.random(template.shape) < 0.7
    masked = match_template(fc.to_device(image), fc.to_device(template), method, mask)
    assert_allclose(fc.to_host(masked), match_template(image, template, method, mask), rtol=0, atol=limit)


def test_a_template_is_found_on_the_gpu(rng):
    image = rng.random((20, 18), np.float32)
    places, scores = fc.find_template(fc.to_device(image), fc.to_device(image[5:10, 3:9].copy()))
    assert_array_equal(places, [[5, 3]])
    assert scores[0] == pytest.approx(1, abs=1e-5)
