import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from idx_files import write

import fastconv
from fastconv import warmup
from fastconv.cli import main
from fastconv.runs import RECIPES

pytest.importorskip("matplotlib")
pytest.importorskip("safetensors")

PICTURES = {
    "lenet": {"curves", "confusion_matrix", "filters", "feature_maps", "mistakes"},
    "residual": {"curves", "confusion_matrix", "filters", "feature_maps", "mistakes"},
    "autoencoder": {"curves", "filters", "feature_maps", "reconstructions", "latent_plane", "traversal"},
    "unet": {"curves", "filters", "feature_maps", "reconstructions"},
}


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """The path of a small set, in a folder of its own that is the working folder."""
    folder = tmp_path / "digits"
    folder.mkdir()
    write(folder)
    monkeypatch.chdir(tmp_path)
    return "digits"


def figures(folder):
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(Path(folder) / "model.safetensors")


def assert_same_weights(one, two):
    one, two = weights(one), weights(two)
    assert list(one) == list(two)
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize("model", RECIPES)
def test_train_leaves_figures_weights_and_pictures(digits, capsys, model):
    assert main(["train", model, "--data", digits, "--epochs", "2", "--batch-size", "10", "--seed", "1"]) == 0
    folder = Path("runs") / model
    pictures = {f"{name}.png" for name in PICTURES[model]}
    files = {"metrics.json", "model.safetensors", "checkpoint.safetensors"}
    assert {path.name for path in folder.iterdir()} == pictures | files
    found = figures(folder)
    assert found["model"] == model
    assert (found["data"], found["seed"], found["backend"]) == (digits, 1, "cpu")
    assert [row["epoch"] for row in found["epochs"]] == [1, 2]
    assert found["threads"] == fastconv.get_num_threads()
    assert set(found["versions"]) == {"python", "fastconv", "numpy", "numba", "llvmlite"}
    assert found["seconds"] > 0
    assert found["images_per_second"] > 0
    score = f"test_{RECIPES[model].metric}"
    assert found[score] == found["epochs"][-1]["val_metric"]
    assert ("noisy_mse" in found) == (model == "unet")
    shown = capsys.readouterr()
    assert f"{score} {found[score]:.4f} after 2 epochs" in shown.out
    assert str(folder) in shown.out
    assert shown.err.count("images/s") == 2


def test_the_weights_are_those_of_the_model(digits):
    assert main(["train", "lenet", "--data", digits, "--epochs", "1", "--seed", "5"]) == 0
    model = fastconv.models.lenet(seed=0)
    model.load("runs/lenet/model.safetensors")
    for key, value in weights("runs/lenet").items():
        np.testing.assert_array_equal(model.state_dict()[key], value)


def test_the_next_run_has_a_folder_of_its_own(digits):
    for _ in range(3):
        assert main(["train", "lenet", "--data", digits, "--epochs", "1"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["lenet", "lenet-2", "lenet-3"]
    assert_same_weights("runs/lenet", "runs/lenet-3")


def test_the_threads_do_not_matter_and_are_set_back(digits):
    before = fastconv.get_num_threads()
    options = ["train", "lenet", "--data", digits, "--epochs", "1"]
    assert main([*options, "--threads", "1", "--out", "one"]) == 0
    assert main([*options, "--out", "all"]) == 0
    assert_same_weights("one", "all")
    assert figures("one")["threads"] == 1
    assert fastconv.get_num_threads() == before


def test_the_backend_is_the_one_that_was_asked_for(digits):
    options = ["train", "lenet", "--data", digits, "--epochs", "1"]
    assert main([*options, "--backend", "reference"]) == 0
    assert figures("runs/lenet")["backend"] == "reference"


@pytest.mark.parametrize("model", ["lenet", "residual"])
def test_a_resumed_run_has_the_weights_of_a_whole_one(digits, monkeypatch, capsys, model):
    options = ["train", model, "--data", digits, "--epochs", "3", "--batch-size", "7", "--lr", "0.01"]
    assert main([*options, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        count = iter(range(100))
        step = fastconv.training.Trainer.step

        def interrupted(trainer, x, y):
            if next(count) == 4:
                raise KeyboardInterrupt
            return step(trainer, x, y)

        patch.setattr(fastconv.training.Trainer, "step", interrupted)
        capsys.readouterr()
        assert main(options) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    expected = f"fastconv train {model} --data digits --epochs 3 --batch-size 7 --lr 0.01 --out runs/{model} --resume"
    assert said.replace("\\", "/").endswith(f"interrupted; to go on: {expected}")
    assert main(expected.split()[1:]) == 0
    assert_same_weights("whole", f"runs/{model}")
    assert len(figures(f"runs/{model}")["epochs"]) == 3


def test_a_finished_run_can_have_more_epochs(digits):
    options = ["train", "lenet", "--data", digits]
    assert main([*options, "--epochs", "3", "--out", "whole"]) == 0
    assert main([*options, "--epochs", "1"]) == 0
    assert main([*options, "--epochs", "3", "--resume"]) == 0
    assert_same_weights("whole", "runs/lenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "the following arguments are required: model"),
        (["train", "alexnet"], "invalid choice: 'alexnet'"),
        (["train", "lenet", "--epochs", "0"], "--epochs: '0': an integer of at least 1 is accepted"),
        (["train", "lenet", "--batch-size", "many"], "--batch-size: 'many': an integer"),
        (["train", "lenet", "--lr", "-1"], "--lr: '-1': a number above 0 is accepted"),
        (["train", "lenet", "--lr", "nan"], "--lr: 'nan': a number above 0"),
        (["train", "lenet", "--seed", "-1"], "--seed: '-1': an integer of at least 0"),
        (["train", "lenet", "--threads", "0"], "--threads: '0': an integer of at least 1"),
        (["train", "lenet", "--backend", "tpu"], "--backend: invalid choice: 'tpu'"),
        (["train", "lenet", "--backend", "cuda"], "the cuda backend .* can't run: no GPU; set FASTCONV_BACKEND=cpu"),
        (["train", "lenet", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["train", "lenet", "--data", "nowhere"], "name is 'nowhere': mnist5k, mnist, fashion-mnist are accepted"),
        (["train", "lenet", "--data", "empty"], "train-images-idx3-ubyte .* is in none of the folders empty"),
        (["train", "lenet", "--data", "wide"], "the images of wide have 28x30 pixels: 28x28 are accepted"),
        (["train", "lenet", "--data", "broken"], "t10k-images-idx3-ubyte is truncated or altered"),
        (["train", "lenet", "--resume"], "runs.lenet is not there: --resume goes on with a run"),
        (["train", "lenet", "--out", "digits"], "digits holds something already: give --resume"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(digits, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("fastconv.backends.cuda._fault", lambda: ("no GPU", None))
    fastconv.backends.load.cache_clear()
    for name in ("empty", "wide", "broken"):
        Path(name).mkdir()
    write(Path("wide"), size=(28, 30))
    write(Path("broken"))
    path = Path("broken") / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1
    assert re.search(message, shown.err)
    assert not (Path("runs") / "lenet").exists()


def test_resuming_another_run_is_an_error(digits, capsys):
    assert main(["train", "lenet", "--data", digits, "--epochs", "1"]) == 0
    for options, name in (
        (["--seed", "1"], "seed 0"),
        (["--lr", "0.5"], "lr 0.02"),
        (["--batch-size", "5"], "batch_size"),
    ):
        capsys.readouterr()
        assert main(["train", "lenet", "--data", digits, "--resume", *options]) == 2
        assert name in capsys.readouterr().err
    assert main(["train", "residual", "--data", digits, "--resume", "--out", "runs/lenet"]) == 2
    assert "of a run with model lenet" in capsys.readouterr().err


def test_resuming_a_damaged_run_is_an_error(digits, capsys):
    assert main(["train", "lenet", "--data", digits, "--epochs", "1"]) == 0
    path = Path("runs/lenet/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    capsys.readouterr()
    assert main(["train", "lenet", "--data", digits, "--epochs", "2", "--resume"]) == 2
    assert "checkpoint.safetensors is no safetensors file, or not a whole one" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_status_1(digits, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["train", "lenet", "--data", digits, "--epochs", "1"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("No space left on device")
    assert not Path("runs/lenet").exists()


def test_without_the_extra_nothing_is_begun_and_its_name_is_told(digits, capsys, monkeypatch):
    def found(name):
        return None if name == "matplotlib" else find_spec(name)

    monkeypatch.setattr("fastconv.runs.run.find_spec", found)
    assert main(["train", "lenet", "--data", digits]) == 1
    assert 'fastconv train needs matplotlib: pip install "fastconv[app]"' in capsys.readouterr().err
    assert not Path("runs/lenet").exists()


def test_info_tells_what_was_found(capsys):
    assert main(["info"]) == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert {
        "fastconv",
        "python",
        "numpy",
        "numba",
        "backend",
        "processor",
        "vector",
        "threads",
        "kernel",
        "gpu",
    } <= set(rows)
    assert rows["backend"] == "cpu"
    assert "bits" in rows["vector"] or "unknown" in rows["vector"]


def test_warmup_runs_every_job_and_tells_how_long_it_took(capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(
        "fastconv.warmup.jobs", lambda dtypes: [(f"job {d}", lambda d=d: ran.append(d)) for d in dtypes]
    )
    assert main(["warmup", "--float64"]) == 0
    assert ran == ["float32", "float64"]
    out, err = capsys.readouterr()
    assert re.fullmatch(r" 1/2 job float32: \d+\.\d s\n 2/2 job float64: \d+\.\d s\n", err)
    assert "kernels are kept in" in out


def test_everything_that_warms_up_runs():
    with fastconv.use_backend("reference"):
        found = warmup.jobs(("float32", "float64"))
        for _, job in found[len(warmup.RECIPES) :]:
            job()
    assert len({name for name, _ in found}) == len(found)


@pytest.mark.parametrize("name", warmup.RECIPES)
def test_every_model_warms_up(name, monkeypatch):
    steps = []
    monkeypatch.setattr(warmup.Trainer, "step", lambda _, x, y: steps.append(len(x)))
    monkeypatch.setattr(warmup.Trainer, "evaluate", lambda _, x, y: None)
    warmup.train(name)
    assert steps == [64, 1]


def test_info_names_the_reference_backend(capsys):
    with fastconv.use_backend("reference"):
        assert main(["info"]) == 0
    assert "reference" in capsys.readouterr().out


def test_help_names_every_option(capsys):
    assert main(["--help"]) == 0
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (
        "--data",
        "--epochs",
        "--batch-size",
        "--lr",
        "--seed",
        "--backend",
        "--threads",
        "--resume",
        "--out",
    ):
        assert option in shown


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "fastconv", "--help"]
    assert "train" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(digits):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("started where interrupts are ignored, as its children are then")
    command = [sys.executable, "-m", "fastconv", "train", "lenet", "--data", digits, "--epochs", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not Path("runs/lenet/checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].endswith("--epochs 100000 --out runs/lenet --resume")
    assert "Traceback" not in said
