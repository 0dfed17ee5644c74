"""The benchmark suite on a GPU, as far as a machine without one can tell: options, peers, clocks, rows and pages.

Tests marked `gpu` run fastconv's peer on a GPU or in the simulator of one. No test asserts a measured time.
"""

import os

import pytest
from benchmark_rows import GEOMETRY, ROOF, document, row, tiny
from test_benchmarks import Here, Plain, Suite, here  # noqa: F401 (a fixture)

import fastconv as fc
from benchmarks import answers, command, compare, forecast, gpu, markdown, networks, results, run, table
from benchmarks.case import Case
from benchmarks.peers import PRECISION, Unsupported, load
from benchmarks.suites import SUITES
from benchmarks.worker import Worker

DEVICE = {
    "name": "NVIDIA H100 80GB HBM3",
    "capability": "9.0",
    "multiprocessors": 132,
    "clock": 1.98e9,
    "memory": 85 * 10**9,
    "driver": "580.65.06",
    "CUDA": "13.0",
    "runtime": "13.0",
}


class Clocked(Plain):
    """A peer with a clock of its own, by which a call takes two seconds."""

    runs = ()

    def elapsed(self, call, repeats):
        call()
        self.runs = (*self.runs, repeats)
        return 2.0 * repeats


@pytest.fixture
def on_gpu(here, monkeypatch):  # noqa: F811
    """The command as if there were a GPU, which PyTorch finds too; both libraries are stand-ins in this process."""
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    monkeypatch.setattr(gpu, "require", lambda: None)
    monkeypatch.setattr(gpu, "fault_of", lambda name: "")
    monkeypatch.setattr(gpu.peers, "installed", lambda: ["fastconv", "pytorch", "scipy"])
    monkeypatch.setattr(gpu, "device_and_roofs", lambda precision: (DEVICE, ROOF))
    monkeypatch.setattr(Here, "peers", {"fastconv": Clocked, "pytorch": Clocked})
    return here


def bench(*words):
    return command.main(["layers", "--rounds", "2", "--threads", "1", "--backend", "cuda", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--precision", "tf32"], "precision is 'tf32': it is accepted with --backend cuda alone"),
        (["--precision", "float32", "--backend", "cpu"], "precision is 'float32': it is accepted with --backend cuda"),
        (["--precision", "half", "--backend", "cuda"], "invalid choice: 'half'"),
        (
            ["--peers", "scipy,pytorch", "--backend", "cuda"],
            "peers scipy do not compute on a GPU here",
        ),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys, monkeypatch):
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    assert command.main(["layers", *words]) == 2
    assert_matches(message, capsys.readouterr().err)


def assert_matches(pattern, text):
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(text)


@pytest.mark.parametrize("words", [["--backend", "cuda"], []])
def test_without_a_gpu_it_ends_at_once_in_one_line(words, capsys, monkeypatch):
    def fail(*given):
        raise AssertionError("something was started")

    def unavailable(*given):
        raise fc.BackendUnavailableError("the cuda backend can't run: no GPU's driver answers;\n leave it unset")

    monkeypatch.setenv("FASTCONV_BACKEND", "cuda")  # by which it is asked for where the option is not given
    monkeypatch.setattr("subprocess.Popen", fail)
    monkeypatch.setattr(gpu.backends, "load", unavailable)
    assert command.main(["layers", *words]) == 2
    line = "fastconv bench: the cuda backend can't run: no GPU's driver answers; leave it unset\n"
    assert capsys.readouterr() == ("", line)


def test_a_simulator_is_not_measured(capsys, monkeypatch):
    monkeypatch.setattr(gpu.backends, "load", lambda *given: None)
    monkeypatch.setattr("numba.config.ENABLE_CUDASIM", 1)
    assert command.main(["--backend", "cuda"]) == 2
    assert "NUMBA_ENABLE_CUDASIM is set" in capsys.readouterr().err


def test_who_takes_part(on_gpu, monkeypatch, capsys):
    assert gpu.contestants(None) == ["fastconv", "pytorch"]
    assert gpu.contestants(["fastconv"]) == ["fastconv"]
    monkeypatch.setattr(gpu, "fault_of", lambda name: "PyTorch 2.13.0+cpu is built without CUDA")
    assert gpu.contestants(None) == ["fastconv"]
    assert capsys.readouterr().err == "pytorch takes no part: PyTorch 2.13.0+cpu is built without CUDA\n"
    with pytest.raises(ValueError, match=r"peers pytorch can't take part: PyTorch .* is built without CUDA"):
        gpu.contestants(["pytorch"])
    monkeypatch.setattr(gpu.peers, "installed", lambda: ["fastconv", "scipy"])
    with pytest.raises(ValueError, match="peers pytorch are not installed here: fastconv are"):
        gpu.contestants(["pytorch"])


def test_a_run_on_a_gpu(on_gpu, tmp_path, capsys):
    assert bench("--out", str(tmp_path / "a.json")) == 0
    found = results.load(tmp_path / "a.json")
    assert found["options"]["backend"] == "cuda"
    assert found["options"]["precision"] == "float32"
    assert found["options"]["peers"] == ["fastconv", "pytorch"]
    assert found["machine"]["device"] == DEVICE
    assert found["roofs"] == {"1": ROOF}
    assert [results.key(row) for row in found["rows"]] == [case.key for case in Suite.CASES]
    assert {row["case"]["tolerance"] for row in found["rows"]} == {1e-4}
    assert all(row["seconds"] == {"fastconv": 2.0, "pytorch": 2.0} for row in found["rows"])  # by their own clocks
    shown = capsys.readouterr().out
    assert "Roofs of the GPU: 100 GFLOP/s float32 and 50 GFLOP/s float64 by its clock, 10 GB/s by a triad." in shown
    assert "Inputs lie on the GPU" in shown


def test_the_environment_asks_for_a_gpu_too(on_gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTCONV_BACKEND", "cuda")
    words = ["layers", "--rounds", "2", "--threads", "1", "--precision", "tf32", "--out", str(tmp_path / "a.json")]
    assert command.main(words) == 0
    options = results.load(tmp_path / "a.json")["options"]
    assert (options["backend"], options["precision"]) == ("cuda", "tf32")


def test_peers_are_told_the_precision(monkeypatch):
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    with command.backend("cuda", "tf32"):
        assert os.environ["FASTCONV_BACKEND"] == "cuda"
        assert os.environ[PRECISION] == "tf32"
    assert "FASTCONV_BACKEND" not in os.environ
    assert PRECISION not in os.environ


def test_tf32_has_a_tolerance_of_its_own():
    cases = [tiny(6), tiny(8, dtype="float64", tolerance=1e-12), tiny(10, tolerance=1e-2)]
    assert [case.tolerance for case in gpu.suited(cases, "float32")[0]] == [1e-4, 1e-12, 1e-2]
    assert [case.tolerance for case in gpu.suited(cases, "tf32")[0]] == [2e-3, 1e-12, 1e-2]


def test_what_makes_no_sense_on_a_gpu_is_left_out_by_name():
    whole = run.plan(list(SUITES), 2, quick=False)
    found = run.plan_on_gpu(list(SUITES), 2, False, "", "float32")
    assert sorted([*found.keys(), *(name for name, _ in found.left_out)]) == sorted(whole.keys())
    reasons = dict(found.left_out)
    assert {name.split("/")[0] for name in reasons} == {"layers", "latency", "memory", "scaling"}
    assert reasons["latency/startup/import"] == gpu.NO_STARTUP
    assert all("direct" in name for name in reasons if name.startswith("layers/"))
    assert not found.startup
    assert not found.curves


def test_a_suite_of_which_nothing_is_left(on_gpu, monkeypatch, capsys):
    monkeypatch.setattr(Suite, "CASES", [tiny(suite="memory", measure="memory")])
    assert bench() == 2
    assert "suites layers have no such row for a GPU: peaks are those of the process" in capsys.readouterr().err


def test_a_peers_own_clock_is_used():
    worker = Worker(Clocked())
    calls = []
    worker.calls = {"a": lambda: calls.append(1)}
    assert worker.sample("a") == [2.0]  # a call of more than MIDDLING seconds is a sample
    assert worker.peer.runs[1:] == (1,)
    assert calls
    worker = Worker(Plain())
    worker.calls = {"a": lambda: 1}
    assert len(worker.sample("a")) == 3


def test_events_may_be_no_time_apart(monkeypatch):
    worker = Worker(Clocked())
    monkeypatch.setattr(worker.peer, "elapsed", lambda call, repeats: 0.0)
    worker.calls = {"a": lambda: 1}
    assert worker.sample("a") == [0.0] * 3


def document_of_gpu(rows):
    made = document(rows)
    made["options"] |= {"backend": "cuda", "precision": "tf32", "peers": ["fastconv", "pytorch"]}
    made["machine"]["device"] = DEVICE
    return made


def test_the_page_of_a_gpu_has_a_name_of_its_own(tmp_path):
    markdown.write(document([row(1e-3, numpy=2e-3)]), tmp_path)
    before = (tmp_path / "RESULTS.md").read_bytes()
    path = markdown.write(document_of_gpu([row(1e-3, pytorch=2e-3)]), tmp_path)
    assert path == tmp_path / "RESULTS-CUDA.md"
    assert (tmp_path / "RESULTS.md").read_bytes() == before
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Results on a GPU\n")
    assert "--peers pytorch --threads 1 --rounds 2 --backend cuda --precision tf32 --report`" in text
    assert "| GPU | NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors at 1.98 GHz, 79 GiB" in text
    assert "| Driver | driver 580.65.06, CUDA 13.0, runtime 13.0 |" in text
    assert "(results-cuda/layers-ratios-by-name.png)" in text
    assert (tmp_path / "results-cuda" / "layers-roofline.png").is_file()


def test_compare_warns_of_other_gpus_and_precisions(tmp_path):
    old, new = document_of_gpu([row(1e-3)]), document_of_gpu([row(1e-3)])
    new["machine"]["device"] = {**DEVICE, "name": "another"}
    new["options"]["precision"] = "float32"
    for made, name in ((old, "old.json"), (new, "new.json")):
        results.save(made, tmp_path / name)
    text, _ = compare.compare(str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert "warning: the GPUs differ: NVIDIA H100 80GB HBM3 and another" in text
    assert "warning: the runs had the precisions tf32 and float32" in text


def test_roofs_that_could_not_be_measured_are_none(on_gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "device_and_roofs", lambda precision: "CUDA_ERROR_UNKNOWN")
    assert bench() == 0
    shown = capsys.readouterr()
    assert "The GPU's roofs were not measured: CUDA_ERROR_UNKNOWN" in shown.err
    assert "Roofs of" not in shown.out


def test_the_roof_by_the_clock_of_known_gpus():
    roofs = pytest.importorskip("benchmarks.gpu_roofs")  # it imports numba.cuda, which not every machine has
    h100 = roofs.flops_by_clock((9, 0), 132, 1.83e9, "float32")
    assert h100["float32"] == pytest.approx(61.8e12, rel=0.01)
    assert h100["float64"] == pytest.approx(h100["float32"] / 2)
    assert roofs.flops_by_clock((9, 0), 132, 1.83e9, "tf32")["float32"] == pytest.approx(495e12, rel=0.01)
    assert roofs.flops_by_clock((8, 0), 108, 1.41e9, "float32")["float32"] == pytest.approx(19.5e12, rel=0.01)
    assert roofs.flops_by_clock((8, 0), 108, 1.41e9, "tf32")["float32"] == pytest.approx(156e12, rel=0.01)
    assert roofs.lanes_of((9, 5)) == roofs.LANES[9, 0]
    assert roofs.lanes_of((5, 0)) == roofs.LANES[7, 0]


def test_every_row_on_a_gpu_has_a_forecast():
    found = run.plan_on_gpu(list(SUITES), 1, True, "", "float32")
    assert all(0 < forecast.seconds_on_gpu(case, ["fastconv", "pytorch"]) < 1000 for case in found.cases)


def test_the_table_names_each_reason(on_gpu, capsys):
    assert bench("--quick") == 0
    made = document_of_gpu([])
    made["left_out"] = [{"key": "memory/layers/a", "reason": gpu.NO_MEMORY}]
    assert f"Left out of memory, {gpu.NO_MEMORY}: layers/a" in table.text(made)


SMALL = {
    "conv1d": Case(
        *("layers", "g", "conv1d", "conv1d", {"x": (1, 2, 9), "weight": (3, 2, 3)}),
        {"stride": [2], "padding": [[1, 1]], "dilation": [1], "groups": 1},
    ),
    "conv2d": tiny(),
    "conv2d_input_grad": Case(
        *("layers", "g", "input", "conv2d_input_grad", {"weight": (3, 2, 3, 3), "grad": (1, 3, 5, 5)}),
        {**GEOMETRY, "input_size": [1, 2, 5, 5]},
    ),
    "conv2d_weight_grad": Case(
        *("layers", "g", "weight", "conv2d_weight_grad", {"x": (1, 2, 5, 5), "grad": (1, 3, 5, 5)}),
        {**GEOMETRY, "weight_size": [3, 2, 3, 3]},
    ),
    "conv_transpose2d": Case(
        *("layers", "g", "transposed", "conv_transpose2d", {"x": (1, 2, 3, 3), "weight": (2, 3, 2, 2)}),
        {"stride": [2, 2], "padding": [0, 0], "output_padding": [0, 0], "groups": 1, "dilation": [1, 1]},
    ),
    **{
        name: Case(
            *("layers", "g", name, name, {"x": (1, 2, 4, 4), **({"grad": (1, 2, 2, 2)} if "grad" in name else {})}),
            {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]},
        )
        for name in ("max_pool2d", "max_pool2d_grad", "avg_pool2d")
    },
    "linear": Case("layers", "g", "linear", "linear", {"x": (2, 3), "weight": (4, 3), "bias": (4,)}),
    "linear_input_grad": Case("layers", "g", "i", "linear_input_grad", {"weight": (4, 3), "grad": (2, 4)}),
    "linear_weight_grad": Case("layers", "g", "w", "linear_weight_grad", {"x": (2, 3), "grad": (2, 4)}),
    "infer": Case("training", "g", "infer", "infer", {"x": (2, 1, 8, 8)}, {"model": "lenet", "batch": 2}),
    "train_step": Case(
        *("training", "g", "step", "train_step", {"x": (2, 1, 8, 8), "target": (2,)}),
        {"model": "lenet", "batch": 2},
        tolerance=2e-6,
    ),
    "filter2d": Case(
        "filters", "g", "dense", "filter2d", {"image": (6, 7), "kernel": (3, 3)}, {"mode": "reflect"}, tolerance=1e-4
    ),
    "gaussian": Case("filters", "g", "gaussian", "gaussian", {"image": (6, 7)}, {"sigma": 0.5, "truncate": 4.0}),
    "sobel": Case("filters", "g", "sobel", "sobel", {"image": (6, 7)}, {"axis": 0}),
    **{
        f"convolve1d {count}": Case("filters", "g", f"line {count}", "convolve1d", {"x": (20,), "taps": (count,)})
        for count in (4, 5)
    },
    "match_template": Case(
        "filters", "g", "template", "match_template", {"image": (6, 7), "template": (2, 3)}, {"method": "ccorr"}
    ),
}


def little(seed, dtype="float32"):
    """A model that a simulator can train."""
    nn = fc.nn
    layers = [nn.Conv2d(1, 2, 3, rng=seed, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(18, 10, rng=seed, dtype=dtype))


@pytest.fixture
def small_networks(monkeypatch):
    monkeypatch.setitem(networks.MODELS, "lenet", little)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_fastconvs_peer_answers_right_on_the_device(name, small_networks, tmp_path, cuda):
    case = SMALL[name]
    answers.write(case, tmp_path)
    worker = Worker(load("fastconv", 1, "float32"))
    found = worker.prepare(case, str(tmp_path))
    assert found["status"] == "ok", found["reason"]
    for call in worker.calls.values():  # again, as the samples do
        answer = worker.peer.finish(call())
        assert name == "train_step" or fc.placement.on_gpu(answer)


class TestPyTorch:
    """PyTorch's peer on devices that stand in for a GPU."""

    @pytest.fixture
    def peer(self, monkeypatch):
        torch = pytest.importorskip("torch")
        before = torch.get_num_threads()
        module = __import__("benchmarks.peers.pytorch_cuda_peer", fromlist=["peer"])
        monkeypatch.setattr(module, "fault", lambda: "")
        monkeypatch.setattr(module.torch.cuda, "empty_cache", lambda: None)
        yield load("pytorch", 1, "float32")
        module.peer(before, "float32").mode.close()

    def test_without_cuda_it_takes_no_case(self, monkeypatch):
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        made = load("pytorch", torch.get_num_threads(), "float32")
        with pytest.raises(Unsupported, match=r"PyTorch .* (is built without CUDA|finds no GPU)"):
            made.prepare(tiny(), tiny().inputs())

    @pytest.mark.parametrize("precision", ["float32", "tf32"])
    def test_the_precision_is_set_for_products_and_convolutions(self, precision):
        torch = pytest.importorskip("torch")
        load("pytorch", torch.get_num_threads(), precision)
        assert torch.backends.cuda.matmul.allow_tf32 is (precision == "tf32")
        assert torch.backends.cudnn.allow_tf32 is (precision == "tf32")
        assert torch.backends.cudnn.benchmark

    @pytest.mark.parametrize("name", SMALL)
    def test_answers_are_right(self, name, peer, small_networks, monkeypatch, tmp_path):
        case = SMALL[name]
        monkeypatch.setattr(peer, "device", "cpu")
        monkeypatch.setattr(peer, "finish", lambda answer: answer, raising=False)
        answers.write(case, tmp_path)
        found = Worker(peer).prepare(case, str(tmp_path))
        assert found["status"] == "ok", found["reason"]

    @pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
    @pytest.mark.parametrize("name", SMALL)
    def test_all_arrays_lie_on_the_device(self, name, peer, small_networks, monkeypatch):
        monkeypatch.setattr(peer, "device", "meta")  # operations refuse arrays of two devices
        monkeypatch.setattr("torch.Tensor.item", lambda loss: 0.0 if loss.device.type == "meta" else None)
        for call in peer.prepare(SMALL[name], SMALL[name].inputs()).values():
            answer = call()
            assert name == "train_step" or answer.device.type == "meta"
