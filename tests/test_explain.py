import dataclasses
import re

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import backends, explanation
from fastconv.backends.cpu import explain, plans, roof, workspace
from fastconv.cli import main

LAYER = (1, 4, 9, 10), (6, 4, 3, 3)
LOOP = """
.LBB0_1:
\tvfmadd231ps\t%zmm1, %zmm2, %zmm3
.LBB0_2:
\tvfmadd231ps\t(%rax), %zmm2, %zmm3
\tvfmadd231ps\t64(%rax), %zmm2, %zmm4
\tdecq\t%rcx
\tjne\t.LBB0_2
\tvaddps\t%zmm3, %zmm4, %zmm3
\tjne\t.LBB0_1
.LBB0_3:
\tmovq\t%rax, %rcx
\tjmp\t.LBB0_3
\tjmp\t.LBB0_9
"""
TRANSFORM = """
.LBB0_4:
\tvfmadd231ps\t%zmm1, %zmm2, %zmm3
\tvfmadd231ps\t%zmm1, %zmm2, %zmm4
\tvfmadd231ps\t%zmm1, %zmm2, %zmm5
\tvmovups\t%zmm3, (%rax)
\tvmovups\t%zmm4, 64(%rax)
\tvmovups\t%zmm5, 128(%rax)
\taddq\t$192, %rax
\tdecq\t%rcx
\tjne\t.LBB0_4
"""
ARM = """
.LBB0_2:
\tfmla\tv0.4s, v1.4s, v2.s[0]
\tsubs\tx8, x8, #1
\tb.ne\t.LBB0_2
.LBB0_3:
\tcbnz\tx9, .LBB0_3
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No test depends on how fast the machine is, so nothing measures for long."""
    monkeypatch.setattr(explanation, "SECONDS", 0.0)
    monkeypatch.setattr(roof, "SECONDS", 0.01)


@pytest.mark.parametrize("operation", explanation.OPERATIONS)
def test_every_operation_is_explained(backend, operation):
    name, rank, _ = explanation.OPERATIONS[operation]
    x_size = (2, 4, 9, 8, 7)[: rank + 2]
    weight_size = ((6, 2, 3, 3, 3) if name == "conv" else (4, 3, 3, 3, 3))[: rank + 2]
    options = {"stride": 2, "padding": 1, "groups": 2}
    found = fc.explain(operation, x_size, weight_size, **options)
    y = getattr(F, f"{name}{rank}d")(np.ones(x_size, "f4"), np.ones(weight_size, "f4"), **options)
    assert (found.x, found.weight, found.y) == (x_size, weight_size, y.shape)
    assert found.bytes == 4 * (np.prod(x_size) + np.prod(weight_size) + y.size)
    assert found.algorithm == ("reference" if backend == "reference" else "direct")
    assert found.backend == backend
    assert (found.expected is None) == (backend == "reference")


def test_flops_count_taps_inside_the_image():
    assert fc.explain("conv1d", (1, 1, 5), (1, 1, 3)).flops == 2 * 3 * 3
    assert fc.explain("conv1d", (1, 1, 5), (1, 1, 3), padding=1).flops == 2 * (2 + 3 + 3 + 3 + 2)
    assert fc.explain("conv1d", (1, 1, 5), (1, 1, 3), padding=5).flops == 2 * 15
    strided = fc.explain("conv2d", (2, 4, 5, 5), (6, 2, 3, 3), stride=2, padding=1, groups=2)
    assert strided.flops == 2 * 2 * 6 * 2 * (2 + 3 + 2) ** 2
    transposed = fc.explain("conv_transpose1d", (1, 2, 4), (2, 3, 3), stride=2)
    assert transposed.flops == 2 * 2 * 3 * 4 * 3


@pytest.mark.parametrize(
    ("options", "algorithm"), [({}, "winograd"), ({"stride": 2}, "direct"), ({"dilation": 2}, "fft")]
)
@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv_transpose2d"])
def test_what_is_asked_for_is_explained(operation, options, algorithm):
    found = fc.explain(operation, (1, 16, 20, 20), (16, 16, 3, 3), padding=1, algorithm=algorithm, **options)
    assert found.algorithm == algorithm
    assert found.expected > 0
    assert found.workspace > 0
    assert found.tasks >= 1
    assert 1 <= found.threads <= fc.get_num_threads()
    assert found.measured is found.roof is found.assembly is found.speed is found.fraction is None


@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"])
@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        (((4, 64, 28, 28), (32, 64, 1, 1)), {}),  # single taps, with pixels in the lanes
        (((4, 64, 28, 28), (32, 64, 1, 1)), {"stride": 2}),  # of samples
        (((4, 64, 7, 7), (32, 64, 1, 1)), {"stride": 2, "padding": 3}),  # most outputs see padding alone
        (((4, 64, 7, 7), (32, 64, 7, 7)), {}),  # a product
        (((4, 64, 28, 28), (64, 32, 3, 3)), {"groups": 2}),
        (((4, 64, 28, 28), (64, 1, 3, 3)), {"groups": 64, "padding": 1}),
        (((4, 64, 28, 28), (64, 1, 5, 5)), {"groups": 64, "stride": 2}),
        (((4, 1, 28, 28), (8, 1, 5, 5)), {"dilation": 2}),
        (((4, 64, 28, 28), (32, 64, 2, 2)), {"stride": 2}),
    ],
)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_every_way_is_explained(operation, sizes, options, algorithm):
    found = fc.explain(operation, *sizes, **options, algorithm=algorithm)
    assert found.expected > 0
    assert found.tasks >= 1
    assert sum(found.parts.values()) == pytest.approx(found.expected)


def test_a_preference_is_explained():
    try:
        fc.set_algorithm("fft")
        assert fc.explain("conv2d", *LAYER).algorithm == "fft"
    finally:
        fc.set_algorithm("auto")


def test_the_text_is_an_aligned_table():
    found = fc.explain("conv2d", *LAYER, padding=1, algorithm="direct")
    rows = str(found).splitlines()
    assert repr(found) == str(found)
    assert len({re.match(r"[a-z]+( [a-z]+)?  +", row).end() for row in rows}) == 1
    labels = [re.split("  +", row)[0] for row in rows]
    assert labels == ["operation", "options", "arithmetic", "memory", "algorithm", "tile", "blocks", "tasks",
                      "workspace", "expected time", "of which"]  # fmt: skip
    assert "conv2d, x (1, 4, 9, 10), weight (6, 4, 3, 3), y (1, 6, 9, 10), float32" in rows[0]
    assert "padding 1" in rows[1]


def test_an_explanation_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        fc.explain("conv2d", *LAYER).flops = 0


def test_the_batch_axis_may_be_left_out():
    assert fc.explain("conv2d", LAYER[0][1:], LAYER[1]).y == (1, 6, 7, 8)


@pytest.mark.parametrize("dtype", ["float16", np.float32, np.dtype(float)])
def test_every_dtype_is_measured(backend, dtype):
    for operation in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"):
        found = fc.explain(operation, *LAYER, dtype=dtype, measure=True)
        assert found.dtype == np.dtype(dtype).name
        assert found.measured > 0
        assert found.speed == found.flops / found.measured
        assert "measured time" in str(found)
        if backend == "cpu":
            assert found.fraction == found.speed / found.roof
            assert "% of the roof" in str(found)


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"])
def test_assembly_is_the_loop_with_the_multiply_adds(algorithm, operation):
    sizes = (1, 16, 20, 20), (16, 16, 3, 3)
    found = fc.explain(operation, *sizes, padding=1, algorithm=algorithm, assembly=True)
    lines = found.assembly.splitlines()
    assert sum(bool(explain.MULTIPLY_ADD.match(line)) for line in lines) >= 4
    assert lines[0].startswith(".L")
    assert str(found).endswith(found.assembly)


def test_a_step_of_a_tile_stands_once_in_its_loop():
    """Twice, it would want more registers than there are, and its sums would lie in memory."""
    x, weight = (1, 3, 32, 32), (4, 3, 3, 3)
    found = fc.explain("conv2d", x, weight, padding=1, algorithm="direct", assembly=True)
    tile = plans.planned(fc.geometry.convolution(x, weight, 1, 1, 1, 1), False, 4, 1).tile
    steps = sum(bool(explain.MULTIPLY_ADD.match(line)) for line in found.assembly.splitlines())
    assert tile.kind == "pixels"
    assert steps == tile.filters * tile.rows * tile.vectors


def test_assembly_of_what_is_a_library_s_own():
    assert "fft" in fc.explain("conv2d", *LAYER, algorithm="fft", assembly=True).assembly
    with fc.use_backend("reference"):
        assert fc.explain("conv2d", *LAYER, assembly=True).assembly == "NumPy's own"


def test_the_innermost_loop_with_most_multiply_adds_is_found():
    assert explain.innermost(LOOP) == "\n".join(LOOP.expandtabs(8).splitlines()[3:8])
    assert explain.innermost(LOOP + TRANSFORM) == explain.innermost(LOOP)
    assert explain.innermost(TRANSFORM).startswith(".LBB0_4")
    assert explain.innermost(ARM).splitlines()[0] == ".LBB0_2:"
    assert len(explain.innermost(ARM).splitlines()) == 4
    assert explain.innermost("\tret\n") == ""


@pytest.mark.parametrize(
    ("x_size", "weight_size"), [((0, 4, 9, 9), LAYER[1]), ((1, 0, 9, 9), (6, 0, 3, 3)), (LAYER[0], (0, 4, 3, 3))]
)
def test_calls_that_compute_nothing_are_explained_too(backend, x_size, weight_size):
    for suffix in explanation.PASSES:
        found = fc.explain(f"conv2d{suffix}", x_size, weight_size, measure=True, assembly=True)
        assert found.flops == found.speed == 0
        assert "0 FLOP/s" in str(found)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        (("conv4d", *LAYER), {}, ValueError, "operation is 'conv4d': one of conv1d, conv1d_input_grad"),
        ((["conv2d"], *LAYER), {}, ValueError, r"operation is \['conv2d'\]"),
        (("conv2d", *LAYER), {"strides": 2}, TypeError, "strides is no option of conv2d: stride, padding, dilation"),
        (("conv2d", *LAYER), {"output_padding": 0}, TypeError, "output_padding is no option of conv2d"),
        (("conv2d", *LAYER), {"dtype": int}, TypeError, "dtype is int64: float32, float64 and float16"),
        (("conv2d", *LAYER), {"stride": 0}, ValueError, "stride is 0"),
        (("conv2d", (4, 9), LAYER[1]), {}, ValueError, r"x_size is \(4, 9\): 4 ints are accepted"),
        (("conv2d", LAYER[0], (6, 4, 3)), {}, ValueError, r"weight_size is \(6, 4, 3\): 4 ints are accepted"),
        (("conv2d", LAYER[0], (6, 3, 3, 3)), {}, ValueError, "weight has 3 input channels, x has 4"),
        (("conv2d", *LAYER), {"algorithm": "winograd", "stride": 2}, ValueError, "algorithm is 'winograd', with 2-D"),
        (("conv2d", *LAYER), {"algorithm": "fast"}, ValueError, "algorithm is 'fast': one of"),
    ],
)
def test_bad_calls_are_told(backend, args, options, error, message):
    with pytest.raises(error, match=message):
        fc.explain(*args, **options)


@pytest.mark.parametrize(
    ("value", "units", "text"),
    [
        (0, explanation.BYTES, "0 bytes"),
        (999, explanation.BYTES, "999 bytes"),
        (1234, explanation.BYTES, "1.23 kB"),
        (99.96e6, explanation.BYTES, "100 MB"),
        (0.9996e-3, explanation.TIMES, "1.00 ms"),
        (12.34e-6, explanation.TIMES, "12.3 µs"),
        (3e-10, explanation.TIMES, "0.30 ns"),
        (432e9, explanation.FLOPS, "432 GFLOP"),
    ],
)
def test_numbers_have_three_digits(value, units, text):
    assert explanation.scaled(value, units) == text


def test_clear_cache_releases_workspaces_and_plans(rng):
    x, weight = rng.standard_normal((1, 8, 30, 30), np.float32), rng.standard_normal((8, 8, 3, 3), np.float32)
    y = F.conv2d(x, weight, algorithm="direct")
    workspace.give(workspace.take(1 << 20))
    assert plans.planned.cache_info().currsize
    assert workspace._free
    name = backends.backend_name()
    assert fc.clear_cache() is None
    assert not plans.planned.cache_info().currsize
    assert not workspace._free
    np.testing.assert_array_equal(F.conv2d(x, weight, algorithm="direct"), y)
    assert backends.backend_name() == name


def test_the_command_prints_what_explain_gives(capsys):
    words = ["explain", "conv2d", "--input", "1x64x56x56", "--weight", "64x64x3x3", "--padding", "1"]
    assert main([*words, "--algorithm", "direct"]) == 0
    expected = str(fc.explain("conv2d", (1, 64, 56, 56), (64, 64, 3, 3), padding=1, algorithm="direct"))
    assert capsys.readouterr().out == expected + "\n"


def test_the_command_takes_every_option(capsys):
    words = "explain conv_transpose2d --input 4x9x10 --weight 4x3x3x3 --stride 2x1 --padding 0:1x2 --dilation 2"
    more = "--output-padding 1 --groups 2 --dtype float64 --measure --assembly"
    assert main([*words.split(), *more.split()]) == 0
    out = capsys.readouterr().out
    assert "options        stride (2, 1), padding ((0, 1), 2), dilation 2, groups 2, output_padding 1\n" in out
    assert "float64" in out
    assert "measured time" in out
    assert "the loop that does most of the work:" in out


@pytest.mark.parametrize("padding", ["same", "valid", "2", "1x2"])
def test_the_command_takes_every_form_of_padding(capsys, padding):
    assert main(["explain", "conv2d", "--input", "4x9x10", "--weight", "6x4x3x3", "--padding", padding]) == 0
    shown = padding.replace("1x2", "(1, 2)")
    assert f"padding {shown}," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("conv2d --input 1x4x9x9", "the following arguments are required: --weight"),
        ("conv2d --input 1x4x9 --weight 6x5x3x3", "weight has 5 input channels, x has 1"),
        ("conv2d --input 1x4 --weight 6x4x3x3", "x_size is (1, 4): 4 ints are accepted"),
        ("conv2d --input 1,4 --weight 6x4x3x3", "argument --input: '1,4': an integer of at least 0 is accepted"),
        ("conv2d --input 4x9x9 --weight 6x4x3x3 --padding full", "padding is 'full': 'valid' and 'same' are accepted"),
        ("conv2d --input 4x9x9 --weight 6x4x3x3 --output-padding 1", "output_padding is no option of conv2d"),
        ("conv4d --input 4x9x9 --weight 6x4x3x3", "argument operation: invalid choice: 'conv4d'"),
    ],
)
def test_bad_commands_are_told(capsys, words, message):
    assert main(["explain", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_parts_are_those_of_the_plan_that_runs():
    direct = fc.explain("conv2d", (1, 64, 56, 56), (64, 64, 3, 3), padding=1, algorithm="direct")
    assert direct.expected == pytest.approx(sum(direct.parts.values()))
    assert "multiply-adds" in direct.parts
    assert "of which" in str(direct)
    for operation, stride, filters, lanes in (
        ("conv2d", 1, "rows", "pixels"),
        ("conv2d", 2, "rows", "pixels"),
        ("conv2d", 3, "pixels", "channels"),
        ("conv2d_weight_grad", 1, "taps", "channels"),
    ):
        options = {"padding": 1, "groups": 64, "stride": stride}
        found = fc.explain(operation, (1, 64, 56, 56), (64, 1, 3, 3), **options)
        assert f"{lanes} in the vectors' lanes" in found.tile
        assert filters in found.tile
        found = fc.explain(operation, (1, 64, 56, 56), (64, 1, 3, 3), **options, assembly=True)
        assert any(map(explain.MULTIPLY_ADD.match, found.assembly.splitlines()))


def test_a_filter_is_explained(backend):
    found = fc.explain(
        "convolve", (40, 50), np.ones((3, 5)), dtype="uint8", mode="nearest", output="int16", measure=True
    )
    assert found.x == (40, 50)
    assert found.y == (40, 50)
    assert found.flops == 2 * 40 * 50 * 15
    assert found.bytes == 40 * 50 * 3
    assert found.options == {"mode": "nearest", "output": "int16"}
    assert found.measured is not None
    if backend == "cpu":
        assert found.algorithm == "dense"
        assert "expected time" in repr(found)


def test_bad_filters_are_not_explained():
    with pytest.raises(TypeError, match="stride is no option of correlate: mode, output are accepted"):
        fc.explain("correlate", (9, 9), np.ones((3, 3)), stride=2)
    with pytest.raises(ValueError, match="weight_size has 1 axes, x_size 2"):
        fc.explain("correlate", (9, 9), np.ones(3))
    with pytest.raises(ValueError, match="mode is 'edge': one of 'reflect'"):
        fc.explain("correlate", (9, 9), np.ones((3, 3)), mode="edge")
