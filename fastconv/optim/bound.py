"""An optimizer's step over a bound network's gradients, as one program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastconv import backends

if TYPE_CHECKING:
    from fastconv.optim.optimizers import Optimizer


class BoundUpdate:
    """`optimizer.step()` for the gradients of a bound network.

    Attributes
    ----------
    program : the backend's update
    """

    def __init__(self, optimizer: Optimizer, network: Any, training: Any) -> None:
        grads = {id(parameter): grad for parameter, grad in network.gradients}
        self.optimizer, self.kept, self.names = optimizer, optimizer._kept, optimizer._moments()
        pairs = list(zip(self.kept, optimizer.parameters, strict=True))
        self.arrays = [kept if kept else optimizer._empty(parameter.data) for kept, parameter in pairs]
        self.data = [parameter.data for parameter in optimizer.parameters]
        moments = [[one[name] for one in self.arrays] for name in self.names] or [[None] * len(self.data)]
        own = [grads[id(parameter)] for parameter in optimizer.parameters]
        self.program = training.Update(optimizer._rule, network, self.data, own, moments)

    def __call__(self) -> bool:
        """Move the parameters; False, and nothing has moved, if this does not fit the optimizer any more."""
        optimizer = self.optimizer
        if optimizer._kept is not self.kept or optimizer._moments() != self.names:
            return False
        if any(p.data is not array for p, array in zip(optimizer.parameters, self.data, strict=True)):
            return False
        first = bool(self.names) and not self.kept[0]
        if first:
            for kept, arrays in zip(self.kept, self.arrays, strict=True):
                kept.update(arrays)
        return optimizer._update(self.program, first)


def bound_update(optimizer: Optimizer, network: Any) -> BoundUpdate | None:
    """The step as one program; None where there is none for such an optimizer, or these are not all its gradients."""
    training, parameters = backends.optional("network_training"), optimizer.parameters
    same = {id(parameter) for parameter in parameters} == {id(parameter) for parameter, _ in network.gradients}
    if training is None or not optimizer._rule or network.opaque or not same:
        return None
    if len({parameter.dtype for parameter in parameters}) > 1 or len({bool(kept) for kept in optimizer._kept}) > 1:
        return None
    for parameter, kept in zip(parameters, optimizer._kept, strict=True):
        optimizer._follow(parameter, kept)
    return BoundUpdate(optimizer, network, training)
