"""ONNX Runtime: forward layers and whole models, as graphs whose weights are constants, as its users have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..case import Array, Case
from ..operations import by_rank
from . import Peer, Unsupported
from .networks_onnx import Graph, network

OPSET, IR_VERSION = 17, 8  # of 2022: whatever onnx is installed, the runtime beside it reads these
Inputs = dict[str, Array]
Options = dict[str, Any]


class OnnxRuntime:
    """Answers are arrays, and there when the call returns."""

    compiles = False

    def __init__(self, threads: int) -> None:
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.log_severity_level = 3

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def prepare(self, case: Case, inputs: Inputs) -> dict[str, Callable[[], Any]]:
        operation, rank = by_rank(case.operation)
        if operation not in OPERATIONS:
            raise Unsupported(f"ONNX Runtime has no {case.operation}")
        graph = OPERATIONS[operation](rank, inputs, case.options)
        return {"default": self.call(graph, inputs["x"])}

    def call(self, graph: Graph, x: Array) -> Callable[[], Any]:
        """A session's run."""
        kind = helper.np_dtype_to_tensor_dtype(x.dtype)
        assert kind in (TensorProto.FLOAT, TensorProto.DOUBLE)
        built = helper.make_graph(
            graph.nodes,
            "case",
            [helper.make_tensor_value_info("x", kind, x.shape)],
            [helper.make_tensor_value_info(graph.last, kind, None)],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(built, opset_imports=opset, ir_version=IR_VERSION)
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), self.options, providers=["CPUExecutionProvider"]
            )
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as problem:
            raise Unsupported(f"ONNX Runtime has it not in {x.dtype}") from problem
        names, feed = [graph.last], {"x": x}
        return lambda: session.run(names, feed)[0]

    def finish(self, answer: Any) -> Any:
        return answer

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        return {"y": np.asarray(answer)}


def peer(threads: int) -> Peer:
    """ONNX Runtime on so many threads."""
    return OnnxRuntime(threads)


def sides(padding: Any) -> list[int]:
    """Padding as ONNX has it, all befores and then all afters, from ints or pairs."""
    pairs = [(side, side) if isinstance(side, int) else side for side in padding]
    return [pair[end] for end in (0, 1) for pair in pairs]


def conv(rank: int, inputs: Inputs, options: Options) -> Graph:
    """Forward."""
    attributes = {"strides": options["stride"], "dilations": options["dilation"], "group": options["groups"]}
    graph = Graph()
    graph.add("Conv", [inputs["weight"]], pads=sides(options["padding"]), **attributes)
    return graph


def conv_transpose(rank: int, inputs: Inputs, options: Options) -> Graph:
    """Transposed convolution."""
    attributes = {"strides": options["stride"], "dilations": options["dilation"], "group": options["groups"]}
    graph, extra = Graph(), options["output_padding"]
    graph.add("ConvTranspose", [inputs["weight"]], pads=sides(options["padding"]), output_padding=extra, **attributes)
    return graph


def max_pool(rank: int, inputs: Inputs, options: Options) -> Graph:
    """The largest pixel of each window."""
    return pool("MaxPool", options)


def avg_pool(rank: int, inputs: Inputs, options: Options) -> Graph:
    """The mean of each window, the padding's zeros among it."""
    return pool("AveragePool", options, count_include_pad=1)


def pool(kind: str, options: Options, **more: Any) -> Graph:
    """Pooling."""
    graph, pads = Graph(), sides(options["padding"])
    graph.add(kind, [], kernel_shape=options["kernel_size"], strides=options["stride"], pads=pads, **more)
    return graph


def linear(rank: int, inputs: Inputs, options: Options) -> Graph:
    """Forward."""
    graph = Graph()
    graph.add("Gemm", [inputs["weight"], inputs["bias"]], transB=1)
    return graph


def infer(rank: int, inputs: Inputs, options: Options) -> Graph:
    """The model in evaluation."""
    return network(options["model"], str(inputs["x"].dtype))


OPERATIONS: dict[str, Callable[[int, Inputs, Options], Graph]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "linear": linear,
    "infer": infer,
}
