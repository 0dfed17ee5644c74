"""Dropout as a layer, with a generator of its own."""

from fastconv import functional
from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.module import Module
from fastconv.typing import Array, Random

__all__ = ["Dropout"]


class Dropout(Module):
    """Dropout: in training each number is zero with probability p, and the rest grow by 1 / (1 - p) (PyTorch's).

    Parameters
    ----------
    p : float between 0 and 1
        The probability of a number to be dropped.
    rng : int, numpy.random.Generator or None
        Where the choices are drawn from: a seed, a generator, or fresh entropy. `Module.random_state` tells where it
        has come to, and `load_random_state` brings it there.

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=0)
    >>> bool(np.isin(layer(np.ones(1000)), [0.0, 2.0]).all())
    True
    >>> layer.eval()(np.ones(3))
    array([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: Random = None) -> None:
        self.p = checks.fraction(p, "p")
        self.rng = checks.generator(rng, "rng")

    def forward(self, x: Array) -> Array:
        """y of x's shape; in evaluation, x's values."""
        if not self.training:
            self.keep()
            y: Array = functional.dropout(x, self.p, training=False)
            return y
        y, mask = functional.dropout(x, self.p, rng=self.rng, return_mask=True)
        self.keep(mask)
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """x itself in evaluation; in training numbers are drawn, which is left to the layer."""
        return graph.layer(self, x) if self.training else x

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x: grad_output where x was let through, grown alike."""
        (mask,) = self.kept()
        return functional.dropout_input_grad(grad_output, mask, self.p)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
