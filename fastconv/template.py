"""Where an image looks like a template: scores of all places, and the best of them.

Methods, formulas and values are those of OpenCV's `matchTemplate`. Index letters: `p q` window, by its first pixel;
`r s` pixel in it; `k` channel; capitals are extents.
"""

from operator import index
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastconv import backends, ndimage, placement
from fastconv.borders import Border
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike, Shape

__all__ = ["METHODS", "find_template", "match_template"]

METHODS = ("sqdiff", "sqdiff_normed", "ccorr", "ccorr_normed", "ccoeff", "ccoeff_normed")
IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
FAR = 8  # standard deviations: a mean that lies so far from 0 is subtracted, for products lose digits of what is large
ROWS = 64  # of an image that tell its mean
# A window of less contrast, squared, than this part of its brightness is too faint for sums of float32: they lose 4e-8
# of the brightness, and a score should be right to 1e-5.
FAINT = 2.0**-14
# Of so many windows this number along each axis is looked at: where more than this share are faint, all products are
# computed in float64.
LARGE, SAMPLE, MANY = 1 << 16, 8, 1 / 16
STRIP = 1 << 20  # windows that are scored at a time under a mask


def match_template(
    image: ArrayLike, template: ArrayLike, method: str = "ccoeff_normed", mask: ArrayLike | None = None
) -> Array:
    """Scores of a template at all places in an image, by cross-correlation: the template is not flipped.

    With T the template, I the window of the image that begins at (p, q), T' and I' the same less the mean of each
    channel, and sums over rows, columns and channels:

        sqdiff          sum of (T - I)²                              the least is the best
        sqdiff_normed   sum of (T - I)² / sqrt(sum of T² sum of I²)  the same; at most 1
        ccorr           sum of T I                                   the greatest is the best, here and below
        ccorr_normed    sum of T I / sqrt(sum of T² sum of I²)
        ccoeff          sum of T' I'
        ccoeff_normed   sum of T' I' / sqrt(sum of T'² sum of I'²)   from -1 to 1

    A mask M weighs pixels: T and I become M T and M I, T' and I' become M times T and I less their means by M.

    Parameters
    ----------
    image : array (H, W) or (H, W, C)
        bool (as 0 and 1), integers, float16, float32 or float64. Scores of one on a GPU (of any library) are computed
        there, where they stay; under a mask the image goes to the computer's memory and back.
    template : array (R, S) or (R, S, C)
        No larger than the image; finite, of any of these dtypes.
    method : str
        One of the six.
    mask : array (R, S) or (R, S, C), optional
        For all channels or for each. Of bool or integers: pixels that are not 0 count; of floats: weights, finite and
        at least 0. Pixels of the template that do not count may be anything.

    Returns
    -------
    array (H - R + 1, W - S + 1), float64 if the image is, else float32
        Where a window or the template has no contrast, or is all 0, a normed score is 0, that of sqdiff_normed is 1:
        none is 0 / 0. Contrast that rounding can hide, which is 1e-6 of the brightness at most, is none.
        NaN and infinity in the image reach only the scores of windows that hold them, as pixels that count.

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape, a number or the method is none that is accepted, or an array has no pixels.

    References
    ----------
    OpenCV, `cv::matchTemplate`; it gives a template without contrast the normed coefficient 1, and with a mask NaN or
    infinity for x / 0. Only without a mask it ends sqdiff_normed at 1, and so does this.
    Lewis, "Fast Normalized Cross-Correlation", 1995.

    Examples
    --------
    >>> image = np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0]])
    >>> match_template(image, [[1, 2], [3, 4]], "sqdiff")
    array([[23., 13., 22.],
           [12.,  0., 22.]], dtype=float32)
    """
    checks.choice(method, "method", METHODS)
    if mask is not None and placement.on_gpu(image):
        with backends.use_backend("cuda"):
            scores: Array = placement.to_device(match_template(placement.to_host(image), template, method, mask))
        return scores
    x, taps, dtype = _pair(image, template)
    taps, weights = _weighted(taps, mask)
    y = _empty((len(x) - len(taps) + 1, x.shape[1] - taps.shape[1] + 1), x)
    if weights is None:
        _score(method, x, taps, y)
    else:
        _score_strips(method, x, taps, weights, y)
    return y.astype(dtype, copy=False)


def find_template(
    image: ArrayLike,
    template: ArrayLike,
    method: str = "ccoeff_normed",
    count: int | None = 1,
    threshold: float | None = None,
    min_distance: int | tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """The places where a template lies in an image, the best first, by cross-correlation.

    A place is one whose score is the best within `min_distance`; of equal ones that are so near, the first in the
    order of rows counts.

    Parameters
    ----------
    image, template, method, mask
        As in `match_template`.
    count : int or None
        How many places at most; None for all.
    threshold : float, optional
        The least score of a place; for the sqdiff methods the greatest.
    min_distance : int or (int, int), optional
        Two places are so many rows or so many columns apart; by default more than half of the template's.

    Returns
    -------
    places : array (N, 2), int64
        The row and the column of the template's first pixel, N at most `count`.
    scores : array (N,), dtype of `match_template`'s
        NaN is no place's.

    Raises
    ------
    TypeError, ValueError
        As `match_template`.

    References
    ----------
    Neubeck, Van Gool, "Efficient Non-Maximum Suppression", 2006.

    Examples
    --------
    >>> image = np.zeros((8, 9))
    >>> image[2:4, 1:3] = image[5:7, 6:8] = [[1, 2], [3, 4]]
    >>> places, scores = find_template(image, [[1, 2], [3, 4]], count=None, threshold=0.9)
    >>> places
    array([[2, 1],
           [5, 6]])
    """
    most = None if count is None else _whole(count, "count")
    limit = None if threshold is None else checks.real(threshold, "threshold")
    pattern: Array = placement.to_host(template)
    near = [extent // 2 + 1 for extent in pattern.shape[:2]] if min_distance is None else _distances(min_distance)
    scores = placement.to_host(match_template(image, pattern, method, mask))
    sign = -1 if method.startswith("sqdiff") else 1
    rank = scores if sign > 0 else np.negative(scores, out=scores)
    rank[np.isnan(rank)] = -np.inf
    least = -np.inf if limit is None else sign * limit
    places = _best(rank, least) if most == 1 else _peaks(rank, least, near, most)
    rows, columns = np.divmod(places, rank.shape[1])
    return np.stack([rows, columns], axis=1), sign * rank.reshape(-1)[places]


def _pair(image: Any, template: Any) -> tuple[Array, Array, np.dtype[Any]]:
    """The image (H, W, C) as it is computed with, the template (R, S, C) in float64, and the dtype of scores."""
    x, taps = _pixels(placement.as_array(image), "image"), _pixels(placement.to_host(template), "template")
    if x.ndim != taps.ndim or x.shape[2:] != taps.shape[2:]:
        raise ValueError(f"image has shape {x.shape}, template {taps.shape}: the same axes and channels are accepted")
    if taps.shape[0] > x.shape[0] or taps.shape[1] > x.shape[1]:
        raise ValueError(f"template has shape {taps.shape}, image {x.shape}: a template no larger is accepted")
    dtype = np.dtype(np.float64 if x.dtype.kind == "f" and x.dtype.itemsize == 8 else np.float32)
    held = x.dtype.kind == "f" or x.dtype.itemsize < 4  # integers up to 65535 as they are
    x = placement.ready(x, dtype if held else np.dtype(np.float64))
    shape = x.shape[2:] or (1,)
    taps = taps.astype(np.float64, order="C")
    return x.reshape(*x.shape[:2], *shape), taps.reshape(*taps.shape[:2], *shape), dtype


def _pixels(array: Array, name: str) -> Array:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} is {array.dtype}: bool, integers, float16, float32 and float64 are accepted")
    if array.ndim not in (2, 3):
        raise ValueError(f"{name} has {array.ndim} axes, shape {array.shape}: 2 (H, W) or 3 (H, W, C) are accepted")
    if not array.size:
        raise ValueError(f"{name} has shape {array.shape}: at least 1 pixel is accepted")
    return array


def _weighted(taps: Array, mask: Any) -> tuple[Array, Array | None]:
    """The template, 0 where the mask is, and the mask as weights (R, S, C) in float64."""
    weights = None
    if mask is not None:
        array = placement.to_host(mask)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"mask is {array.dtype}: bool, integers, float16, float32 and float64 are accepted")
        if array.shape not in (taps.shape[:2], taps.shape):
            raise ValueError(f"mask has shape {array.shape}: {taps.shape[:2]} is accepted, or {taps.shape}")
        numbers: Array = (array if array.dtype.kind == "f" else array != 0).astype(np.float64, order="C")
        if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError(
                f"mask holds {numbers.min()} to {numbers.max()}: finite weights of at least 0 are accepted"
            )
        weights = np.broadcast_to(numbers.reshape(*taps.shape[:2], -1), taps.shape)
        taps = np.where(weights == 0, 0, taps)
    if not np.isfinite(taps).all():
        raise ValueError("template holds NaN or infinity: finite pixels are accepted, or a mask that leaves others out")
    return taps, weights


def _empty(shape: Shape, x: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """An array for a result, where x lives; of its dtype, or another."""
    module = backends.module("array", x) if placement.on_gpu(x) else backends.module("filtering")
    array: Array = module.empty(shape, dtype or x.dtype)
    return array


def _product(x: Array, weights: Array, y: Array, skip_zeros: bool = False) -> Array:
    """y[p, q] = sum over r, s, k of weights[r, s, k] x[p + r, q + s, k]."""
    correlate = backends.module("filtering", x).correlate
    borders = Border(x.shape[0], 0, 0), Border(x.shape[1], 0, 0)
    if placement.on_gpu(x):
        planes, filters = backends.module("template", x).planes(x), np.ascontiguousarray(np.moveaxis(weights, 2, 0))
        correlate(planes, filters, y.reshape(1, *y.shape), (Border(x.shape[2], 0, 0), *borders), 0.0, skip_zeros)
        return y
    correlate(x[..., 0], np.ascontiguousarray(weights[..., 0]), y, borders, 0.0, skip_zeros)
    if x.shape[2] > 1:
        part = _empty(y.shape, y)
        for k in range(1, x.shape[2]):
            correlate(x[..., k], np.ascontiguousarray(weights[..., k]), part, borders, 0.0, skip_zeros)
            y += part
    return y


@IEEE
def _score(method: str, x: Array, taps: Array, y: Array) -> None:
    """The scores of all windows.

    Products are those with the template less its mean, which do not change if anything is added to the image.
    """
    score, none = backends.module("template", x).score, np.zeros(x.shape[2])
    if method.startswith("ccorr"):
        _product(x, taps, y)
        if method == "ccorr_normed":
            score(method, x, taps, none, 0.0, y)
        return
    weights = taps - taps[0, 0]  # exactly 0 if all pixels are the same
    rest = np.add.reduce(weights, axis=(0, 1)) / (weights.shape[0] * weights.shape[1])
    weights -= rest
    offset, doubt = _offset(x), 0.0 if x.dtype == np.float64 else FAINT
    many = y.size >= LARGE and not placement.on_gpu(x)  # on a GPU, windows are met one by one at once
    if method == "ccoeff_normed" and doubt and many and _is_faint(x, taps.shape, offset):
        wide = _product(x, weights, _empty(y.shape, y, np.dtype(np.float64)))
        score(method, x, weights, offset, 0.0, wide)
        y[...] = wide
        return
    _product(x - placement.beside(offset.astype(x.dtype), x) if offset.any() else x, weights, y)
    if method == "ccoeff_normed":
        score(method, x, weights, offset, doubt, y)
    elif method != "ccoeff":
        score(method, x, weights, taps[0, 0] + rest, 0.0, y)


@IEEE
def _score_strips(method: str, x: Array, taps: Array, mask: Array, y: Array) -> None:
    """The scores of all windows under a mask."""
    strip, offset = max(1, STRIP // y.shape[1]), _offset(x)
    for top in range(0, len(y), strip):
        scores = y[top : top + strip]
        _score_masked(method, x[top : top + len(scores) + len(taps) - 1], taps, mask, offset, scores)


def _score_masked(method: str, x: Array, taps: Array, mask: Array, offset: Array, y: Array) -> None:
    """The scores of a strip's windows under a mask: their sums are products too, all of float64."""
    weights, total, double = np.square(mask), mask.sum(axis=(0, 1)), np.dtype(np.float64)
    share, centred = mask / np.where(total == 0, 1, total), taps
    if not method.startswith("ccorr"):
        centred = np.where(
            mask == 0, 0, taps - np.where(mask == 0, -np.inf, taps).max(axis=(0, 1))
        )  # 0 if all the same
        centred -= np.where(mask == 0, 0, (share * centred).sum(axis=(0, 1)))
    filters = weights * centred
    if method.startswith("ccoeff"):
        filters -= share * filters.sum(axis=(0, 1))
    else:
        offset = (share * (taps - centred)).sum(axis=(0, 1))
    less = x - offset
    product = _product(less, filters, _empty(y.shape, y, double), True)
    if method in ("ccorr", "ccoeff"):
        y[...] = product
        return
    square = _product(np.square(less), weights, _empty(y.shape, y, double), True)
    energy, slack = (weights * np.square(centred)).sum(), _slack(square, taps.size)
    if method == "ccoeff_normed":
        for k in range(x.shape[2]):
            pixels, inside, both = less[..., k : k + 1], _empty(y.shape, y, double), _empty(y.shape, y, double)
            _product(pixels, share[..., k : k + 1], inside, True)  # the windows' means
            _product(pixels, weights[..., k : k + 1], both, True)
            square += inside * (inside * weights[..., k].sum() - 2 * both)
    if method in ("ccorr_normed", "ccoeff_normed"):
        none = (square <= slack) | (energy == 0)
        y[...] = np.where(none, 0, np.clip(product / np.sqrt(square * energy), -1, 1))
        return
    difference = np.where(square == np.inf, square, np.maximum(square - 2 * product + energy, 0))
    if method == "sqdiff_normed":
        square = _product(np.square(x.astype(double)), weights, _empty(y.shape, y, double), True)
        norm = np.sqrt(square * (weights * np.square(taps)).sum())
        difference = np.where((square <= _slack(square, taps.size)) | (norm == 0), 1, difference / norm)
    y[...] = difference


def _slack(square: Array, size: int) -> float:
    """What a sum of so many squares may be by rounding alone."""
    return 4 * (size + 16) * 2.0**-53 * float(np.max(square, where=np.isfinite(square), initial=0))


def _is_faint(x: Array, size: Shape, offset: Array) -> bool:
    """Whether many of a sample of windows are too faint for sums of float32; those without contrast are not."""
    windows = sliding_window_view(x, size[:2], axis=(0, 1))  # (P, Q, C, R, S)
    rows, columns, found = *windows.shape[:2], []
    for row in windows[:: rows // SAMPLE + 1, :: columns // SAMPLE + 1]:
        less = row - offset[:, None, None]
        contrast = np.square(less - less.mean(axis=(2, 3), keepdims=True)).sum(axis=(1, 2, 3))
        found.append((contrast > 0) & (contrast < FAINT * np.square(less).sum(axis=(1, 2, 3))))
    return bool(np.mean(found) > MANY)


def _offset(x: Array) -> Array:
    """What is subtracted from the channels: about their means where these lie far from 0, as numbers of x's dtype."""
    step = len(x) // ROWS + 1
    rows = (backends.module("template", x).rows(x, step) if placement.on_gpu(x) else x[::step]).reshape(-1, x.shape[2])
    mean = np.add.reduce(rows, axis=0, dtype=np.float64) / len(rows)
    if not np.isfinite(mean).all():
        rows = np.where(np.isfinite(rows), rows, np.nan)
        count = np.maximum(np.isfinite(rows).sum(axis=0), 1)
        mean = np.nansum(rows, axis=0, dtype=np.float64) / count
        rows = np.where(np.isnan(rows), mean, rows)
    square = np.einsum("ik,ik->k", rows, rows, dtype=np.float64) / len(rows)
    far = square < mean * mean * (1 + 1 / FAR**2)
    return np.where(far, mean, 0).astype(x.dtype).astype(np.float64)


def _best(rank: Array, least: float) -> Array:
    """The place of the greatest number, the first of equals, if it is at least `least`."""
    place = rank.argmax()
    good = rank.flat[place] >= least and rank.flat[place] > -np.inf
    return np.array([place] if good else [], np.int64)


def _peaks(rank: Array, least: float, distance: list[int], most: int | None) -> Array:
    """The places of numbers that are the greatest within a distance and at least `least`, the greatest first."""
    reach = [min(d, extent) for d, extent in zip(distance, rank.shape, strict=True)]
    highest = ndimage.maximum_filter(rank, size=[2 * d - 1 for d in reach], mode="constant", cval=-np.inf)
    found = np.flatnonzero((rank == highest) & (rank >= least) & (rank > -np.inf))
    found = found[np.argsort(-rank.reshape(-1)[found], kind="stable")]
    free = np.ones(rank.shape, bool)
    kept: list[int] = []
    for place in found.tolist():  # of equal ones that are too near, those that come later are left out
        p, q = divmod(place, rank.shape[1])
        if len(kept) == most:
            break
        if free[p, q]:
            kept.append(place)
            free[max(p - reach[0] + 1, 0) : p + reach[0], max(q - reach[1] + 1, 0) : q + reach[1]] = False
    return np.array(kept, np.int64)


def _whole(value: Any, name: str) -> int:
    """An int of at least 1."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: an int is accepted") from None
    if number < 1:
        raise ValueError(f"{name} is {value!r}: an int of at least 1 is accepted")
    return number


def _distances(value: Any) -> list[int]:
    """Rows and columns, from an int for both or two."""
    pair = list(value) if np.ndim(value) else [value, value]
    if len(pair) != 2:
        raise ValueError(f"min_distance is {value!r}: an int is accepted, or one for rows and one for columns")
    return [_whole(number, "min_distance") for number in pair]
