"""Calls of `ndimage` drawn at random from a seed, and what a module makes of them."""

import warnings
from dataclasses import dataclass, field

import numpy as np

from fastconv.borders import MODES

REAL = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
COMPLEX = ["c8", "c16"]
DENSE = ["correlate", "convolve"]
GAUSSIANS = ["gaussian_filter", "gaussian_filter1d", "gaussian_laplace", "gaussian_gradient_magnitude"]
DIFFERENCES = ["sobel", "prewitt", "laplace"]
EXTREMES = ["maximum_filter", "maximum_filter1d", "minimum_filter", "minimum_filter1d"]
NAMES = [*DENSE, "correlate1d", "convolve1d", *GAUSSIANS, *DIFFERENCES, "uniform_filter", "uniform_filter1d", *EXTREMES]
# SciPy's sums of derivatives read what they wrote, if the output is the input.
SUMS = ["laplace", "gaussian_laplace", "gaussian_gradient_magnitude"]


@dataclass
class Call:
    """ndimage.name(*arguments, **options); with `in_place` the first argument is the output, too."""

    name: str
    arguments: list
    options: dict = field(default_factory=dict)
    in_place: bool = False

    def run(self, module):
        """The result, the output and the input as they are then, and categories of warnings; or the error."""
        arguments = [twin(value) for value in self.arguments]
        options = {name: twin(value) for name, value in self.options.items()}
        if self.in_place:
            options["output"] = arguments[0]
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            try:
                result = getattr(module, self.name)(*arguments, **options)
            except Exception as error:
                return error
        told = {warning.category for warning in caught} - {RuntimeWarning}
        return result, options.get("output"), arguments[0], told


def twin(value):
    """A copy of an array in memory of its own, of the same form; anything else itself."""
    if not isinstance(value, np.ndarray) or not value.size:
        return value
    first, last = np.lib.array_utils.byte_bounds(value)
    memory = np.zeros(last - first, np.uint8)
    copy = np.ndarray(value.shape, value.dtype, memory, value.ctypes.data - first, value.strides)
    copy[...] = value
    copy.flags.writeable = value.flags.writeable
    return copy


def draw(rng, types=REAL):
    """A good call, with images of these types, or complex ones.

    Filters of several axes are not longer than four images: SciPy's 'reflect' reads from before the image then.
    """
    name = str(rng.choice(NAMES))
    along = name.endswith("1d") or name in ("sobel", "prewitt")
    complex_ = name not in EXTREMES and rng.random() < 0.12
    rank = int(rng.choice([1, 1, 2, 2, 2, 3, 3, 4] if along else [0, 1, 2, 2, 2, 2, 3, 3, 4]))
    x = image(rng, rank, str(rng.choice(COMPLEX if complex_ else reals(types, name))))
    axes = None if along else axes_to_filter(rng, rank)
    count = 1 if name.endswith("1d") else rank if axes is None else len(axes)
    longest = 11 if name.endswith("1d") or name not in [*DENSE, *EXTREMES] else 4 * min(x.shape, default=1)
    taps = [
        min(int(k), max(longest, 1)) for k in rng.choice([1, 2, 3, 3, 3, 4, 5, 7, 11][: 9 if count < 3 else 7], count)
    ]
    call = Call(name, [x, *subjects(rng, name, taps, rank)])
    gaps = name in EXTREMES and len(call.arguments) == 3
    modes = f"{name}1d" if name in DENSE or gaps else name  # these take one mode for all axes, as along a line
    call.options |= sometimes(
        rng,
        mode=lambda: one_or_each(rng, modes, range(count), lambda _: str(rng.choice(MODES))),
        cval=lambda: constant(rng, x.dtype.kind == "c"),
        output=lambda: output(rng, call, types),
        axis=(lambda: int(rng.integers(-rank, rank))) if along else None,
        origin=(lambda: origins(rng, name, taps)) if name not in [*GAUSSIANS, *DIFFERENCES] else None,
        order=(lambda: orders(rng, name, taps)) if name in GAUSSIANS[:2] else None,
        truncate=(lambda: float(rng.choice([1.0, 2.5, 4.0]))) if name in GAUSSIANS else None,
        radius=(lambda: orders(rng, name, taps)) if name in GAUSSIANS[:2] and rng.random() < 0.3 else None,
    )
    if axes is not None:
        call.options["axes"] = axes
    by_parts = name in [*DENSE, "correlate1d", "convolve1d"] and (complex_ or np.iscomplexobj(call.arguments[1]))
    if name not in SUMS and not by_parts and "output" not in call.options and x.flags.writeable:
        call.in_place = rng.random() < 0.15
    return call


def reals(types, name):
    """The types for a function: no uint64 for Gaussians, whose sums below 0 C stores as it likes."""
    return [dtype for dtype in types if dtype != "u8" or name not in GAUSSIANS]


def sometimes(rng, **drawers):
    """Some of the options, each drawn by its function."""
    return {name: drawer() for name, drawer in drawers.items() if drawer and rng.random() < 0.6}


def image(rng, rank, dtype):
    """An array of one of many forms: strided, reversed, of Fortran's order, read-only, of the other byte order."""
    extents = [1, 2, 3, 4, 5, 6, 7, 9, 12] if rank < 3 else [1, 2, 3, 4, 5]
    shape = tuple(int(extent) for extent in rng.choice(extents, rank))
    if rank and rng.random() < 0.03:
        shape = (0, *shape[1:])
    if rank in (1, 2) and rng.random() < 0.04:  # larger ones, in which the backends go by blocks
        most = {1: 5000, 2: 300 if rng.random() < 0.3 else 70}[rank]
        shape = tuple(int(extent) for extent in rng.integers(20, most, rank))
    form = str(rng.choice(["plain", "plain", "plain", "plain", "strided", "reversed", "fortran", "frozen", "swapped"]))
    step = {"strided": 2, "reversed": -1}.get(form, 1)
    x = pixels(rng, tuple(abs(step) * extent for extent in shape), dtype)[(slice(None, None, step),) * rank]
    if form == "fortran":
        x = np.asfortranarray(x)
    elif form == "swapped":
        x = x.astype(x.dtype.newbyteorder())
    x = np.asarray(x)
    x.flags.writeable = form != "frozen"
    return x


def pixels(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.6)
    if dtype.kind in "ui":
        low, high = (0 if dtype.kind == "u" else -100), 100
        if dtype.itemsize <= 2 and rng.random() < 0.5:
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return np.asarray(rng.integers(low, high, shape, endpoint=True)).astype(dtype)
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-1, 3)
    if dtype.kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def axes_to_filter(rng, ndim):
    """None for all axes, or some in rising order: SciPy's weights lie in that order, whatever the order of axes is."""
    if rng.random() < 0.6 or not ndim:
        return None
    axes = np.sort(rng.choice(ndim, int(rng.integers(rng.random() > 0.1, ndim + 1)), replace=False))
    return tuple(int(axis) - (ndim if rng.random() < 0.3 else 0) for axis in axes)


def subjects(rng, name, taps, rank):
    """The arguments after the image: weights, sigma, size, or None and a footprint."""
    if name in DENSE or name.endswith(("correlate1d", "convolve1d")):
        return [weights(rng, taps)]
    if name in GAUSSIANS:
        sigmas = [0.0, 0.3, 0.5, 1.0, 1.7, 3.0][name.endswith("1d") :]
        axes = range(rank) if name == "gaussian_gradient_magnitude" else taps
        return [one_or_each(rng, name, axes, lambda _: float(rng.choice(sigmas)))]
    if name in DIFFERENCES:
        return []
    footprint = np.asarray(rng.random(taps) < 0.6)
    if not name.endswith("1d") and name in EXTREMES and footprint.any() and rng.random() < 0.5:
        return [None, footprint.tolist() if rng.random() < 0.3 else footprint]
    return [taps[0] if name.endswith("1d") or len(set(taps)) == 1 else taps]


def weights(rng, taps):
    """A filter of one of many kinds."""
    values, mirrored = rng.standard_normal(taps), (slice(None, None, -1),) * len(taps)
    kinds = {
        "real": lambda: values,
        "whole": lambda: rng.integers(-3, 4, taps),
        "sparse": lambda: values * (rng.random(taps) < 0.4),
        "float32": lambda: np.asarray(values).astype(np.float32),
        "symmetric": lambda: values + np.asarray(values)[mirrored],
        "antisymmetric": lambda: values - np.asarray(values)[mirrored],
        "gaussian": lambda: np.exp(-np.square(np.indices(taps) - 1.0).sum(axis=0)),
        "complex": lambda: values + 1j * rng.standard_normal(taps),
        "list": lambda: np.asarray(values).tolist(),
    }
    return kinds[str(rng.choice(list(kinds)))]()


def one_or_each(rng, name, taps, drawer):
    """What `drawer` makes of the taps: one value for all axes, or a list of them where the function takes it."""
    if name.endswith("1d") or rng.random() < 0.5:
        return drawer(min(taps, default=1))
    return [drawer(k) for k in taps]


def constant(rng, complex_):
    value = float(rng.choice([0.0, 1.0, -3.7, 42.5, 1e3]))
    return value + 2j if complex_ and rng.random() < 0.5 else value


def origins(rng, name, taps):
    return one_or_each(rng, name, taps, lambda k: int(rng.integers(-(k // 2), (k - 1) // 2 + 1)))


def orders(rng, name, taps):
    return one_or_each(rng, name, taps, lambda _: int(rng.choice([0, 0, 1, 2, 3])))


def output(rng, call, types):
    """A type, by object or name, or an array of one, perhaps strided."""
    x = call.arguments[0]
    complex_ = any(np.iscomplexobj(array) for array in call.arguments[:2] if array is not None)
    dtype = np.dtype(str(rng.choice(COMPLEX if complex_ else reals(types, call.name))))
    form = str(rng.choice(["type", "dtype", "name", "array", "strided", "swapped"]))
    if form == "type":
        return dtype.type
    if form == "dtype" or (form == "name" and dtype.kind == "b"):
        return dtype
    if form == "name":
        return dtype.name
    step = 2 if form == "strided" else 1
    array = np.zeros([step * extent for extent in x.shape], dtype.newbyteorder() if form == "swapped" else dtype)
    return array[(slice(None, None, step),) * x.ndim] if x.ndim else array
