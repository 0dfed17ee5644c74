"""ONNX graphs, and the four models as such, with fastconv's weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from .. import networks
from ..case import Array
from ..networks import Layer
from . import Unsupported

SIMPLE = {"ReLU": "Relu", "Tanh": "Tanh", "Sigmoid": "Sigmoid", "Identity": "Identity", "Flatten": "Flatten"}


class Graph:
    """Nodes that begin at "x".

    Attributes
    ----------
    nodes : list
        In the order in which they run.
    constants : dict
        Arrays by name.
    last : str
        The value that the last node gave.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.last = "x"

    def add(self, kind: str, constants: list[Array], values: list[str] | None = None, **attributes: Any) -> str:
        """A node of the last value, or of the given ones, and of constants; its value's name."""
        names = [f"c{len(self.constants) + i}" for i in range(len(constants))]
        self.constants |= dict(zip(names, constants, strict=True))
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*(values or [self.last]), *names], [output], **attributes))
        self.last = output
        return output


def network(model: str, dtype: str) -> Graph:
    """One of the four models in evaluation."""
    source, graph = networks.build(model, dtype), Graph()
    translate(graph, networks.described(source), source.state_dict())
    return graph


def translate(graph: Graph, layer: Layer, state: dict[str, Array]) -> None:
    """Add a layer and all below it."""
    if layer.kind == "Sequential":
        for child in layer.children:
            translate(graph, child, state)
    elif layer.children:
        start, found = graph.last, []
        for child in layer.children:
            graph.last = start
            translate(graph, child, state)
            found.append(graph.last)
        if layer.kind == "Concat":
            graph.add("Concat", [], found, axis=1)
        else:
            graph.add("Add", [], [found[0], found[1] if len(found) > 1 else start])
    else:
        leaf(graph, layer, state)


def leaf(graph: Graph, layer: Layer, state: dict[str, Array]) -> None:
    """Add a layer that computes."""
    options = layer.options
    arrays = [state[layer.key(name)] for name in ("weight", "bias") if layer.key(name) in state]
    pads = [pair[end] for end in (0, 1) for pair in networks.padding_pairs(options.get("padding", 0))]
    if layer.kind in ("Conv2d", "ConvTranspose2d"):
        attributes = {"strides": options["stride"], "dilations": options["dilation"], "group": options["groups"]}
        if layer.kind == "ConvTranspose2d":
            attributes["output_padding"] = options["output_padding"]
        graph.add(layer.kind.removesuffix("2d"), arrays, pads=pads, **attributes)
    elif layer.kind == "Linear":
        graph.add("Gemm", arrays, transB=1)
    elif layer.kind == "BatchNorm2d":
        statistics = [state[layer.key(f"running_{name}")] for name in ("mean", "var")]
        graph.add("BatchNormalization", [*arrays, *statistics], epsilon=options["eps"])
    elif layer.kind == "MaxPool2d":
        graph.add("MaxPool", [], kernel_shape=options["kernel_size"], strides=options["stride"], pads=pads)
    elif layer.kind == "AvgPool2d":
        window = {"kernel_shape": options["kernel_size"], "strides": options["stride"], "pads": pads}
        graph.add("AveragePool", [], count_include_pad=1, **window)
    elif layer.kind == "Unflatten":
        graph.add("Reshape", [np.array([0, *options["unflattened_size"]], np.int64)])
    elif layer.kind in SIMPLE:
        graph.add(SIMPLE[layer.kind], [])
    else:
        raise Unsupported(f"the ONNX peer has no {layer.kind}")
