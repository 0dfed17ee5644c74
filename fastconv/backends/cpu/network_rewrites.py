"""Rewrites of a network's graph that this backend's kernels call for; see `fastconv.rewrites`."""

from __future__ import annotations

from fastconv.backends.cpu import exponentials
from fastconv.backends.cpu.algorithms import choose
from fastconv.graph import Graph, Value

KINDS = {"relu": exponentials.RELU, "tanh": exponentials.TANH, "sigmoid": exponentials.SIGMOID}


def rewrite(graph: Graph, training: bool, threads: int) -> None:
    """All of them."""
    if not training:
        fold_batch_norm(graph)
    pool_on_the_store(graph, threads)


def fold_batch_norm(graph: Graph) -> None:
    """In evaluation a batch normalisation scales and shifts channels: the filters before it do that as well."""
    for normalised in list(graph.values):
        if normalised.operation != "batch_norm" or normalised.inputs[0].operation != "convolution":
            continue
        (convolution,) = normalised.inputs
        taken = "batch_norm" in convolution.options  # by another one, right before this
        if taken or len(graph.users(convolution)) > 1 or convolution is graph.output:
            continue
        convolution.options["batch_norm"] = normalised.options["module"]
        convolution.parameters |= {f"batch_norm_{name}": p for name, p in normalised.parameters.items()}
        if normalised.options.get("relu", False):
            normalised.operation, normalised.parameters, normalised.options = "relu", {}, {}
        else:
            graph.replace(normalised, convolution)


def pool_on_the_store(graph: Graph, threads: int) -> None:
    """A convolution whose pixels only a maximum pooling of 2x2 sees, and an activation of that, become one operation.

    It keeps for each maximum which of four pixels it was, so that the gradients skip the other three. Of several
    largest pixels the first one wins, as in pooling by itself.
    """
    for pool in list(graph.values):
        convolution = pool.inputs[0] if pool.operation == "max_pool" else graph.input
        if convolution.operation != "convolution" or not is_fused(graph, convolution, pool, threads):
            continue
        users, kind, last = graph.users(pool), exponentials.NONE, pool
        if len(users) == 1 and users[0].operation in KINDS and pool is not graph.output:
            (last,) = users
            kind = KINDS[last.operation]
        options = convolution.options | {"kind": kind}
        fused = Value("pooled_convolution", list(convolution.inputs), last.shape, convolution.parameters, options)
        graph.values.insert(graph.values.index(last), fused)
        graph.replace(last, fused)
        for value in (pool, convolution):
            if value is not last:
                graph.values.remove(value)


def is_fused(graph: Graph, convolution: Value, pool: Value, threads: int) -> bool:
    """Whether the kernel takes these two, and no faster algorithm would be lost."""
    geometry, windows = convolution.options["geometry"], pool.options["geometry"]
    ones, twos = (1, 1), (2, 2)
    plain = geometry.stride == geometry.dilation == ones and geometry.groups == 1
    tiled = windows.kernel_size == windows.stride == twos and windows.dilation == ones
    whole = all(pad == (0, 0) for pad in windows.padding) and all(
        2 * q <= p for q, p in zip(windows.output_size, windows.input_size, strict=True)
    )
    alone = len(graph.users(convolution)) == 1 and convolution is not graph.output
    if not (plain and tiled and whole and alone):
        return False
    return choose(geometry, "forward", graph.dtype.itemsize, threads) == "direct"
