"""Calls of `ndimage` with one argument that is bad, or at least odd: drawn at random from a seed."""

from inspect import signature

import numpy as np
from image_calls import Call

from fastconv import ndimage

BAD = {
    "input": [
        np.ones((3, 4), np.float16), np.ones(5, np.longdouble), np.ones((2, 3), np.clongdouble), np.ones((0, 2), "f2"),
        np.array(["a", "b"]), np.ones((2, 2), object), np.zeros(3, "M8[s]"), np.zeros(2, "i4,f4"), None, "a",
        [[1, 2], [3]],
    ],
    "weights": [[], 1.0, np.ones((2, 2, 2, 2, 2)), "a", ["a"], None, [None], [[1], [2, 3]], object()],
    "footprint": [[], [[0, 0], [0, 0]], True, False, np.ones((2, 2, 2, 2, 2)), [[1], [2, 3]], [1, 0], "a", 0],
    "size": [0, -1, 2.5, "a", None, [3] * 7, [], 1j, [2.5, 2.5], [0, 3], ["a", "b"], np.array(3), np.array([3])],
    "sigma": [
        -1, -0.1, 0, 0.0, "a", "1", None, [1] * 7, [], 1j, ["a", 1], [None, 1], np.nan, np.inf, np.float32(1.5), True,
    ],
    "order": [-1, 1.5, "a", None, [0] * 7, [], 1j, [-1, 0], np.int64(1), True],
    "radius": [-1, 1.5, "a", [1] * 7, [], 1j, [-1, 1], np.int64(2), True, 0],
    "truncate": [-1, "a", None, np.nan, np.inf, 1j, [4.0], 0],
    "axis": [7, -7, 1.5, "a", None, [0], True],
    "axes": [
        7, -7, (7,), (0, 7), (0, 0), (0, -1, 0), 1.5, (0.5,), "a", ("a",), (), -1, 0, object(), (None,), (1, 0), [0, 1],
    ],
    "output": [
        np.zeros((3, 3, 1, 1, 3)), "foo", "bool", "?", "S3", "f2", "complex64", "M8[s]", np.float16, np.longdouble,
        np.complex64, object, str, [1, 2], 5, (1, 2), float, bool, int, complex, np.dtype("i4,f4"),
    ],
    "mode": [
        "foo", None, 5, b"reflect", ["reflect"] * 7, ["foo"], ("wrap", "foo"), [], ["wrap", "wrap"], "Reflect", "",
    ],
    "cval": ["a", "1", None, 1j, [1.0], [], object(), np.float32(2), True, np.nan, 10**400, np.array(1.0), b"1"],
    "origin": [
        99, -99, 0.5, "a", None, [0] * 7, [], [99, 0], 1j, True, [0.0, 0.0], np.int64(0), ["a"], [None, 0], [[0]],
    ],
    "extra": [1],
}  # fmt: skip


def spoil(rng, call):
    """A call with one argument that is bad, or at least odd."""
    parameters = list(signature(getattr(ndimage, call.name)).parameters)
    name = str(rng.choice([parameter for parameter in parameters if parameter in BAD] + ["extra"]))
    if name == "weights" and not np.ndim(call.arguments[0]):  # SciPy takes a filter without taps for one number
        name = "mode"
    if name == "output" and rng.random() < 0.4:
        return frozen_output(rng, call)
    value = BAD[name][rng.integers(len(BAD[name]))]
    arguments, options = list(call.arguments), dict(call.options)
    if name in ("cval", "origin"):  # SciPy loses the error where it copies the output back
        options.pop("output", None)
    place = parameters.index(name) if name in parameters else len(parameters)
    if place < len(arguments):
        arguments[place] = value
    else:
        options[name] = value
    return Call(call.name, arguments, options)


def frozen_output(rng, call):
    """A call whose output is read-only, or of a type that no filter writes."""
    x = np.asarray(call.arguments[0])
    array = np.zeros(x.shape, str(rng.choice(["f4", "f8", "u1", "c8", "f2", "g", "O"])))
    array.flags.writeable = array.dtype.kind in "cO" or array.dtype.char in "eg"
    return Call(call.name, list(call.arguments), call.options | {"output": array})
