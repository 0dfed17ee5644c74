"""Sizes as callers give them: one int for all axes, one for each, or pairs of them; ints and tuples of ints inside."""

from collections.abc import Callable, Sequence
from operator import index, is_
from typing import Any

from fastconv.typing import Pairs, Shape

KNOWN = 4096  # pairs of shapes, at most, of which a table has the last arguments


def hashable(value: Any, name: str) -> Any:
    """`value` as ints, strings and tuples of them, so that it can key a cache; itself, if it is that already.

    Anything else is a TypeError.
    """
    if type(value) is int or isinstance(value, str):
        return value
    if type(value) is tuple:  # as most often: nothing to convert
        for item in value:
            if type(item) is not int:
                break
        else:
            return value
    if hasattr(value, "__iter__"):
        items = tuple([hashable(item, name) for item in value])
        return value if type(value) is tuple and all(map(is_, items, value)) else items
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: an int is accepted, or a sequence of them") from None


def settled(
    known: dict[Any, Any], shapes: Any, make: Callable[..., Any], names: Sequence[str], given: tuple[Any, ...]
) -> Any:
    """What is made of two shapes and what is given, which is `known` from now on if it can't change."""
    values = [*map(hashable, given, names)]
    found = make(*shapes, *values)
    if all(map(is_, values, given)):
        if len(known) >= KNOWN:
            known.clear()
        known[shapes] = found, *given
    return found


def per_axis(value: object, rank: int, name: str, least: int) -> Shape:
    """One int for each axis, from one int for all or one for each; none below `least`."""
    value = hashable(value, name)
    sizes = (value,) * rank if isinstance(value, int) else value
    if isinstance(sizes, tuple) and len(sizes) == 1:
        sizes = sizes * rank
    accepted = f"an int of at least {least} is accepted, or {rank} of them"
    if not isinstance(sizes, tuple) or len(sizes) != rank or not all(isinstance(s, int) for s in sizes):
        raise ValueError(f"{name} is {value!r}: {accepted}")
    if min(sizes) < least:
        raise ValueError(f"{name} is {value!r}: {accepted}")
    return sizes


def explicit_pairs(padding: object, rank: int, name: str) -> Pairs:
    """(before, after) for each axis from an int, an int for each axis, or a pair for each axis."""
    sides = (padding,) * rank if isinstance(padding, int) else padding
    if isinstance(sides, tuple):
        if len(sides) == 1:
            sides = sides * rank
        pairs = tuple((side, side) if isinstance(side, int) else side for side in sides)
        if len(pairs) == rank and all(
            isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(p, int) and p >= 0 for p in pair)
            for pair in pairs
        ):
            return pairs
    raise ValueError(
        f"{name} is {padding!r}: 'valid' and 'same' are accepted, and ints of at least 0: one, {rank} (one for each "
        f"axis) or {rank} pairs (before, after)"
    )
