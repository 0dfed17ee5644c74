"""Rows and documents of the benchmark suite with given times, for its tests."""

import sys
from pathlib import Path

if str(Path(__file__).parent.parent) not in sys.path:  # the suite lies beside the package
    sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import heat, results
from benchmarks.case import Case

GEOMETRY = {"stride": [1, 1], "padding": [[1, 1], [1, 1]], "dilation": [1, 1], "groups": 1}
ROOF = {"float32": 1e11, "float64": 5e10, "bytes": 1e10}


def tiny(side=6, suite="layers", group="forward", **fields):
    x, weight = (1, 2, side, side), (3, 2, 3, 3)
    arrays = {"x": x, "weight": weight}
    return Case(suite, group, f"tiny {side}", "conv2d", arrays, GEOMETRY, flops=100 * side, traffic=1000, **fields)


def row(seconds, case=None, spread=0.01, **others):
    """A row of fastconv's time and other peers', two rounds of two samples each."""
    case = case or tiny()
    times = {"fastconv": seconds, **others}
    found = {
        name: {
            "status": "ok",
            "variants": {
                "default": {"first_call": 1.0, "error": 0.0, "rounds": [[t, t], [t * (1 + spread), t * (1 + spread)]]}
            },
        }
        for name, t in times.items()
    }
    return {"case": case.to_json(), "results": found, **heat.summary(found), "threads": 1}


def document(rows, threads=1):
    options = {"quick": False, "backend": None, "filter": "", "suites": ["layers"], "rounds": 2, "all_suites": False}
    made = results.new(["fastconv", "numpy", "scipy"], threads, options)
    return {**made, "status": "complete", "roofs": {"1": ROOF}, "rows": rows}
