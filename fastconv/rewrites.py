"""Rewrites of a network's graph: it computes the same afterwards, with fewer or cheaper operations.

Each is a function of a graph that changes it in place; `rewritten` applies all. Ties apart, where one is noted, results
are those of the graph before within rounding.
"""

from __future__ import annotations

from fastconv.graph import Graph, Value

MONOTONE = {"relu", "tanh", "sigmoid"}


def rewritten(graph: Graph) -> Graph:
    """The graph after all rewrites."""
    pool_before_activation(graph)
    fuse_rectifiers(graph)
    return graph


def fuse_rectifiers(graph: Graph) -> None:
    """relu of a batch normalisation or a sum is computed with it, in one pass."""
    for relu in list(graph.values):
        if relu.operation != "relu" or relu.inputs[0].operation not in {"add", "batch_norm"}:
            continue
        (before,) = relu.inputs
        if len(graph.users(before)) > 1 or before is graph.output:
            continue
        before.options["relu"] = True
        graph.replace(relu, before)


def pool_before_activation(graph: Graph) -> None:
    """max pooling of f(x) becomes f of the pooled x, for f that grow: f of fewer numbers.

    Where f gives the same for several of a window's numbers, as tanh does for large ones, the gradient goes to the
    largest of them instead of the first.
    """
    for pool in list(graph.values):
        if pool.operation != "max_pool" or pool.inputs[0].operation not in MONOTONE:
            continue
        activation = pool.inputs[0]
        if len(graph.users(activation)) > 1 or activation is graph.output:
            continue
        pool.inputs = list(activation.inputs)
        after = Value(activation.operation, [], pool.shape)
        graph.replace(activation, pool)
        graph.replace(pool, after, keep=True)
        after.inputs = [pool]
        graph.values.insert(graph.values.index(pool) + 1, after)
