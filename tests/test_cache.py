"""Compiled kernels on disk: never those of older sources, and no trouble with the disk reaches the caller."""

import hashlib
import importlib
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numba import config, njit, types

import fastconv
from fastconv.backends.cpu import cache, kernels, native
from fastconv.backends.cpu.identity import identity

SIGNATURE = (types.int64,)
PACKAGE = Path(fastconv.__file__).parent


def plus(value, **options):
    """A dispatcher that freezes a value."""

    def add(x):
        return x + value

    add.__module__ = native.__name__  # as if it were the package's own
    return njit(**options)(add)


def compiled(dispatcher, folder):
    """The dispatcher, compiled with or loaded from this folder, and whether it was loaded."""
    dispatcher._cache = cache.Store(dispatcher, folder)
    dispatcher.compile(SIGNATURE)
    return dispatcher, sum(dispatcher._cache_hits.values()) == 1


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "base" / ("0" * 32)


def only(folder):
    (path,) = folder.iterdir()
    return path


def python(code, *paths, **environment):
    variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, [*paths, PACKAGE.parent]))}
    return subprocess.Popen([sys.executable, "-P", "-c", code], env=variables, stdout=subprocess.PIPE, text=True)


def output(process):
    text = process.communicate(timeout=100)[0]
    assert process.returncode == 0
    return text.strip()


def test_what_was_compiled_is_loaded(folder):
    assert compiled(plus(3), folder)[1] is False
    loaded, hit = compiled(plus(3), folder)
    assert hit
    assert loaded(4) == 7


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_can_enter(folder):
    compiled(plus(3), folder)
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    assert only(folder).stat().st_mode & 0o777 == 0o600


@dataclass(frozen=True)
class Tile:
    rows: int
    dtype: type


def test_frozen_values_and_options_tell_functions_apart(folder):
    values = [3, 4, 3.0, np.float32(3), True, np.array([3]), np.array([3, 4])]
    dispatchers = [plus(value) for value in values] + [plus(3, fastmath={"nsz"}), plus(3, parallel=True)]
    names = {cache.Store(d, folder).path(SIGNATURE, d.targetctx) for d in dispatchers}
    assert len(names) == len(dispatchers)
    texts = {identity(v) for v in (Tile(1, float), Tile(2, float), Tile(1, int), (1,), {"a": 1}, {1}, types.int64, np)}
    assert len(texts) == 8
    d = dispatchers[0]
    assert cache.Store(d, folder).path((types.int32,), d.targetctx) not in names


def test_what_cannot_be_told_apart_has_no_identity():
    dispatcher = njit(plus(3).py_func)
    dispatcher.py_func.__closure__[0].cell_contents = object()
    with pytest.raises(TypeError, match="is frozen in a kernel"):
        identity(dispatcher)


def test_code_that_is_edited_is_another_function():
    def first(x):
        return x + 1

    def second(x):
        return x - 1

    for function in (first, second):
        function.__module__, function.__qualname__ = native.__name__, "same"
    assert identity(first) != identity(second)


def test_every_process_finds_the_same_names():
    code = (
        "import hashlib\n"
        "from fastconv.backends.cpu import activation, kernels, native, programs, team\n"
        "from fastconv.backends.cpu.identity import identity\n"
        "found = [identity(d) for d in (team.work, programs.run_steps, kernels.run_kernel)]\n"
        "found.append(identity(activation.map_gelu_grad.function))\n"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())"
    )
    runs = [python(code, PYTHONHASHSEED=seed) for seed in "123"]
    assert len({output(run) for run in runs}) == 1


def test_all_kernels_of_the_package_can_be_kept():
    found = []
    for path in (PACKAGE / "backends" / "cpu").glob("*.py"):
        module = importlib.import_module(f"fastconv.backends.cpu.{path.stem}")
        for value in vars(module).values():
            if isinstance(value, kernels.Kernel):
                found.append(identity(value.function))
            elif hasattr(value, "py_func"):
                found.append(identity(value))
    assert len(set(found)) > 40


def test_any_source_version_or_setting_makes_another_folder(tmp_path, monkeypatch):
    sources = tmp_path / "package"
    (sources / "below").mkdir(parents=True)
    (sources / "a.py").write_text("x = 1")
    (sources / "below" / "b.py").write_text("")
    found = [cache.digest(sources)]
    assert cache.digest(sources) == found[0]
    (sources / "below" / "b.py").write_text("y = 1")
    found.append(cache.digest(sources))
    (sources / "below" / "b.py").rename(sources / "below" / "c.py")
    found.append(cache.digest(sources))
    (sources / "d.py").write_text("")
    found.append(cache.digest(sources))
    monkeypatch.setattr(cache.numba, "__version__", "0")
    found.append(cache.digest(sources))
    monkeypatch.setattr(config, "OPT", "other")
    found.append(cache.digest(sources))
    assert len(set(found)) == len(found) == 6
    with pytest.raises(OSError, match="no sources"):
        cache.digest(tmp_path / "nothing")


def test_an_edit_in_another_file_is_seen(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import numpy as np, fastconv.functional as F; print(F.gelu(np.ones(3), 'tanh')[0])"
    chosen = {"FASTCONV_CACHE_DIR": str(tmp_path / "kept")}
    before = output(python(code, tmp_path, **chosen))
    path = tmp_path / "fastconv" / "backends" / "cpu" / "activation.py"
    path.write_text(path.read_text("utf-8").replace("CUBIC = 0.044715", "CUBIC = 0.0"), "utf-8")
    after = output(python(code, tmp_path, **chosen))
    assert float(before) == pytest.approx(0.8411919906)
    assert float(after) == pytest.approx(0.5 * (1 + np.tanh(np.sqrt(2 / np.pi))))
    assert len(list((tmp_path / "kept").iterdir())) == 2


def flip(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def garbage(_):
    return hashlib.sha256(b"garbage").digest() + b"garbage"


@pytest.mark.parametrize("damage", [flip, garbage, lambda content: content[:100], lambda content: b""])
def test_a_damaged_file_is_compiled_anew(folder, damage):
    compiled(plus(3), folder)
    path = only(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    dispatcher, hit = compiled(plus(3), folder)
    assert not hit
    assert dispatcher(4) == 7
    assert compiled(plus(3), folder)[1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_what_others_can_write_to_is_not_executed(folder):
    compiled(plus(3), folder)
    only(folder).chmod(0o620)
    assert compiled(plus(3), folder)[1] is False
    assert compiled(plus(3), folder)[1] is True  # written anew
    shutil.rmtree(folder)
    folder.mkdir()
    folder.chmod(0o770)
    compiled(plus(3), folder)
    assert not list(folder.iterdir())


def test_a_folder_that_vanishes_is_made_anew(folder):
    compiled(plus(3), folder)
    shutil.rmtree(folder.parent)
    assert compiled(plus(3), folder)[0](1) == 4
    assert compiled(plus(3), folder)[1]


def test_a_folder_that_cannot_be_written_to_is_only_logged(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.INFO, "fastconv"):
        dispatcher, hit = compiled(plus(3), tmp_path / "file" / "folder")
    assert not hit
    assert dispatcher(4) == 7
    assert "add is not kept on disk" in caplog.text


def chosen(monkeypatch, value):
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(value))
    return cache.folder.__wrapped__()


def test_the_environment_chooses_the_folder(tmp_path, monkeypatch):
    assert chosen(monkeypatch, tmp_path / "a" / "b").parent == tmp_path / "a" / "b"
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert tmp_path / "home" in chosen(monkeypatch, "").parents


@pytest.mark.parametrize("place", ["relative", os.devnull + "/below"])
def test_where_there_can_be_no_folder_nothing_is_kept(place, monkeypatch):
    assert chosen(monkeypatch, place) is None
    monkeypatch.setattr(cache, "folder", lambda: None)
    assert cache.kept(plus(3))(4) == 7


def test_without_a_home_nothing_is_kept(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert chosen(monkeypatch, "") is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path, monkeypatch, mode):
    tmp_path.chmod(mode)
    assert chosen(monkeypatch, tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    os.chown(tmp_path, 12345, -1)
    assert chosen(monkeypatch, tmp_path) is None


def test_folders_of_older_sources_are_removed(tmp_path):
    for age in range(8):
        made = tmp_path / f"{age:032x}"
        made.mkdir()
        (made / "kernel").write_text("")
        os.utime(made, (1e9 - age, 1e9 - age))
    (tmp_path / "something else").mkdir()
    cache.prune(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [*(f"{age:032x}" for age in range(5)), "something else"]
    cache.prune(tmp_path / "missing")


def test_processes_that_compile_at_once(tmp_path):
    code = (
        "import logging, sys; logging.basicConfig(stream=sys.stdout); logging.getLogger('fastconv').setLevel(10)\n"
        "import numpy as np, fastconv.functional as F\n"
        "from fastconv.backends.cpu import programs\n"
        "y = F.relu(np.arange(-3.0, 3.0))\n"
        "print(y.tolist(), sum(programs.run_on._cache_hits.values()))"
    )
    environment = {"FASTCONV_CACHE_DIR": str(tmp_path)}
    for run in [python(code, **environment) for _ in range(2)]:
        assert output(run).startswith("[0.0, 0.0, 0.0, 0.0, 1.0, 2.0]")
    assert not list(tmp_path.rglob("*.*"))  # no part of a file is left
    assert output(python(code, **environment)) == "[0.0, 0.0, 0.0, 0.0, 1.0, 2.0] 1"


def test_code_of_one_factory_from_two_processes_stays_apart(tmp_path):
    code = (
        "import sys; from fastconv.backends.cpu import native, strips\n"
        "for item, lanes in eval(sys.argv[1]):\n"
        "    kernel = strips.fill_body(item, lanes)\n"
        "    native.code(kernel)\n"
        "    result = kernel.get_compile_result(native.BODY)\n"
        "    print(result.fndesc.llvm_cfunc_wrapper_name)\n"
    )

    def names(factories):
        environment = {**os.environ, "FASTCONV_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", code, factories]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return run.stdout.split()

    apart = names("[(4, 16)]") + names("[(8, 8)]")
    assert len(set(apart)) == 2
    assert names("[(8, 8), (4, 16)]") == apart[::-1]
