"""Convolutions and linear layers on a GPU: every tile, part and table of their products, and what chooses them.

They run on a GPU, or in its simulator, whose tiles are small.
"""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastconv as fc
import fastconv.functional as F
from fastconv import geometry

pytestmark = pytest.mark.gpu

TOLERANCE = {"f4": 1e-5, "f8": 1e-12}  # of the largest number: sums of a few hundred standard normals
# x, weight, options
CASES = [
    ((2, 3, 11), (4, 3, 3), {}),
    ((1, 4, 13), (6, 2, 4), {"stride": 3, "padding": ((2, 1),), "dilation": 2, "groups": 2}),
    ((2, 3, 6, 7), (5, 3, 3, 3), {"padding": 1}),
    ((3, 2, 7, 6), (4, 2, 3, 2), {"stride": (2, 3), "padding": ((1, 0), (0, 2))}),
    ((1, 2, 9, 8), (8, 2, 2, 3), {"dilation": (3, 2), "padding": "same"}),
    ((1, 2, 9, 8), (4, 2, 1, 1), {"stride": (2, 3)}),
    ((2, 1, 5, 5), (1, 1, 2, 2), {"stride": 4, "padding": 3}),
    ((1, 3, 4, 5, 4), (5, 3, 2, 3, 2), {"padding": ((1, 0), (1, 1), (0, 1)), "stride": (1, 2, 1)}),
    ((2, 4, 6, 5), (4, 1, 3, 3), {"padding": 1, "groups": 4}),
    ((2, 3, 6, 5), (6, 1, 3, 2), {"stride": 2, "padding": 1, "groups": 3}),
    ((1, 9, 5, 4), (10, 9, 1, 1), {}),
    ((0, 3, 5, 5), (4, 3, 3, 3), {"padding": 1}),
]


@pytest.fixture(autouse=True)
def float32(cuda):
    """Runs a test on the cuda backend, and leaves it in float32."""
    yield
    fc.set_precision("float32")


def module(name):
    return importlib.import_module(f"fastconv.backends.cuda.{name}")


def arrays(rng, *shapes, dtype="f8"):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def passes(rng, x_shape, weight_shape, options, dtype="f8"):
    """Calls of all passes of a convolution, by name."""
    rank, given = len(x_shape) - 2, {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
    shape = geometry.convolution(x_shape, weight_shape, *given.values())
    x, weight, bias, grad = arrays(rng, x_shape, weight_shape, weight_shape[:1], shape.output_shape, dtype=dtype)

    def call(name, *args, **more):
        return lambda: getattr(F, name.format(rank))(*args, **more)

    return {
        "forward": call("conv{}d", x, weight, bias, **options),
        "input_grad": call("conv{}d_input_grad", x_shape, weight, grad, **options),
        "weight_grad": call("conv{}d_weight_grad", x, weight_shape, grad, **options),
        "bias_grad": call("conv{}d_bias_grad", grad),
    }


def reference(function):
    with fc.use_backend("reference"):
        return function()


def assert_close(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_pass_is_the_reference_s(case, dtype, rng):
    for name, function in passes(rng, *case, dtype).items():
        found = function()
        assert found.dtype == dtype, name
        assert_close(found, reference(function), TOLERANCE[dtype])


def by_plan(product, a, b, bias, c_shape, chosen, dtype="f8", precision="float32", largest=0, bias_on="rows"):
    """C by a plan with a chosen tile, and parts of the depth."""
    array = module("array")
    made = module("plans").plan(product, np.dtype(dtype), precision, largest, chosen)
    c = array.from_host(np.full(c_shape, np.nan, dtype))
    made(*[None if host is None else array.from_host(host) for host in (a, b, bias)], c, bias_on)
    return c.to_host(), made


def chosen_tiles(dtype="f8"):
    tiles = module("tiles")
    return tiles.tiles(np.dtype(dtype), "float32")


def test_every_tile_with_and_without_parts_of_the_depth(rng):
    x_shape, weight_shape = (2, 3, 6, 5), (5, 3, 3, 2)
    shape = geometry.convolution(x_shape, weight_shape, 1, 0, 1, 1)
    x, weight, bias, grad = arrays(rng, x_shape, weight_shape, (5,), shape.output_shape)
    lowering = module("lowering")
    expected = reference(lambda: F.conv2d(x, weight, bias))
    gradient = reference(lambda: F.conv2d_weight_grad(x, weight_shape, grad))
    for tile in chosen_tiles():
        for parts in (1, 2, 3):
            found, made = by_plan(lowering.forward(shape), weight, x, bias, shape.output_shape, (tile, parts))
            assert made.parts == min(parts, -(-18 // tile.depth))
            assert_close(found, expected)
            found, made = by_plan(lowering.weight_grad(shape), grad, x, None, weight_shape, (tile, parts))
            assert made.form == "tiles"
            assert_close(found, gradient)


@pytest.mark.parametrize("along", [(False, False), (False, True), (True, False), (True, True)])
def test_threads_may_read_along_lines_or_along_the_depth(along, rng):
    (a, b), tile = arrays(rng, (5, 7), (9, 7)), chosen_tiles()[0]
    product = module("lowering").matrices(5, 9, 7, (7, 1), (7, 1))
    made = module("plans").plan(product, np.dtype("f8"), "float32", 0, (tile, 1))
    made = replace(made, along=along)
    array = module("array")
    c = array.empty((5, 9), np.float64)
    made(array.from_host(a), array.from_host(b), None, c)
    assert_close(c.to_host(), a @ b.T)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("largest", [0, 1 << 31])
def test_batches_of_columns_segments_of_the_depth_and_wide_offsets(parts, largest, rng, monkeypatch):
    """Tables that hold two of five images: three batches of columns, of which the last is half full."""
    x_shape, weight_shape = (5, 4, 4, 4), (10, 2, 2, 2)
    shape = geometry.convolution(x_shape, weight_shape, 1, 0, 1, 2)
    x, weight, bias, grad = arrays(rng, x_shape, weight_shape, (10,), shape.output_shape)
    monkeypatch.setattr(module("offsets"), "LONGEST", 19)
    lowering, tile = module("lowering"), chosen_tiles()[0]
    product = lowering.forward(shape)
    assert product.batches[:, -1].tolist() == [18, 18, 18, 18, 9, 9]
    found, made = by_plan(product, weight, x, bias, shape.output_shape, (tile, parts), largest=largest)
    assert made.wide == (largest > 0)
    assert made.table.dtype == (np.int64 if largest else np.int32)
    assert_close(found, reference(lambda: F.conv2d(x, weight, bias, groups=2)))
    product = lowering.weight_grad(shape)
    assert (len(product.depth[0]), product.total) == (18, 45)
    expected = reference(lambda: F.conv2d_weight_grad(x, weight_shape, grad, groups=2))
    found, _ = by_plan(product, grad, x, None, weight_shape, (tile, parts), largest=largest)
    assert_close(found, expected)
    (product,) = lowering.input_grad(shape)
    framed = np.pad(grad, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert lowering.output_frame(shape) == lowering.Frame((1, 1), (5, 5))
    found, _ = by_plan(product, weight, framed, None, x_shape, (tile, parts), largest=largest)
    assert_close(found, reference(lambda: F.conv2d_input_grad(x_shape, weight, grad, groups=2)))


def test_groups_with_few_channels_have_kernels_of_their_own(rng, monkeypatch):
    shape = geometry.convolution((3, 4, 6, 5), (4, 1, 3, 3), 1, 1, 1, 4)
    plans, dtype = module("convolution").planned, np.dtype("f8")
    assert [plan.form for plan in plans(shape, "forward", dtype, "float32")] == ["entries"]
    assert [plan.form for plan in plans(shape, "input_grad", dtype, "float32")] == ["entries"]
    assert [plan.form for plan in plans(shape, "weight_grad", dtype, "float32")] == ["dots"]
    # Segments, and parts whose sums a second kernel adds up.
    monkeypatch.setattr(module("offsets"), "LONGEST", 61)
    machine = replace(module("tiles").machine(), multiprocessors=30)
    monkeypatch.setattr(module("tiles"), "machine", lambda: machine)
    x, grad = arrays(rng, shape.input_shape, shape.output_shape)
    product = module("lowering").weight_grad(shape)
    assert (len(product.depth[0]), product.total) == (60, 90)
    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    found, made = by_plan(product, grad, framed, None, shape.weight_shape, None)
    assert made.form == "dots"
    expected = reference(lambda: F.conv2d_weight_grad(x, shape.weight_shape, grad, padding=1, groups=4))
    assert_close(found, expected)


@pytest.mark.parametrize("size", [(1, 5, 9), (2, 40, 3), (6, 7, 5), (9, 1, 9), (17, 6, 10), (3, 0, 2), (0, 4, 3)])
def test_linear_layers(size, rng):
    n, c, o = size
    x, weight, bias, grad = arrays(rng, (n, c), (o, c), (o,), (n, o))
    for function in (
        lambda: F.linear(x, weight, bias),
        lambda: F.linear(x, weight),
        lambda: F.linear_input_grad(weight, grad),
        lambda: F.linear_weight_grad(x, grad),
        lambda: F.linear_bias_grad(grad),
    ):
        assert_close(function(), reference(function))


def test_bias_of_columns_after_parts_of_the_depth(rng):
    x, weight, bias = arrays(rng, (5, 20), (6, 20), (6,))
    product = module("lowering").matrices(5, 6, 20, (20, 1), (20, 1))
    for parts in (1, 2):
        found, _ = by_plan(product, x, weight, bias, (5, 6), (chosen_tiles()[-1], parts), bias_on="columns")
        assert_close(found, x @ weight.T + bias)


@pytest.mark.parametrize("shape", [(3, 2, 40), (70, 3), (1, 5, 2, 2), (4, 0, 3), (0, 4, 3)])
def test_sums_over_channels(shape, rng, monkeypatch):
    monkeypatch.setattr(module("sums"), "SHORTEST", 16)
    (x,) = arrays(rng, shape)
    found = module("sums").channel_sums(module("array").from_host(x)).to_host()
    assert_close(found, x.sum(axis=(0, *range(2, x.ndim))))


def test_the_same_bits_twice(rng):
    for name, function in passes(rng, (2, 3, 5, 4), (5, 3, 3, 2), {"padding": 1}, "f4").items():
        assert_array_equal(function(), function(), name)


@pytest.mark.parametrize("where", ["x", "weight", "grad"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_what_they_reach_in_the_reference(where, value, rng):
    given = {"x": (1, 2, 5, 6), "weight": (3, 2, 3, 2), "grad": (1, 3, 3, 3)}
    given = {name: rng.standard_normal(shape) for name, shape in given.items()}
    given[where].flat[5] = value
    x, weight, grad = given.values()
    options = {"stride": 2, "padding": ((1, 1), (0, 1))}
    for function in (
        lambda: F.conv2d(x, weight, **options),
        lambda: F.conv2d_input_grad(x.shape, weight, grad, **options),
        lambda: F.conv2d_weight_grad(x, weight.shape, grad, **options),
        lambda: F.conv_transpose2d(grad, weight, np.ones(2), **options),
    ):
        assert_allclose(function(), reference(function), rtol=1e-12, atol=1e-12, equal_nan=True)


def test_tf32_is_right_to_a_thousandth(rng):
    calls = passes(rng, (1, 4, 5, 4), (5, 4, 3, 3), {"padding": 1}, "f4")
    x, weight = arrays(rng, (9, 20), (7, 20), dtype="f4")
    calls["linear"] = lambda: F.linear(x, weight)
    exact = {name: function() for name, function in calls.items()}
    fc.set_precision("tf32")
    for name, function in calls.items():
        found, expected = function(), reference(function)
        assert_close(found, expected, 1e-3)
        if name == "bias_grad":
            assert_array_equal(found, exact[name])
        elif module("tiles").machine().tensor_cores:
            assert np.abs(found - exact[name]).max() > 1e-6, name
    wide = passes(rng, (1, 4, 4, 4), (5, 4, 3, 3), {}, "f8")["forward"]
    assert_close(wide(), reference(wide))


def test_numbers_are_rounded_to_ten_bits():
    nearest = module("tensor_cores").nearest
    step = np.float32(2.0**-10)
    for number, expected in [
        (1.0, 1.0),
        (1 + step / 4, 1.0),
        (1 + step / 2, 1 + step),
        (-1 - step / 2, -1 - step),
        (np.inf, np.inf),
        (-0.0, -0.0),
    ]:
        assert nearest(np.float32(number)) == np.float32(expected)
    assert np.isnan(nearest(np.float32(np.nan)))
    assert nearest(np.finfo(np.float32).max) == np.inf


def test_the_precision_is_what_was_set():
    assert fc.get_precision() == "float32"
    fc.set_precision("tf32")
    assert fc.get_precision() == "tf32"
    for name in ("float16", None, 32):
        with pytest.raises(ValueError, match=f"precision is {name!r}: one of 'float32', 'tf32' is accepted"):
            fc.set_precision(name)


def test_an_algorithm_that_is_not_here_is_told():
    x, weight = np.ones((1, 1, 5, 5), np.float32), np.ones((1, 1, 3, 3), np.float32)
    expected = F.conv2d(x, weight, algorithm="direct")
    for name in ("winograd", "fft"):
        with pytest.raises(ValueError, match=f"algorithm is '{name}': the cuda backend computes 'direct'"):
            F.conv2d(x, weight, algorithm=name)
    try:
        fc.set_algorithm("fft")  # a preference that can't be served is none
        assert_array_equal(F.conv2d(x, weight), expected)
    finally:
        fc.set_algorithm("auto")


def test_results_go_to_out(rng):
    x, weight, grad = arrays(rng, (2, 3, 5, 6), (4, 3, 3, 2), (2, 4, 3, 5))
    for function in (
        lambda **more: F.conv2d(x, weight, **more),
        lambda **more: F.conv2d_input_grad(x.shape, weight, grad, **more),
        lambda **more: F.conv2d_weight_grad(x, weight.shape, grad, **more),
    ):
        expected = function()
        out = np.full(expected.shape, np.nan)
        assert function(out=out) is out
        assert_array_equal(out, expected)


@pytest.fixture
def h100(monkeypatch):
    """The choice of tiles as on an H100."""
    tiles = module("tiles")
    monkeypatch.setattr(tiles.device, "SIMULATED", False)
    monkeypatch.setattr(tiles, "machine", lambda: tiles.Machine(132, 1.98e9, (9, 0)))
    return tiles


@pytest.mark.parametrize(
    ("rows", "columns", "depth", "extents", "split"),
    [
        (512, 50_000, 4608, (128, 128), False),  # a large layer: the tile that reads least
        (6, 36_864, 25, (8, 128), False),  # LeNet's first layer
        (16, 4096, 150, (16, 128), None),  # and its second
        (512, 49, 4608, None, True),  # few pixels of many channels: parts of the depth fill the machine
        (64, 147, 401_408, None, True),  # a weight's gradient
        (128, 10, 84, None, False),  # a last layer
    ],
)
def test_the_choice_of_tiles(h100, rows, columns, depth, extents, split):
    tile, parts = h100.choose(rows, columns, 1, depth, np.dtype("f4"), "float32")
    assert extents in (None, (tile.rows, tile.columns))
    assert split in (None, parts > 1)
    assert depth / parts <= h100.LONGEST_SUM
    assert tile in h100.SINGLE
    assert h100.choose(rows, columns, 1, depth, np.dtype("f4"), "tf32")[0] in h100.TENSOR
    assert h100.choose(rows, columns, 1, depth, np.dtype("f8"), "float32")[0] in h100.DOUBLE


def test_what_a_multiprocessor_does_in_a_cycle():
    machine = module("tiles").Machine
    for capability, single, rough, double in [((9, 0), 128, 1024, 64), ((8, 0), 128, 512, 64), ((7, 5), 128, 128, 2)]:
        gpu = machine(1, 1e9, capability)
        found = [gpu.lanes(np.dtype(t), p) for t, p in (("f4", "float32"), ("f4", "tf32"), ("f8", "float32"))]
        assert found == [single, rough, double]
        assert gpu.tensor_cores == (capability >= (8, 0))


def test_every_tile_suits_its_threads():
    tiles = module("tiles")
    for tile in (*tiles.SINGLE, *tiles.DOUBLE, *tiles.TENSOR, *tiles.SMALL):
        assert tile.rows * tile.depth % tile.threads == tile.columns * tile.depth % tile.threads == 0
        assert tile.threads % tile.depth == 0
        assert tile.threads <= 1024
        assert tile.depth <= module("offsets").SPARE
        for lines in (tile.rows, tile.columns):
            assert lines % tile.threads == 0 or tile.threads % lines == 0
    for tile in tiles.TENSOR:
        assert tile.threads // 32 * (8 * tile.high) * (4 * tile.wide) == tile.rows * tile.columns


def test_explanations():
    found = fc.explain("conv2d_input_grad", (2, 4, 9, 10), (6, 4, 3, 3), stride=2, padding=1)
    assert found.algorithm == "direct"
    assert "4 launches" in found.blocks
    assert found.workspace == 4 * 2 * 6 * 5 * (5 + 1)
    assert "entries" in found.tile
    assert found.expected > 0
    assert "tf32" not in found.tile.lower()
    fc.set_precision("tf32")
    assert "TF32" in fc.explain("conv2d", (2, 4, 9, 10), (6, 4, 3, 3)).tile
    assert "each block" in fc.explain("conv2d_weight_grad", (2, 4, 9, 9), (4, 1, 3, 3), groups=4).tile
    with pytest.raises(ValueError, match="algorithm is 'fft'"):
        fc.explain("conv2d", (2, 4, 9, 10), (6, 4, 3, 3), algorithm="fft")


PTX = """
$L__BB0_1:
\tmov.u64 %rd1, 0;
$L__BB0_2:
\tfma.rn.f32 %f1, %f2, %f3, %f1;
\tfma.rn.f32 %f4, %f2, %f3, %f4;
\t@%p1 bra $L__BB0_2;
\tfma.rn.f32 %f1, %f2, %f3, %f1;
$L__BB0_3:
\tfma.rn.f32 %f1, %f2, %f3, %f1;
\t@!%p2 bra $L__BB0_3;
\t@%p3 bra $L__BB0_4;
$L__BB0_4:
\tret;
"""


def test_the_loop_with_most_multiply_adds_is_found():
    explain = module("explain")
    assert explain.innermost(PTX).splitlines()[0] == "$L__BB0_2:"
    assert len(explain.innermost(PTX).splitlines()) == 4
    assert explain.innermost("ret;") == ""
