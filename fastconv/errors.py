"""Errors that are fastconv's own; everything else is a `ValueError` or a `TypeError`."""


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for can't run here; the message says why and what to install or set."""
