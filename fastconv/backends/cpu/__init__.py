"""The processor: every kernel is Python, compiled by Numba. Same modules and functions as `reference`."""
