"""The promise that results do not depend on the number of threads, to the last bit."""

from numpy.testing import assert_array_equal

import fastconv as fc


def assert_same_on_threads(call, counts=(1, 2)):
    """Raise unless a call gives the same arrays on each of these numbers of threads; None is the default."""
    results = []
    try:
        for count in counts:
            fc.set_num_threads(count)
            results.append(call())
    finally:
        fc.set_num_threads(None)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert_array_equal(one, two)
