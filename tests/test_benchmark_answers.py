"""What the benchmark suite compares answers with: the oracle by other means, and that no wrong number passes."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import GEOMETRY

import fastconv
import fastconv.functional as F
from benchmarks import answers, suites
from benchmarks.case import Case
from benchmarks.oracle import expected, filters

# Channels enough that an answer is compared by sums of them; the sums are of 16, of 16 and of 8.
X, WEIGHT, Y = (2, 12, 9, 11), (40, 12, 3, 3), (2, 40, 9, 11)
ARRAYS = {
    "conv2d": {"x": X, "weight": WEIGHT},
    "conv2d_weight_grad": {"x": X, "grad": Y},
    "conv2d_input_grad": {"weight": (12, 40, 3, 3), "grad": X},
    "conv_transpose2d": {"x": X, "weight": (12, 40, 3, 3)},
}
OPTIONS = {
    "conv2d": {},
    "conv2d_weight_grad": {"weight_size": list(WEIGHT)},
    "conv2d_input_grad": {"input_size": list(Y)},
    "conv_transpose2d": {"padding": [1, 1], "output_padding": [0, 0]},
}


def large(operation, **fields):
    options = {**GEOMETRY, **OPTIONS[operation]}
    return Case("layers", "g", f"large {operation}", operation, ARRAYS[operation], options, flops=10**9, **fields)


def answer_of(case):
    """What fastconv's reference says, in the case's dtype."""
    inputs = case.inputs()
    with fastconv.use_backend("reference"):
        if case.operation == "conv2d":
            return F.conv2d(inputs["x"], inputs["weight"], None, padding=1)
        if case.operation == "conv_transpose2d":
            return F.conv_transpose2d(inputs["x"], inputs["weight"], None, padding=1)
        if case.operation == "conv2d_input_grad":
            return F.conv2d_input_grad(case.options["input_size"], inputs["weight"], inputs["grad"], padding=1)
        return F.conv2d_weight_grad(inputs["x"], case.options["weight_size"], inputs["grad"], padding=1)


@pytest.mark.parametrize("operation", ARRAYS)
def test_a_right_answer_passes_and_one_wrong_number_anywhere_does_not(operation, tmp_path):
    case = large(operation)
    assert answers.weights(case) is not None
    answers.write(case, tmp_path)
    right = answer_of(case)
    assert answers.error(case, {"y": right}, tmp_path) < 1e-6
    rng, largest = np.random.default_rng(0), np.abs(right).max()
    corners = [(0,) * right.ndim, tuple(extent - 1 for extent in right.shape)]
    for place in [*corners, *(tuple(rng.integers(right.shape)) for _ in range(50))]:
        wrong = right.copy()
        wrong[place] += 0.001 * largest
        assert answers.error(case, {"y": wrong}, tmp_path) > 1e-4, place


@pytest.mark.parametrize("operation", ARRAYS)
def test_wrong_blocks_channels_borders_and_factors_do_not_pass(operation, tmp_path):
    case = large(operation)
    answers.write(case, tmp_path)
    right = answer_of(case)
    for a, b in [(i, j) for i in range(right.shape[1]) for j in range(i)]:
        other = right.copy()
        other[:, [a, b]] = right[:, [b, a]]
        assert answers.error(case, {"y": other}, tmp_path) > 1e-4, (a, b)
    border = right.copy()
    border[..., -1] = 0
    with np.errstate(invalid="ignore"):
        for wrong in (border, right * np.float32(1.001), right[:, ::-1], right * np.nan, right + np.inf):
            assert not answers.error(case, {"y": wrong}, tmp_path) <= 1e-4
    assert np.isnan(answers.error(case, {"y": right[:, :-1]}, tmp_path))
    assert np.isnan(answers.error(case, {"y": right[..., :-1]}, tmp_path))
    assert np.isnan(answers.error(case, {"z": right}, tmp_path))


def test_an_answer_in_another_memory_layout_is_the_same_answer(tmp_path):
    case = large("conv2d")
    answers.write(case, tmp_path)
    last = np.ascontiguousarray(answer_of(case).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert answers.error(case, {"y": last}, tmp_path) < 1e-6


def test_small_answers_and_those_of_groups_are_compared_whole():
    assert answers.weights(Case("s", "g", "n", "conv2d", ARRAYS["conv2d"], GEOMETRY, flops=10**6)) is None
    assert (
        answers.weights(Case("s", "g", "n", "conv2d", ARRAYS["conv2d"], {**GEOMETRY, "groups": 2}, flops=10**9)) is None
    )
    pooling = next(case for case in suites.load("layers").cases(False) if case.group == "pooling")
    assert answers.weights(pooling) is None


def test_inputs_come_back_as_they_were_written(tmp_path):
    case = large("conv2d")
    answers.write(case, tmp_path)
    found = answers.read_inputs(case, tmp_path)
    assert all(np.array_equal(found[name], array) for name, array in case.inputs().items())
    assert {path.name for path in tmp_path.iterdir()} == {"input.x.npy", "input.weight.npy", "answer.y.npy"}


def test_only_what_nobody_has_touched_for_long_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(answers, "MEMORY", tmp_path)
    for name, age in (("fastconv-bench-old", 2 * answers.ABANDONED), ("fastconv-bench-new", 0), ("other", 1e6)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with answers.folder_of_arrays() as folder:
        assert len({path.name for path in tmp_path.iterdir()} - {"fastconv-bench-new", "other", Path(folder).name}) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"fastconv-bench-new", "other"}


@pytest.mark.parametrize("shape", [(), (5,), (200_000,), (3, 1, 300, 400), (70_000, 2), (0, 4)])
def test_parts_cover_an_array_once(shape):
    seen = np.zeros(shape, int)
    for part in answers.parts(shape):
        seen[part] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("image", "taps"), [((40, 50), (3, 5)), ((700, 600), (9, 8)), ((1, 90_000), (1, 30)), ((60, 7), (7, 7))]
)
def test_the_oracles_correlation_is_scipys(image, taps):
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(image), rng.standard_normal(taps)
    np.testing.assert_allclose(filters.correlate(x, w), signal.correlate(x, w, "valid", method="fft"), atol=1e-12)


def test_the_oracle_of_sums_is_the_sums_of_the_oracle():
    case = large("conv2d", dtype="float64")
    inputs, factors = case.inputs(), answers.weights(case)
    whole = expected(case, inputs)["y"]
    np.testing.assert_allclose(
        answers.right_answers(case, inputs)["y"], answers.summed(factors, whole, 1), rtol=0, atol=1e-12
    )
