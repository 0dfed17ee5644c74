import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv import checkpoint

STATE = {
    "model": {
        "0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "count": np.array(3),
        "empty": np.zeros((0, 2)),
    },
    "optimizer": {"lr": 0.1, "0.velocity": np.ones(2), "nesterov": False},
    "random": {"1": {"bit_generator": "PCG64", "state": {"state": 2**100 + 1, "inc": 3}}},
    "history": [{"epoch": 1, "loss": float("nan"), "val_loss": None}],
    "schedule": {},
}


def assert_same(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert sorted(one) == sorted(two)
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    else:
        np.testing.assert_equal(one, two)


@pytest.fixture
def path(tmp_path):
    checkpoint.write(tmp_path / "a.safetensors", STATE)
    return tmp_path / "a.safetensors"


def test_what_is_written_is_read(path):
    assert_same(checkpoint.read(path), STATE)
    assert list(path.parent.iterdir()) == [path]


def test_it_is_a_safetensors_file(path):
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(path)["model/0.weight"], STATE["model"]["0.weight"])


def test_arrays_of_any_memory_layout_are_written(tmp_path):
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))[::-1, ::2]
    array.flags.writeable = False
    checkpoint.write(tmp_path / "a", {"model": {"w": array}})
    np.testing.assert_array_equal(checkpoint.read(tmp_path / "a")["model"]["w"], array)


def test_every_truncation_is_noticed_and_names_the_file(path):
    content = path.read_bytes()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.safetensors is"):
            checkpoint.read(path)


def test_every_altered_byte_is_noticed_and_names_the_file(path):
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        altered = bytearray(content)
        altered[place] ^= 1
        path.write_bytes(altered)
        try:
            state = checkpoint.read(path)
        except ValueError as error:
            assert "a.safetensors" in str(error)  # noqa: PT017 (a harmless change may pass)
        else:
            assert_same(state, STATE)


def test_a_longer_file_is_noticed(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", pickle.dumps({"model": 1}), b"{}", b"\xff" * 100, b"PK\x03\x04" * 30]
)
def test_a_foreign_file_is_an_error(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="a is no safetensors file, or not a whole one"):
        checkpoint.read(tmp_path / "a")


def test_another_safetensors_file_is_an_error(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "a")
    with pytest.raises(ValueError, match="a is not a checkpoint of fastconv: its metadata says 'nothing'"):
        checkpoint.read(tmp_path / "a")
    save_file({"w": np.ones(2)}, tmp_path / "a", {"format": "pt"})
    with pytest.raises(ValueError, match="its metadata says 'pt', 'fastconv checkpoint 1' is accepted"):
        checkpoint.read(tmp_path / "a")


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint.read(tmp_path / "a")


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace", "pathlib.Path.open"])
def test_a_full_disk_leaves_the_old_checkpoint(path, monkeypatch, broken):
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(broken, full)
        with pytest.raises(OSError, match="No space left on device"):
            checkpoint.write(path, {"model": {"w": np.ones(1000)}})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    checkpoint.read(path)


LIMITED = """
import resource, signal, sys
import numpy as np
from fastconv import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoint.write(sys.argv[1], {"model": {"w": np.ones(100_000)}})
except OSError:
    print("refused")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on a file's size")
def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_checkpoint(path):
    run = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "refused"
    assert list(path.parent.iterdir()) == [path]
    assert_same(checkpoint.read(path), STATE)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint.write(tmp_path / "none" / "a", STATE)


def test_without_safetensors_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install .fastconv\[app\]"):
        checkpoint.write(path, STATE)
    with pytest.raises(ImportError, match=r"pip install .fastconv\[app\]"):
        checkpoint.read(path)


def test_nothing_is_pickled():
    """But compiled kernels: their folder is the user's own, and checked to be so."""
    package = Path(checkpoint.__file__).parent
    found = [file.name for file in package.rglob("*.py") if "import pickle" in file.read_text(encoding="utf-8")]
    assert found == ["cache.py"]
