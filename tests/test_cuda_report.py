"""What the compiled code of the cuda backend tells, where there is a compiler; no GPU is needed."""

from collections import Counter
from types import SimpleNamespace

import pytest
from benchmark_rows import tiny  # noqa: F401 (it finds the suite)

import fastconv as fc
from benchmarks import cuda_report
from benchmarks.cuda_compiler import Assembled, Mix, Occupancy


class Kernel:
    """A kernel that nobody compiles."""

    block, options, __doc__ = 256, {}, "y[i] = x[i]."

    def function(self):
        pass


def test_without_a_compiler_a_line_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cuda_report, "find_spec", lambda name: None)
    assert cuda_report.main(["--out", str(tmp_path / "CUDA.md")]) == 2
    line = capsys.readouterr().err
    assert line.startswith("python -m benchmarks.cuda_report: the package numba-cuda is not installed: pip install")
    assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_fault_is_on_the_page_and_in_the_status(monkeypatch, tmp_path):
    launched = SimpleNamespace(kernel=Kernel, signature=(), calls={"a call": 3, "another": 1}, double=False)
    assembled = Assembled(registers=40, stack=0, spill_stores=8, spill_loads=8, shared=64, code_size=1, sass="")
    mix = Mix("PTX", Counter(fma=30, integer=10), Counter())
    held = Occupancy(blocks=6, warps=48, fraction=0.75, limit="registers")
    faulty = cuda_report.Row(launched, assembled, mix, held, 0.75, ["registers spill: 8 bytes"])
    monkeypatch.setattr(cuda_report, "missing", lambda: "")
    monkeypatch.setattr(cuda_report, "report", lambda capability: [faulty])
    out = tmp_path / "CUDA.md"
    assert cuda_report.main(["--out", str(out)]) == 1
    text = out.read_text(encoding="utf-8")
    assert "what the compiled code implies, no more" in text.split("##")[0]
    told = "a call, and 1 more | 3 x 256 | 40 | 64 | 75 % (registers) | 75 % | 75 % | registers spill: 8 bytes |"
    assert text.count(told) == len(cuda_report.CAPABILITIES)
    assert "1 kernels, 1 with faults." in text
    faulty.faults.clear()
    assert cuda_report.main(["--out", str(out)]) == 0


def test_launches_are_noted_once_for_each_kernel():
    calls = pytest.importorskip("benchmarks.cuda_calls")
    if calls.device.SIMULATED:
        pytest.skip("the simulator has tiles of its own")
    named = {name: calls.CALLS[name] for name in ("linear 2048 1000 n16", "linear 2048 1000 n16, TF32", "Adam")}
    for capability in cuda_report.CAPABILITIES:
        found = calls.recorded(capability, named)
        assert any(set(named) == set(kernel.calls) for kernel in found)
        assert len({(kernel.kernel, kernel.signature) for kernel in found}) == len(found)
        assert not any(kernel.double for kernel in found)
    assert fc.get_precision() == "float32"
    assert fc.backend_name() != "cuda"


def test_kernels_of_a_layer_have_no_faults(capsys):
    if cuda_report.missing():
        pytest.skip(cuda_report.missing())
    calls = pytest.importorskip("benchmarks.cuda_calls")
    for found in cuda_report.report((9, 0), {"linear": calls.linear}):
        assert found.faults == []
        assert found.assembled.registers > 0
        assert len(found.cells()) == len(cuda_report.HEAD)
    assert "sm_90 products.tiled" in capsys.readouterr().err
