"""Losses and their gradients with respect to x; names, arguments and defaults are `torch.nn.functional`'s.

`reduction` is "mean", "sum" or "none" (a loss for each element). A gradient takes grad_output first: None or a number
for "mean" and "sum" (None is 1), an array of the loss's shape for "none".
"""

from math import prod
from typing import Any

import numpy as np

from fastconv import arguments, backends, placement
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike, Shape

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_input_grad",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_input_grad",
    "cross_entropy",
    "cross_entropy_input_grad",
    "l1_loss",
    "l1_loss_input_grad",
    "mse_loss",
    "mse_loss_input_grad",
]

REDUCTIONS = ("none", "mean", "sum")
PAIRWISE = ("x", "target", "weight", "pos_weight")  # what losses of single numbers take: two, three or all


def cross_entropy(
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of scores against classes or against probabilities (PyTorch's cross_entropy).

    With class indices the loss of a sample is -weight[target] log_softmax(x)[target]; with probabilities it is
    -sum over c of weight[c] target[c] log_softmax(x)[c].

    Parameters
    ----------
    x : array (C,), (N, C) or (N, C, *spatial), float32, float64 or float16
        The scores of C classes, before any softmax.
    target : array of integers without x's axis of classes, or array of x's shape and dtype
        Classes from 0 to C - 1 (or ignore_index), or probabilities.
    weight : array (C,), dtype of x, optional
        Of each class.
    ignore_index : int
        The class that does not count; for probabilities it must be negative, and means nothing.
    reduction : {"mean", "sum", "none"}
        The mean is over the weights of the samples' classes; over the number of samples for probabilities.
    label_smoothing : float from 0 to 1
        The part of each target that is spread evenly over all classes.

    Returns
    -------
    number of x's dtype, or for "none" an array of x's shape without the classes

    Raises
    ------
    TypeError
        If a dtype is not accepted.
    ValueError
        If the shapes do not fit, a label or an option is out of range.

    References
    ----------
    Goodfellow, Bengio, Courville, "Deep Learning", 2016, section 6.2.2; Szegedy et al., "Rethinking the Inception
    architecture for computer vision", 2016 (label smoothing).

    Examples
    --------
    >>> import numpy as np
    >>> float(np.exp(-cross_entropy(np.log([[1.0, 3.0]]), np.array([1]))).round(6))
    0.75
    """
    smoothing, ignored = _options(reduction, label_smoothing, ignore_index)
    dtype, shape, arrays, soft = _classes(x, target, weight, ignored)
    module = backends.module("loss", arrays[0])
    if soft:
        return _result(module.soft_cross_entropy(*arrays, reduction, smoothing), reduction, shape, dtype)
    return _result(module.cross_entropy(*arrays, ignored, reduction, smoothing), reduction, shape, dtype)


def cross_entropy_input_grad(
    grad_output: ArrayLike | None,
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Gradient of `cross_entropy` with respect to x: for one plain sample softmax(x), less 1 at the target.

    >>> import numpy as np
    >>> cross_entropy_input_grad(None, np.log([[1.0, 3.0]]), np.array([1]))
    array([[ 0.25, -0.25]])
    """
    smoothing, ignored = _options(reduction, label_smoothing, ignore_index)
    dtype, shape, arrays, soft = _classes(x, target, weight, ignored)
    grad = _seed(grad_output, reduction, shape, dtype)
    grad = grad if isinstance(grad, float) else grad.reshape(arrays[0].shape[0], arrays[0].shape[2])
    module = backends.module("loss", arrays[0])
    if soft:
        grad_x = module.soft_cross_entropy_input_grad(grad, *arrays, reduction, smoothing)
    else:
        grad_x = module.cross_entropy_input_grad(grad, *arrays, ignored, reduction, smoothing)
    return checks.back(grad_x.reshape(np.shape(x)), dtype)


def mse_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """Squared error: (x - target)², its mean or its sum (PyTorch's mse_loss).

    Parameters
    ----------
    x : array of any shape, float32, float64 or float16
    target : array, shape and dtype of x
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    number of x's dtype, or for "none" an array of x's shape

    Raises
    ------
    TypeError
        If a dtype is none of the three, or the two differ.
    ValueError
        If the shapes differ, or the reduction is another.

    References
    ----------
    Bishop, "Pattern recognition and machine learning", 2006, section 1.1.

    Examples
    --------
    >>> import numpy as np
    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0])))
    4.5
    """
    return _value("mse_loss", reduction, x, target)


def mse_loss_input_grad(
    grad_output: ArrayLike | None, x: ArrayLike, target: ArrayLike, reduction: str = "mean"
) -> Array:
    """Gradient of `mse_loss` with respect to x: 2 (x - target) grad_output, over their number for "mean".

    >>> import numpy as np
    >>> mse_loss_input_grad(None, np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    array([ 0., -3.])
    """
    return _gradient("mse_loss", grad_output, reduction, x, target)


def l1_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """Absolute error: |x - target|, its mean or its sum (PyTorch's l1_loss); arguments as in `mse_loss`.

    >>> import numpy as np
    >>> float(l1_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0])))
    1.5
    """
    return _value("l1_loss", reduction, x, target)


def l1_loss_input_grad(
    grad_output: ArrayLike | None, x: ArrayLike, target: ArrayLike, reduction: str = "mean"
) -> Array:
    """Gradient of `l1_loss` with respect to x: sign(x - target) grad_output, 0 where they are equal.

    >>> import numpy as np
    >>> l1_loss_input_grad(None, np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    array([ 0. , -0.5])
    """
    return _gradient("l1_loss", grad_output, reduction, x, target)


def binary_cross_entropy(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> Any:
    """Cross-entropy of probabilities: -weight (target log x + (1 - target) log(1 - x)), logarithms at least -100.

    Parameters
    ----------
    x : array of any shape, float32, float64 or float16
        Probabilities, from 0 to 1.
    target : array, shape and dtype of x
        From 0 to 1.
    weight : array that broadcasts to x's shape, dtype of x, optional
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    number of x's dtype, or for "none" an array of x's shape

    Raises
    ------
    TypeError
        If a dtype is none of the three, or not x's.
    ValueError
        If the shapes do not fit, or x or target is not from 0 to 1.

    References
    ----------
    Bishop, "Pattern recognition and machine learning", 2006, section 4.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy(np.array([0.5, 0.0]), np.array([1.0, 1.0]), reduction="none").round(4)
    array([  0.6931, 100.    ])
    """
    return _value("binary_cross_entropy", reduction, x, target, weight)


def binary_cross_entropy_input_grad(
    grad_output: ArrayLike | None,
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Array:
    """Gradient of `binary_cross_entropy` with respect to x: (x - target) / max(x (1 - x), 1e-12) grad_output.

    >>> import numpy as np
    >>> binary_cross_entropy_input_grad(None, np.array([0.5, 0.75]), np.array([1.0, 0.0]), reduction="sum")
    array([-2.,  4.])
    """
    return _gradient("binary_cross_entropy", grad_output, reduction, x, target, weight)


def binary_cross_entropy_with_logits(
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Any:
    """`binary_cross_entropy` of sigmoid(x) without overflow (PyTorch's binary_cross_entropy_with_logits).

    weight ((1 - target) x + (1 + (pos_weight - 1) target) log(1 + exp(-x))). x and target may be any numbers;
    pos_weight, which broadcasts to x's shape, multiplies the part of the loss that target does; the rest is as there.

    >>> import numpy as np
    >>> binary_cross_entropy_with_logits(np.array([0.0, -1000.0]), np.array([0.0, 1.0]), reduction="none").round(4)
    array([6.931e-01, 1.000e+03])
    """
    return _value("binary_cross_entropy_with_logits", reduction, x, target, weight, pos_weight)


def binary_cross_entropy_with_logits_input_grad(
    grad_output: ArrayLike | None,
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Array:
    """Gradient of `binary_cross_entropy_with_logits` with respect to x: (sigmoid(x) - target) grad_output, weighted.

    >>> import numpy as np
    >>> binary_cross_entropy_with_logits_input_grad(None, np.array([0.0]), np.array([1.0]))
    array([-0.5])
    """
    return _gradient("binary_cross_entropy_with_logits", grad_output, reduction, x, target, weight, pos_weight)


def _options(reduction: object, label_smoothing: object, ignore_index: object) -> tuple[float, int]:
    """The options of cross-entropy: the smoothing and the ignored class."""
    checks.choice(reduction, "reduction", REDUCTIONS)
    ignored = arguments.hashable(ignore_index, "ignore_index")
    if not isinstance(ignored, int):
        raise TypeError(f"ignore_index is {ignore_index!r}: an int is accepted")
    return checks.fraction(label_smoothing, "label_smoothing"), ignored


def _classes(x: Any, target: Any, weight: Any, ignored: int) -> tuple[np.dtype[Any], Shape, list[Any], bool]:
    """dtype, the losses' shape, x, target and weight with x (N, C, pixels), and whether targets are probabilities."""
    dtype, (x, weight) = checks.floats({"weight"}, x=x, weight=weight)
    if x.ndim == 0:
        raise ValueError("x is one number, without axes: (C,), (N, C) or (N, C, *spatial) is accepted")
    batched = x.shape if x.ndim > 1 else (1, *x.shape)
    shape = (*x.shape[:1], *x.shape[2:]) if x.ndim > 1 else ()
    flat, pixels = (*batched[:2], prod(batched[2:])), (batched[0], prod(batched[2:]))
    if weight is not None:
        checks.shaped(weight, batched[1:2], "weight")
    placement.together(x=x, target=target)
    target, soft = placement.as_array(target), np.shape(target) == x.shape
    if soft:
        target = _soft_target(target, dtype, ignored)
        return dtype, shape, [x.reshape(flat), target.reshape(flat), weight], soft
    if target.dtype.kind == "f":
        raise TypeError(
            f"target is {target.dtype} of shape {target.shape}: integers of shape {shape} (classes) are accepted, or "
            f"probabilities of x's shape {x.shape}"
        )
    target = checks.integers(target, "target")
    checks.shaped(target, shape, "target")
    _labels(target, batched[1], ignored)
    return dtype, shape, [x.reshape(flat), target.reshape(pixels), weight], soft


def _labels(target: Array, classes: int, ignored: int) -> None:
    """Raise unless all labels are classes, or ignored."""
    if not isinstance(target, np.ndarray):
        if target.min(initial=0) >= 0 and target.max(initial=0) < classes:
            return
        target = placement.to_host(target)  # some are ignored, or wrong
    wrong = target[(target != ignored) & ((target < 0) | (target >= classes))]
    if wrong.size:
        raise ValueError(
            f"target has the label {wrong[0]}: 0 to {classes - 1} is accepted, or the ignore_index {ignored}"
        )


def _soft_target(target: Array, dtype: np.dtype[Any], ignored: int) -> Any:
    """Probabilities of x's dtype, with which no class can be ignored."""
    if target.dtype.kind != "f":
        raise TypeError(
            f"target is {target.dtype} of x's shape {target.shape}: there {dtype} is accepted (probabilities); classes "
            "are integers without x's axis of classes"
        )
    given, (array,) = checks.floats(target=target)
    if given != dtype:
        raise TypeError(f"target is {given}, x is {dtype}: one dtype for both is accepted")
    if ignored >= 0:
        raise ValueError(
            f"ignore_index is {ignored}: with probabilities a negative int, which means nothing, is accepted"
        )
    return array


def _value(name: str, reduction: str, *given: object) -> Any:
    """The backend's loss of that name, of `PAIRWISE` arguments; what follows weight it takes after the reduction."""
    dtype, arrays = _elements(name, reduction, given)
    loss = getattr(backends.module("loss", arrays[0]), name)(*arrays[:3], reduction, *arrays[3:])
    return _result(loss, reduction, arrays[0].shape, dtype)


def _gradient(name: str, grad_output: Any, reduction: str, *given: object) -> Array:
    """The gradient of such a loss with respect to x."""
    dtype, arrays = _elements(name, reduction, given)
    grad = _seed(grad_output, reduction, arrays[0].shape, dtype)
    function = getattr(backends.module("loss", arrays[0]), f"{name}_input_grad")
    return checks.back(function(grad, *arrays[:3], reduction, *arrays[3:]).reshape(arrays[0].shape), dtype)


def _elements(name: str, reduction: object, given: tuple[object, ...]) -> tuple[np.dtype[Any], list[Any]]:
    """The arguments' dtype, x and target of one shape, and each weight spread to it."""
    checks.choice(reduction, "reduction", REDUCTIONS)
    dtype, (x, target, *weights) = checks.floats(PAIRWISE[2:], **dict(zip(PAIRWISE, given, strict=False)))
    checks.shaped(target, x.shape, "target")
    named = zip(PAIRWISE[2:], weights, strict=False)
    spread = [None if weight is None else checks.spread(weight, x.shape, which) for which, weight in named]
    if name == "binary_cross_entropy":
        _probabilities(x=x, target=target)
    return dtype, [x, target, *spread]


def _probabilities(**arguments: Array) -> None:
    """Raise unless all numbers are from 0 to 1."""
    for name, array in arguments.items():
        if isinstance(array, np.ndarray):
            wrong = array[(array < 0) | (array > 1)]  # NaN is neither: it travels
        else:
            wrong = np.array([v for v in (array.min(initial=0), array.max(initial=1)) if v < 0 or v > 1])
        if wrong.size:
            raise ValueError(f"{name} has the value {wrong[0]}: 0 to 1 is accepted")


def _seed(grad_output: Any, reduction: str, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """grad_output as a float for a loss that is one number, else as an array of the losses' shape."""
    if reduction != "none":
        array = placement.to_host(1.0 if grad_output is None else grad_output)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"grad_output is {array.dtype}: a real number or None is accepted")
        checks.shaped(array, (), "grad_output")
        return float(array)
    if grad_output is None:
        raise ValueError(f"grad_output is None: an array of the losses' shape {shape} is accepted for reduction 'none'")
    given, (grad,) = checks.floats(grad_output=grad_output)
    if given != dtype:
        raise TypeError(f"grad_output is {given}, x is {dtype}: one dtype for both is accepted")
    checks.shaped(grad, shape, "grad_output")
    return grad


def _result(loss: Any, reduction: str, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """The losses as an array, or the loss as a number, of the caller's dtype."""
    if reduction == "none":
        return checks.back(placement.as_array(loss).reshape(shape), dtype)
    with np.errstate(over="ignore"):  # a sum beyond the dtype's range is infinite
        return dtype.type(loss)
