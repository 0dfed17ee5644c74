"""The same numbers in other memory: the forms in which callers have their arrays."""

import numpy as np


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {
    "read-only": read_only,
    "Fortran-ordered": np.asfortranarray,
    "every second": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "reversed": lambda array: np.ascontiguousarray(np.flip(array))[(slice(None, None, -1),) * array.ndim],
    "of the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
}


def disguises(array):
    """The array in each of the forms, by name."""
    return {name: form(array) for name, form in FORMS.items()}
