"""`fastconv.signal` beside `scipy.signal` over drawn arguments: dtypes, modes, borders, methods, axes, shapes."""

import warnings

import numpy as np
import pytest
from conftest import SIMULATED
from scipy import signal as oracle

from fastconv import signal

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "e", "f", "d", "g", "F", "D", "G"]
NAMES = ["convolve", "correlate", "convolve2d", "correlate2d", "fftconvolve", "oaconvolve"]
LONGEST = {1: 40, 2: 9, 3: 5}  # extent of an axis, by the number of axes
DRAWS = 600
FLOATS_OF = {"e": "f", "F": "f", "D": "d", "G": "g"}  # the dtype that transforms compute in; float64 where not listed


def draws(backend, most=DRAWS):
    """Calls of a test: a simulated GPU takes its time."""
    return 30 if backend == "cuda" and SIMULATED else most


def numbers(rng, shape, dtype):
    """Drawn numbers; integers are small or of all sizes."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind in "iu":
        info = np.iinfo(dtype)
        few = rng.random() < 0.5
        return rng.integers(max(info.min, -9) if few else info.min, 9 if few else info.max, shape, dtype, endpoint=True)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if kind == "c" else x).astype(dtype)


def form(rng, x):
    """The same numbers in another layout."""
    draw = rng.integers(6)
    if draw == 0:
        x = np.asfortranarray(x)
    elif draw == 1:
        x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    elif draw == 2:
        x = np.repeat(x, 2, axis=0)[::2]
    elif draw == 3 and x.dtype.char != "e":  # SciPy's transforms do not take float16 of the other byte order
        x = x.astype(x.dtype.newbyteorder())
    x.flags.writeable = False
    return x


def shapes(rng, rank, valid):
    first, second = (tuple(rng.integers(1, LONGEST[rank], rank).tolist()) for _ in range(2))
    if valid and rng.random() < 0.8:
        pair = tuple(map(max, first, second)), tuple(map(min, first, second))
        return pair if rng.random() < 0.6 else pair[::-1]
    return first, second


def draw(rng, name):
    """The two inputs of a call, and its options."""
    rank = 2 if name.endswith("2d") else int(rng.integers(1, 4))
    options = {"mode": ["full", "same", "valid"][rng.integers(3)]}
    first, second = shapes(rng, rank, options["mode"] == "valid")
    if name.endswith("2d"):
        options["boundary"] = ["fill", "wrap", "symm"][rng.integers(3)]
        if rng.random() < 0.5:
            options["fillvalue"] = [1, 3, 0.5, 2.5, -1, 1 + 2j][rng.integers(6)]
    elif name in ("convolve", "correlate"):
        options["method"] = ["auto", "direct", "fft"][rng.integers(3)]
    else:
        if rank == 1 and rng.random() < 0.5:
            first = (int(rng.integers(100, 500)),)
        if rng.random() < 0.5:
            axes = options["axes"] = rng.permutation(rank)[: rng.integers(1, rank + 1)].tolist()
            if rng.random() < 0.8:
                others = [[1, a, a][rng.integers(3)] for a in first]
                second = tuple(b if i in axes else others[i] for i, b in enumerate(second))
    x, h = (form(rng, numbers(rng, shape, rng.choice(DTYPES))) for shape in (first, second))
    integers = np.promote_types(x.dtype, h.dtype).kind in "iub"
    if options.get("method") == "fft" and integers:  # what does not fit, C casts from floats as it likes
        x, h = (np.clip(array, 0, 9) if array.dtype.kind != "b" else array.astype(np.int8) for array in (x, h))
    return x, h, options


def result(function, *arguments, **options):
    """What a call returns, or the type of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*arguments, **options)
        except Exception as error:
            return type(error)


def tolerance(name, x, h, dtype, options):
    """How far sums of the same products may lie apart.

    Directly added ones, a few units in the last place of the sum of absolute values, which grow with the root of their
    number. Transformed ones, as many of the norms' product, in the precision of the less precise input.
    """
    sizes = [np.abs(array.astype("G" if array.dtype.kind == "c" else "g")) for array in (x, h)]
    method = options.get("method", "fft" if name in ("fftconvolve", "oaconvolve") else "direct")
    if method == "auto":
        chosen = [module.choose_conv_method(x, h, options["mode"]) for module in (signal, oracle)]
        method = "fft" if "fft" in chosen else "direct"
    if method == "fft":
        chars = [char if (char := array.dtype.char) in "fg" else FLOATS_OF.get(char, "d") for array in (x, h)]
        epsilon = max(float(np.finfo(char).eps) for char in [*chars, dtype.char])
        return 20 * epsilon * np.sqrt((sizes[0] ** 2).sum() * (sizes[1] ** 2).sum())
    given = {key: np.abs(value) if key == "fillvalue" else value for key, value in options.items() if key != "axes"}
    if "method" in given:
        given["method"] = "direct"
    epsilon = 2 * float(np.finfo(dtype).eps) * max(2, np.sqrt(min(x.size, h.size)))
    return epsilon * getattr(oracle, name)(*sizes, **given) + 1e-44


def compare(name, x, h, options):
    found = result(getattr(signal, name), x, h, **options)
    # SciPy's own choice of transforms for integers overflows in C's cast, where sums wrap around.
    wraps = options.get("method") == "auto" and np.promote_types(x.dtype, h.dtype).kind in "iu"
    same = options | {"method": "direct"} if wraps else options
    expected = result(getattr(oracle, name), x, h, **same)
    told = f"{name} of {x.dtype} {x.shape} and {h.dtype} {h.shape}, {options}: {found}, SciPy {expected}"
    if isinstance(expected, type) or isinstance(found, type):
        assert expected is found, told
        return
    assert (found.dtype, found.shape, type(found)) == (expected.dtype, expected.shape, type(expected)), told
    if expected.dtype.kind in "biu":
        assert np.array_equal(found, expected), told
    elif expected.size:
        error = np.abs(found.astype("G") - expected.astype("G"))
        assert (error <= tolerance(name, x, h, expected.dtype, options)).all(), told


@pytest.mark.parametrize("name", NAMES[:4])
def test_drawn_calls_are_scipys(name, backend):
    for seed in range(draws(backend)):
        compare(name, *draw(np.random.default_rng([NAMES.index(name), seed]), name))


@pytest.mark.parametrize("name", NAMES[4:])
def test_drawn_transforms_are_scipys(name):
    for seed in range(DRAWS):
        compare(name, *draw(np.random.default_rng([NAMES.index(name), seed]), name))


@pytest.mark.parametrize("name", ["fftconvolve", "oaconvolve"])
@pytest.mark.parametrize("budget", [50, 1 << 18])
def test_drawn_long_arrays_in_blocks_are_scipys(name, budget, monkeypatch):
    monkeypatch.setattr("fastconv.signal.fourier.BUDGET", budget)
    for seed in range(150):
        rng = np.random.default_rng([7, seed])
        rank = int(rng.integers(1, 4))
        longest = np.log({1: 2000, 2: 150, 3: 40}[rank])
        first, second = (np.exp(rng.uniform(0, longest, rank)).astype(int) for _ in range(2))
        if first.prod() > 10_000 or second.prod() > 10_000:
            continue
        x, h = (
            numbers(rng, tuple(shape.tolist()), rng.choice(["f", "d", "F", "D", "i2"])) for shape in (first, second)
        )
        compare(name, x, h, {"mode": ["full", "same", "valid"][rng.integers(3)]})


@pytest.mark.parametrize("name", NAMES[:4])
def test_drawn_sums_of_what_is_not_finite_are_scipys(name, backend):
    """NaN and infinity reach the same outputs; of complex sums, what reaches is compared, not which of the two."""
    for seed in range(draws(backend, 150)):
        rng = np.random.default_rng([11, seed])
        rank = 2 if name.endswith("2d") else int(rng.integers(1, 4))
        mode = ["full", "same", "valid"][rng.integers(3)]
        pair = [numbers(rng, shape, rng.choice(["f", "d", "F", "D"])) for shape in shapes(rng, rank, mode == "valid")]
        one = pair[rng.integers(2)]
        one.flat[rng.integers(one.size)] = [np.nan, np.inf, -np.inf][rng.integers(3)]
        options = {"mode": mode}
        if not name.endswith("2d"):
            options["method"] = "direct"
        elif one.dtype.kind != "c":
            options["boundary"] = ["fill", "wrap", "symm"][rng.integers(3)]
        else:
            one.flat[0] = np.nan  # C multiplies complex infinities by rules of its own
            one[np.isinf(one)] = np.nan
        found, expected = (result(getattr(module, name), *pair, **options) for module in (signal, oracle))
        told = f"{name} of {pair}, {options}: {found}, SciPy {expected}"
        if isinstance(expected, type):
            assert expected is found, told
            continue
        assert np.array_equal(np.isfinite(found), np.isfinite(expected)), told
        if expected.dtype.kind == "f":
            rest = ~np.isfinite(expected)
            assert np.array_equal(found[rest], expected[rest], equal_nan=True), told
