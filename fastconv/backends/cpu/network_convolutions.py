"""Convolutional and linear operations of bound networks; see network_operations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastconv.backends.cpu import (
    channels_last,
    exponentials,
    linear,
    pointwise_plans,
    pooled_input_gradient,
    pooled_weight_gradient,
    weight_plans,
    winograd_gradient,
    winograd_plans,
)
from fastconv.backends.cpu import pooled_convolution as pooled
from fastconv.backends.cpu.activation import apply_slope
from fastconv.backends.cpu.channel_sums import channel_sum_steps
from fastconv.backends.cpu.convolution import route
from fastconv.backends.cpu.kernels import kernel
from fastconv.backends.cpu.plans import Plan
from fastconv.backends.cpu.table import Table
from fastconv.backends.cpu.vectors import aligned
from fastconv.geometry import Convolution
from fastconv.graph import Value
from fastconv.typing import Array

if TYPE_CHECKING:
    from fastconv.backends.cpu.lowering import Lowering


def convolve(
    low: Lowering,
    which: str,
    geometry: Convolution,
    x: Array,
    weight: Array,
    bias: Array | None,
    result: Array,
) -> None:
    """The steps of a "forward" pass or an "input_grad": by Winograd's algorithm, and directly if it isn't finite."""
    name, plan = route(geometry, which, low.item, low.threads, "auto")
    title, flops = f"convolution {which}", geometry.flops
    if name == "winograd":
        flag = np.zeros(8, np.int64)
        low.table.clear(flag)
        problem = winograd_plans.problem(geometry, which == "input_grad")
        chosen = winograd_plans.plan(problem, low.threads, winograd_plans.M, False)
        space = low.space(chosen.workspace, shared=True)
        arrays: tuple[Array | None, ...] = (x, weight, bias, result, space, space, flag)
        low.table.program(f"{title}, winograd", chosen.program, *arrays, threads=low.threads, flops=flops)
        low.table.when(flag)
    space = low.space(plan.workspace)
    arrays = x, weight, plan.no_bias if bias is None else bias, result, space
    if plan.finite_only:
        low.weights_must_be_finite(weight)
        arrays = (*arrays, space)
    low.table.program(title, plan.program, *arrays, threads=plan.threads, images=by_image(plan, geometry), flops=flops)
    low.table.when(None)


def by_image(plan: Any, geometry: Convolution) -> int:
    """Into how many runs of whole images a direct plan's tasks fall; 0 if they do not."""
    if isinstance(plan, pointwise_plans.Plan) and not plan.by_images:
        return 0
    several = plan.neighbours if isinstance(plan, Plan) and plan.sum.groups == 1 else 1
    runs = geometry.batch // several
    return runs if runs > 1 else 0


def convolve_weight_grad(low: Lowering, geometry: Convolution, x: Array, grad: Array, result: Array) -> None:
    """The steps of the gradient with respect to the weight."""
    name, plan = route(geometry, "weight_grad", low.item, low.threads, "auto")
    title, flops = "convolution weight_grad", geometry.flops
    if name == "winograd" or plan.finite_only:
        flag = np.zeros(8, np.int64)
        low.table.clear(flag)
        if name == "winograd":
            chosen = winograd_gradient.plan(geometry)
            space = low.space(chosen.workspace(low.threads), shared=True)
            arrays: tuple[Array | None, ...] = (x, grad, result, space, flag)
            low.table.program(f"{title}, winograd", chosen.program, *arrays, threads=low.threads, flops=flops)
        else:
            arrays = x, grad, None, result, low.space(plan.workspace, shared=True), flag
            low.table.program(title, plan.program, *arrays, threads=plan.threads, flops=flops)
        low.table.when(flag)
    if plan.finite_only:
        plan = weight_plans.planned(geometry, low.item, low.threads, leaves_out=False)
    space = low.space(plan.workspace, shared=True)
    low.table.program(title, plan.program, x, grad, None, result, space, threads=plan.threads, flops=flops)
    low.table.when(None)


def bias_grad(low: Lowering, parameter: Any, grad: Array) -> Callable[[], None]:
    """The gradient with respect to a bias of each channel: the steps that go by images, and what adds the others."""
    if parameter is None:
        return lambda: None
    result = low.gradient(parameter)
    planes, images = channel_sum_steps(grad, result)
    low.table.add(planes)

    def end() -> None:
        low.table.add(images)
        low.gradient_is_there(parameter, result)

    return end


def data(parameter: Any) -> Array | None:
    """A parameter's array, if there is one."""
    return None if parameter is None else parameter.data


def convolution(low: Lowering, value: Value) -> None:
    """y = x correlated with weight, + bias; or, transposed, the input gradient of the convolution that gives x."""
    weight, bias = filters_of(low, value)
    low.arrays[value] = low.new(value.shape)
    x = low.array(value.inputs[0])
    which = "input_grad" if value.operation == "conv_transpose" else "forward"
    convolve(low, which, value.options["geometry"], x, weight, bias, low.arrays[value])


def filters_of(low: Lowering, value: Value) -> tuple[Array, Array | None]:
    """Weight and bias, with those of a batch normalisation that is folded into them."""
    weight, bias, *more = (data(parameter) for parameter in value.parameters.values())
    assert weight is not None
    module = value.options.get("batch_norm")
    if module is None:
        return weight, bias
    filters = len(weight)
    ones, zeros = np.ones(filters, weight.dtype), np.zeros(filters, weight.dtype)
    scale, shift = (kept if kept is not None else plain for kept, plain in zip(more, (ones, zeros), strict=True))
    folded, start = np.empty_like(weight), np.empty_like(zeros)
    statistics = module.running_mean, module.running_var
    low.made.append(folded)
    low.weights_must_be_finite(weight, scale, *statistics)
    low.table.kernel(
        fold,
        filters,
        *(weight.reshape(filters, -1), zeros if bias is None else bias, scale, shift, *statistics),
        *(np.array([module.eps]), folded.reshape(filters, -1), start),
        early=True,
    )
    return folded, start


@kernel
def fold(weight, bias, scale, shift, mean, var, eps, folded, start, first, end):  # type: ignore[no-untyped-def]
    """folded[o] = f[o] weight[o], start[o] = f[o] (bias[o] - mean[o]) + shift[o], with f = scale / sqrt(var + eps)."""
    for o in range(first, end):
        factor = scale[o] / np.sqrt(np.float64(var[o]) + eps[0])
        start[o] = (np.float64(bias[o]) - mean[o]) * factor + shift[o]
        for k in range(weight.shape[1]):
            folded[o, k] = weight[o, k] * factor


def convolution_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """Of bias, x and weight; a transposed one's with respect to x is the convolution itself.

    x comes before the weight: steps that go image by image become one with those before them.
    """
    weight, (x,), geometry = value.parameters["weight"], value.inputs, value.options["geometry"]
    turned = value.operation == "conv_transpose"
    end = bias_grad(low, value.parameters["bias"], grad)
    grad_x = low.new(x.shape) if low.trained(x) else None
    if grad_x is not None:
        convolve(low, "forward" if turned else "input_grad", geometry, grad, weight.data, None, grad_x)

    def of_weight() -> None:
        end()
        result, (source, slopes) = low.gradient(weight), (low.array(x), grad)[:: -1 if turned else 1]
        convolve_weight_grad(low, geometry, source, slopes, result)
        low.gradient_is_there(weight, result)
        if owned:
            low.drop(grad)

    low.later(of_weight)
    if grad_x is not None:
        low.accumulate(x, grad_x)


def pooled_convolution(low: Lowering, value: Value) -> None:
    """y = f of the largest of each four pixels of x correlated with weight, + bias; and which it is."""
    weight, bias = filters_of(low, value)
    padding = value.options["geometry"].padding
    x, y = low.last(value.inputs[0], padding), low.new_last(value)
    source, codes = channels_last.within(x, padding), pooled.empty_codes(y)
    low.table.add(*pooled.forward(source, weight, bias, y, codes, value.options["kind"]))
    low.kept[value] = x, codes


def pooled_convolution_grads(low: Lowering, value: Value, grad: Any, owned: bool) -> None:
    """Of weight and bias, then of x: only one pixel of four has a gradient."""
    (x,), (weight, bias), kind = value.inputs, value.parameters.values(), value.options["kind"]
    (source, codes), padding = low.kept[value], value.options["geometry"].padding
    y = low.lasts[value]
    if isinstance(grad, np.ndarray):
        before, grad = grad, channels_last.images_last(value.shape, low.graph.dtype)
        low.table.add(channels_last.to_last(before, grad))
        if owned:
            low.drop(before)
    if kind != exponentials.NONE:
        g = channels_last.numbers(grad)
        low.table.add(apply_slope(kind, g, channels_last.numbers(y), g, low.images(value)))

    def of_weight() -> None:
        result, result_bias = low.gradient(weight), None if bias is None else low.gradient(bias)
        seen = channels_last.within(source, padding)
        low.table.add(*pooled_weight_gradient.weight_grad(seen, grad, codes, result, result_bias))
        low.gradient_is_there(weight, result)
        if result_bias is not None:
            low.gradient_is_there(bias, result_bias)

    low.later(of_weight)
    if low.trained(x):
        low.later(lambda: low.must_be_finite(channels_last.numbers(grad)))
        grad_x = channels_last.images_last(x.shape, low.graph.dtype, padding)
        target = channels_last.within(grad_x, padding)
        low.table.add(*pooled_input_gradient.input_grad(grad, codes, weight.data, target))
        if low.stays_last(x):
            low.accumulate(x, grad_x)
        else:
            found = low.new(x.shape)
            low.table.add(channels_last.to_first(grad_x, found))
            low.accumulate(x, found)


def dense(low: Lowering, value: Value) -> None:
    """y = x weight^T + bias."""
    (x,), (weight, bias) = value.inputs, (data(parameter) for parameter in value.parameters.values())
    y = low.arrays[value] = low.new(value.shape)
    rows, columns, depth = *y.shape, x.shape[1]
    found = linear.forward(rows, columns, depth, low.item, low.threads)
    arrays = low.array(x), weight, found.no_bias if bias is None else bias, y, low.space(found.workspace)
    low.table.program("linear", found.program, *arrays, threads=found.threads, flops=2 * rows * columns * depth)


def dense_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """Of weight and bias, then of x."""
    (x,), weight = value.inputs, value.parameters["weight"]
    (rows, columns), depth = grad.shape, x.shape[1]
    flops = 2 * rows * columns * depth
    of_weight = Dense(weight, grad, low.array(x), low.gradient(weight))
    if of_weight.takes_update and of_weight.result is low.gradients[id(weight)][1]:
        low.last_steps.append(of_weight)
    else:
        of_weight.add_to(low.table, low.threads)
        low.gradient_is_there(weight, of_weight.result)
    if value.parameters["bias"] is not None:
        result = low.gradient(value.parameters["bias"])
        program, threads = linear.sums(rows, columns, low.item, low.threads)
        low.table.program("linear bias_grad", program, grad, None, None, result, threads=threads)
        low.gradient_is_there(value.parameters["bias"], result)
    if low.trained(x):
        grad_x = low.new(x.shape)
        program, threads, size = linear.input_grad(rows, depth, columns, low.item, low.threads)
        arrays = grad, weight.data, None, grad_x, aligned(size, np.uint8)
        low.table.program("linear input_grad", program, *arrays, threads=threads, flops=flops)
        low.accumulate(x, grad_x)


class Dense(NamedTuple):
    """The gradient with respect to a linear layer's weight: the last steps of all, where its update may ride on it."""

    parameter: Any
    grad: Array
    x: Array
    result: Array

    def add_to(self, table: Table, threads: int, update: int = 0, *own: Array | None) -> None:
        """The steps; with an update, which moves the parameter, its arrays and numbers are `own`."""
        (rows, columns), depth = self.grad.shape, self.x.shape[1]
        program, wanted, size = linear.weight_grad(columns, depth, rows, self.x.itemsize, threads, update)
        arrays = self.grad, self.x, None, self.result, aligned(size, np.uint8), *own
        name = "linear weight_grad, update" if update else "linear weight_grad"
        table.program(name, program, *arrays, threads=wanted, flops=2 * rows * columns * depth)

    @property
    def takes_update(self) -> bool:
        """Whether the update can ride on it."""
        return not linear.is_tall(self.grad.shape[1], self.x.shape[1], self.x.itemsize)
