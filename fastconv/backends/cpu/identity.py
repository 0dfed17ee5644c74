"""What tells apart the functions that are compiled, and the values that they freeze; the same text in every process."""

from __future__ import annotations

import dataclasses
import dis
import enum
import hashlib
import sys
import types
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir

VERSIONED = {"numba", "llvmlite", "numpy", *sys.stdlib_module_names}  # their versions are told elsewhere
PLAIN = (bool, int, float, complex, str, bytes, np.generic, np.dtype, types.NoneType, types.EllipsisType, range, slice)


def identity(value: object, seen: set[int] | None = None) -> str:
    """A text for a function with all that it uses, or for a value that a function freezes.

    Raises
    ------
    TypeError
        For a value of a kind that has none: code that freezes it can't be kept.
    """
    seen = set() if seen is None else seen
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, numba.types.Type | ir.Type):
        return str(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes()!r}"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(identity(item, seen) for item in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(identity(item) for item in value))}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {identity(value[key], seen)}' for key in sorted(value))}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__qualname__}({identity(vars_of(value), seen)})"
    if isinstance(value, types.ModuleType | type):
        return value.__name__
    return _function(value, seen)


def _versioned(module: str) -> bool:
    return module.partition(".")[0] in VERSIONED


def vars_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _function(value: Any, seen: set[int]) -> str:
    """A function: its code, its options, and what it uses; by name alone where a version tells its code."""
    options = identity(getattr(value, "targetoptions", None), seen)
    function = value
    for inside in ("py_func", "_defn", "__wrapped__"):  # of a dispatcher, an intrinsic, a cached function
        function = getattr(function, inside, None) or function
    if isinstance(function, types.BuiltinFunctionType | np.ufunc):
        return function.__name__
    if isinstance(function, types.MethodType):
        return _function(function.__func__, seen)
    if not isinstance(function, types.FunctionType):
        if type(value).__module__.partition(".")[0] in ("numba", "typing"):
            return str(value)
        raise TypeError(f"{value!r} is frozen in a kernel")
    name = f"{function.__module__}.{spelled(function)}{options}"
    if id(function) in seen or _versioned(function.__module__):
        return name
    seen.add(id(function))
    frozen = [
        function.__defaults__,
        function.__kwdefaults__,
        [cell.cell_contents for cell in function.__closure__ or ()],
    ]
    return name + _code(function.__code__) + identity(frozen, seen) + identity(_used(function), seen)


def spelled(function: types.FunctionType) -> str:
    """A function's qualified name, as it was before `name_apart`."""
    return str(getattr(function, "spelled", function.__qualname__))


def name_apart(value: Any) -> None:
    """Give a dispatcher's function, and those it freezes, names that no other function has in any process.

    The machine code of a function goes by its name and a number that each process counts for itself: two closures of
    one factory, compiled in two processes, would meet under one name in a third one that loads both.
    """
    function = getattr(value, "py_func", None)
    if function is None or not function.__closure__ or hasattr(function, "spelled"):
        return
    digest = hashlib.sha256(identity(value).encode()).hexdigest()[:16]
    function.spelled = function.__qualname__
    function.__qualname__ = f"{function.__qualname__}.{digest}"
    for cell in function.__closure__:
        name_apart(cell.cell_contents)


@cache
def _code(code: types.CodeType) -> str:
    """Instructions and constants."""
    constants = [_code(c) if isinstance(c, types.CodeType) else identity(c) for c in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))


@cache
def _names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that code, or code within it, uses, and all names in it."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    attributes = set(code.co_names)
    for inside in code.co_consts:
        if isinstance(inside, types.CodeType):
            names |= _names(inside)[0]
            attributes |= _names(inside)[1]
    return frozenset(names), frozenset(attributes)


def _used(function: types.FunctionType) -> dict[str, Any]:
    """The global names that a function uses, and those of modules that have no version of their own here."""
    names, attributes = _names(function.__code__)
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, module in list(used.items()):
        if isinstance(module, types.ModuleType) and not _versioned(module.__name__):
            used |= {f"{name}.{inside}": getattr(module, inside) for inside in attributes if hasattr(module, inside)}
    return used
