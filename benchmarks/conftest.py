"""`pytest benchmarks` collects the tests of speed, and imports no peer's module for doctests."""

from __future__ import annotations

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """All modules here but the tests."""
    module = collection_path.suffix == ".py" and not collection_path.name.startswith("test_")
    return True if module else None
