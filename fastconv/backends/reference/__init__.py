"""The oracle: NumPy, each operation as the slide writes it, in the precision of what it is given."""
