"""What every layer and every network is: something that computes forward, and its gradient backward.

A layer is written as a class with two methods. `forward(x)` returns y and calls `keep` with whatever the gradient will
need. `backward(grad_output)` takes that back with `kept`, adds to its parameters' gradients and returns the gradient
with respect to x. Attributes do the rest: those that are a `Parameter` are trained, those that are a `Module` are
children, and those that `buffers` names are saved beside the parameters. Their order is that of their definition.

    class Scale(Module):
        def __init__(self):
            self.factor = Parameter(np.ones(1))

        def forward(self, x):
            self.keep(x)
            return self.factor.data * x

        def backward(self, grad_output):
            (x,) = self.kept()
            self.factor.add_grad(np.array([(grad_output * x).sum()]))
            return self.factor.data * grad_output
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import indent
from typing import Any, Self

import numpy as np

from fastconv import binding, placement
from fastconv.graph import Graph, Value, structure
from fastconv.nn import checks
from fastconv.nn.parameter import Parameter
from fastconv.nn.storage import load_arrays, save_arrays
from fastconv.nn.summary import table
from fastconv.typing import Array, Shape

# The outermost call of a module that is under way here: what is kept belongs to one such call.
_call: ContextVar[object | None] = ContextVar("the outermost call of a module", default=None)


@contextmanager
def calling() -> Iterator[None]:
    """One call of a network: what its layers keep meanwhile belongs together."""
    token = _call.set(object())
    try:
        yield
    finally:
        _call.reset(token)


PASSING = {"_kept", "_kept_in", "_bindings"}  # attributes that change from call to call


class Module:
    """The base of every layer and network: see this file's first lines for how one is written.

    Attributes
    ----------
    training : bool
        True at the start, and what `train` and `eval` set. In evaluation `forward` keeps nothing, Dropout lets
        everything through and BatchNorm normalises with its running statistics.
    buffers : tuple of str
        Names of the attributes that hold arrays which are saved but not trained; of the class.
    """

    training: bool = True
    _bindings: binding.Bindings | None = None
    buffers: tuple[str, ...] = ()
    _kept: tuple[tuple[Any, ...], ...] = ()
    _kept_in: object | None = None

    def forward(self, x: Array) -> Array:
        """y, computed from x."""
        raise NotImplementedError(f"{type(self).__name__} has no forward: a Module defines it")

    def backward(self, grad_output: Array) -> Array:
        """The loss's gradient with respect to x, from that with respect to y; adds to each `parameter.grad`.

        It belongs to the last `forward`, and once to each. RuntimeError if that was in evaluation.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward: a Module defines it")

    def __call__(self, x: Array) -> Array:
        """The same as `forward(x)`."""
        if _call.get() is not None:
            return self.forward(x)
        if not self.training and isinstance(x, np.ndarray) and next(self.named_children(), None) is not None:
            y = binding.evaluated(self, bind, x)
            if y is not None:
                return y
        with calling():
            return self.forward(x)

    def bind(self, graph: Graph, x: Value) -> Value:
        """Add what `forward` does to a graph: y, for an x of one shape, so that it can run without its layers.

        A layer that does not define it is called as it is, from within the network.
        """
        return graph.layer(self, x)

    def bound_to(self) -> list[Any]:
        """The attributes that `bind` looks at, which a bound network depends on: all, or those that hold parameters."""
        own = {name: value for name, value in vars(self).items() if name not in PASSING and name != "training"}
        called = type(self).bind is Module.bind
        return [value for value in own.values() if not called or isinstance(value, Module | Parameter)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in PASSING and vars(self).get(name, structure) is not value:
            structure.changes += 1
        object.__setattr__(self, name, value)

    def keep(self, *values: Any) -> None:
        """Keep what `backward` will need; in evaluation, nothing.

        A layer that a network uses twice keeps twice in one call of the network, and `backward`, which meets the
        layers in reverse, takes the last first. A new call forgets what an earlier one left.
        """
        call = _call.get()
        if call is None or call is not self._kept_in:
            self._kept = ()
        self._kept, self._kept_in = ((*self._kept, values), call) if self.training else ((), None)

    def kept(self) -> tuple[Any, ...]:
        """What the last `keep` was given; a second `kept` needs a second `keep`."""
        if not self._kept:
            why = (
                "backward needs a forward in training mode before it, one for each call"
                if self.training
                else "in evaluation forward keeps nothing for backward: call train() before forward"
            )
            raise RuntimeError(f"{self!r}: {why}")
        self._kept, last = self._kept[:-1], self._kept[-1]
        return last

    def train(self, mode: bool = True) -> Self:
        """Go to training, here and in all children; `train(False)` is `eval()`."""
        mode = checks.flag(mode, "mode")
        for _, module in self.named_modules():
            module.training = mode
            if not mode:
                module._kept = ()
        return self

    def eval(self) -> Self:
        """Go to evaluation, here and in all children."""
        return self.train(False)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of the attributes that are modules; containers number theirs."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) of this module, whose name is empty, and all below it, each once."""
        seen: set[int] = set()
        for name, module in self._tree(""):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def _tree(self, name: str) -> Iterator[tuple[str, "Module"]]:
        """As `named_modules`, but a module that is used twice comes under each of its names."""
        yield name, self
        for child_name, child in self.named_children():
            yield from child._tree(f"{name}.{child_name}" if name else child_name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of all parameters, each once."""
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{prefix}.{name}" if prefix else name, value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once: what an optimizer takes."""
        return [parameter for _, parameter in self.named_parameters()]

    def to_device(self) -> Self:
        """Move all parameters, gradients and buffers to the GPU: there the layers compute then, on arrays there.

        Raises BackendUnavailableError if there is none. Optimizers, whose state follows, stay valid.
        """
        return self._move("to_device")

    def to_host(self) -> Self:
        """Move all parameters, gradients and buffers back to the computer's memory."""
        return self._move("to_host")

    def _move(self, where: str) -> Self:
        for parameter in self.parameters():
            getattr(parameter, where)()
        for _, module in self.named_modules():
            for name in module.buffers:
                array = getattr(module, name)
                if array is not None and array.dtype.kind == "f":  # counts are the host's business
                    setattr(module, name, getattr(placement, where)(array))
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, with PyTorch's keys, order and layouts.

        >>> from fastconv import nn
        >>> {key: array.shape for key, array in nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh()).state_dict().items()}
        {'0.weight': (6, 1, 3, 3), '0.bias': (6,)}
        """
        return {key: np.array(placement.to_host(array)) for key, array in self._arrays()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Write a `state_dict` into the parameters and buffers, in place, so that an optimizer's stay valid.

        Parameters
        ----------
        state : mapping of keys to arrays
            As of `state_dict`, or of PyTorch's with its tensors as arrays; cast to each parameter's dtype.
        strict : bool
            Whether keys that are missing or not known are an error; if not, they are left out.

        Raises
        ------
        TypeError
            If an array does not hold numbers.
        ValueError
            If keys are missing or not known, or a shape differs; then nothing has been written.
        """
        own = dict(self._arrays())
        missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
        if strict and (missing or unexpected):
            listed = {"missing": missing, "not known": unexpected}
            parts = [f"{what} are {', '.join(map(repr, keys))}" for what, keys in listed.items() if keys]
            raise ValueError(f"state does not fit {type(self).__name__}: {'; '.join(parts)}")
        values = {key: placement.to_host(state[key]) for key in own if key in state}
        for key, value in values.items():
            if value.dtype.kind not in "biuf":
                raise TypeError(f"{key} is {value.dtype}: numbers are accepted")
        wrong = [
            f"{k} has shape {v.shape}: {own[k].shape} is accepted" for k, v in values.items() if v.shape != own[k].shape
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        for key, value in values.items():
            own[key][...] = value

    def _arrays(self) -> Iterator[tuple[str, Array]]:
        """(key, the array itself) of all parameters and buffers, of each module parameters first, as PyTorch's."""
        for prefix, module in self._tree(""):
            own = {name: value.data for name, value in vars(module).items() if isinstance(value, Parameter)}
            own |= {name: getattr(module, name) for name in module.buffers if getattr(module, name) is not None}
            for name, array in own.items():
                yield f"{prefix}.{name}" if prefix else name, array

    def random_state(self) -> dict[str, dict[str, Any]]:
        """The states of the generators of all layers that draw numbers, by dotted name; JSON can hold them."""
        return {name: _plain(module.rng.bit_generator.state) for name, module in self._drawing()}

    def load_random_state(self, state: Mapping[str, dict[str, Any]]) -> None:
        """Set the states that `random_state` gave.

        Raises
        ------
        ValueError
            If they are not of the layers that draw numbers here, or not of their kind of generator.
        """
        layers = dict(self._drawing())
        if set(layers) != set(state):
            raise ValueError(f"state is of {sorted(state)}: one of {sorted(layers)} is accepted")
        for name, module in layers.items():
            module.rng.bit_generator.state = state[name]

    def _drawing(self) -> Iterator[tuple[str, Any]]:
        for name, module in self.named_modules():
            if isinstance(vars(module).get("rng"), np.random.Generator):
                yield name, module

    def child_inputs(self, input_shape: Shape) -> Iterator[tuple[str, "Module", Shape]]:
        """(name, child, the shape that it is given) for an input of this shape; by default one child feeds the next.

        A module whose children are not a chain defines it anew, and `summary` follows.
        """
        for name, child in self.named_children():
            yield name, child, input_shape
            input_shape = child.output_shape(input_shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of y for an x of this shape, without computing: by default what the last child gives, or x's."""
        output_shape = checks.any_shape(input_shape)
        for _, child, shape in self.child_inputs(output_shape):
            output_shape = child.output_shape(shape)
        return output_shape

    def flops(self, input_shape: Shape) -> int:
        """Floating-point operations of `forward`: 2 for each multiply-add, such as a weight's, and nothing else."""
        return sum(child.flops(shape) for _, child, shape in self.child_inputs(checks.any_shape(input_shape)))

    def summary(self, input_shape: Shape) -> str:
        """A table of all layers: output shape, parameters and FLOPs of `forward`, for an x of this shape.

        Parameters
        ----------
        input_shape : tuple of int
            With the batch axis; every image costs the same.

        Returns
        -------
        str
            A line for each layer, those of a container indented below it, and a total. A layer that is used twice has
            its parameters counted once. FLOPs are those of multiply-adds, 2 for each: of convolutions, linear layers,
            normalisation and interpolation.

        Raises
        ------
        ValueError
            If a layer does not accept the shape it is given; the message names the layer.

        Examples
        --------
        >>> from fastconv import nn
        >>> print(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1)).summary((1, 1, 28, 28)))
        layer      output shape  parameters   FLOPs
        -------------------------------------------
        0 Flatten  (1, 784)               0       0
        1 Linear   (1, 10)            7,850  15,680
        2 Softmax  (1, 10)                0       0
        -------------------------------------------
        total      (1, 10)            7,850  15,680
        """
        return table(self, checks.any_shape(input_shape))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state_dict()` as a safetensors file; whatever happens meanwhile, `path` is whole: old or new.

        Raises ImportError if safetensors is not installed, OSError if the file can't be written.
        """
        save_arrays(path, self.state_dict())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Load what `save` wrote, or PyTorch through safetensors.

        Raises ImportError if safetensors is not installed, ValueError if the file is damaged or does not fit.
        """
        self.load_state_dict(load_arrays(path)[0])

    def extra_repr(self) -> str:
        """What stands between the parentheses of a layer's repr."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}" for name, child in self.named_children()]
        inside = "\n" + indent("\n".join(children), "  ") + "\n" if children else self.extra_repr()
        return f"{type(self).__name__}({inside})"


def bind(module: Module, graph: Graph, x: Value) -> Value:
    """`module.bind(graph, x)`, unless what the module does was defined anew below its `bind`."""
    own = vars(module).keys() & {"forward", "backward", "__call__"}
    line = type(module).__mro__
    binds = next(place for place, kind in enumerate(line) if "bind" in vars(kind))
    does = min(place for place, kind in enumerate(line) if vars(kind).keys() & {"forward", "backward", "__call__"})
    return graph.layer(module, x) if own or does < binds else module.bind(graph, x)


def _plain(state: Any) -> Any:
    """A bit generator's state with its arrays and integers as JSON knows them."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
