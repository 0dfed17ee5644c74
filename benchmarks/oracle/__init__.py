"""The right answers, in float64 and by other means than fastconv's: what every peer's answer is compared with.

Whole answers, not samples. Convolutions are sums over taps of matrix products, filters are sums over taps or FFTs; the
losses of training, where rounding hardly shows, are those of fastconv's reference backend in float64.
"""

from __future__ import annotations

import numpy as np

from ..case import Array, Case
from .layers import LAYERS
from .networks import NETWORKS


def expected(case: Case, inputs: dict[str, Array]) -> dict[str, Array]:
    """The case's answers to these inputs by name, each in float64."""
    if case.operation in LAYERS:
        return {"y": LAYERS[case.operation](inputs, case.options)}
    if case.operation in NETWORKS:
        return NETWORKS[case.operation](inputs, case.options)
    from .filters import FILTERS

    if case.operation not in FILTERS:
        raise ValueError(f"operation is {case.operation!r}: the oracle knows no such operation")
    return {name: np.asarray(y, np.float64) for name, y in FILTERS[case.operation](inputs, case.options).items()}
