"""The command line: `fastconv train`, `filter`, `bench`, `explain`, `warmup` and `info`.

What the user did wrong ends with status 2, what the machine lacks with 1, Ctrl-C with 130, each with one line that says
what to do.
"""

import argparse
import ctypes
import importlib
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastconv
from fastconv import algorithms, backends, filters, photo, threads
from fastconv.errors import BackendUnavailableError
from fastconv.explanation import OPERATIONS, explain
from fastconv.runs import RECIPES, Settings, prepare, train
from fastconv.warmup import warm_up

MODELS = tuple(RECIPES)


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help says more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        The exit status: 0, 1 (a file can't be written), 2 (wrong arguments or data), 130 (Ctrl-C).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["bench"]:  # it has a parser of its own
        return _bench(words[1:])
    try:
        options = parser().parse_args(words)
        status: int = options.command(options)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except (ValueError, BackendUnavailableError, FileExistsError, FileNotFoundError) as error:
        return _complain(str(error), 2)
    except (OSError, ImportError) as error:
        return _complain(str(error), 1)
    return status


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(prog="fastconv", description="Convolution and convolutional networks in pure Python.")
    commands = top.add_subparsers(title="commands", required=True, metavar="{train,filter,bench,explain,warmup,info}")
    command = commands.add_parser(
        "train",
        help="train a model",
        description="Train a model; its folder gets metrics.json, model.safetensors and pictures.",
    )
    command.add_argument("model", choices=MODELS, help="which model: %(choices)s", metavar="model")
    command.add_argument(
        "--data",
        default="mnist5k",
        help="mnist5k, mnist, fashion-mnist, or a folder with four IDX files (default: %(default)s)",
    )
    command.add_argument("--epochs", type=_count, help=f"how often every image is seen ({_defaults('epochs')})")
    command.add_argument("--batch-size", type=_count, help=f"images in a step ({_defaults('batch_size')})")
    command.add_argument("--lr", type=_rate, help=f"learning rate ({_defaults('lr')})")
    command.add_argument("--seed", type=_seed, default=0, help="fixes the whole run (default: %(default)s)")
    command.add_argument("--backend", choices=backends.NAMES, help="what computes (default: FASTCONV_BACKEND, or cpu)")
    command.add_argument("--threads", type=_count, help="at most (default: FASTCONV_NUM_THREADS, or all processors)")
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    command.add_argument("--out", help="the run's folder (default: runs/<model>, or runs/<model>-2 and so on)")
    command.set_defaults(command=_train)
    _add_filter(commands)
    commands.add_parser("bench", help="measure fastconv beside other libraries (fastconv bench --help says how)")
    command = commands.add_parser(
        "explain",
        help="how a convolution is computed here",
        description="Algorithm, tile, blocks, threads and expected time of a convolution or of its gradients.",
    )
    command.add_argument(
        "operation",
        choices=OPERATIONS,
        metavar="operation",
        help="conv2d, conv2d_input_grad, conv2d_weight_grad, conv_transpose2d and so on; also 1d and 3d",
    )
    command.add_argument("--input", type=_sizes, required=True, help="x's shape, as 1x64x56x56", metavar="NxCxHxW")
    command.add_argument("--weight", type=_sizes, required=True, help="as 64x64x3x3", metavar="OxCxRxS")
    for name, least in (("stride", 1), ("dilation", 1), ("output-padding", 0)):
        command.add_argument(f"--{name}", type=_per_axis, help=f"as 1 or 2x1 (default: {least})")
    command.add_argument("--padding", type=_padding, help="as 1, 2x1, 0:1x0:1 (before:after), same (default: 0)")
    command.add_argument("--groups", type=_count, help="(default: 1)")
    command.add_argument("--dtype", choices=("float32", "float64", "float16"), default="float32")
    command.add_argument("--algorithm", choices=algorithms.NAMES, default="auto")
    command.add_argument("--measure", action="store_true", help="also time it, and the machine's roof")
    command.add_argument("--assembly", action="store_true", help="also show the machine code of its hot loop")
    command.set_defaults(command=_explain)
    command = commands.add_parser(
        "warmup",
        help="compile kernels ahead",
        description="Compile the kernels of the models' training and of common layers, and keep them on disk.",
    )
    command.add_argument("--float64", action="store_true", help="also those of layers in float64")
    command.set_defaults(command=_warmup)
    told = commands.add_parser("info", help="what fastconv found on this machine")
    told.set_defaults(command=_info)
    return top


def _add_filter(commands: Any) -> None:
    """`filter` and its options."""
    command = commands.add_parser(
        "filter",
        help="filter a picture",
        description="Filter a picture's channels by convolution; its alpha stays as it is. "
        "Results are rounded, and cut off at black and white.",
    )
    command.add_argument("picture", help="grey or RGB, of 8 bits, or grey of 16")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--gaussian", type=_count, metavar="SIZE", help="smooth by a Gaussian of SIZE x SIZE taps")
    which.add_argument("--box", type=_count, metavar="SIZE", help="the mean of SIZE x SIZE pixels")
    which.add_argument(
        "--sobel", action="store_true", help="the gradient: a straight edge from black to white is white"
    )
    which.add_argument("--laplace", action="store_true", help="the magnitude of the second differences' sum")
    which.add_argument(
        "--kernel", metavar="FILE", help="a filter of your own: rows of numbers with commas between them"
    )
    command.add_argument("--sigma", type=_rate, help="the Gaussian's standard deviation, in pixels (default: SIZE / 6)")
    command.add_argument(
        "--mode",
        choices=photo.MODES,
        default="reflect",
        help="how the picture goes on beyond its edges: %(choices)s (default: %(default)s)",
        metavar="MODE",
    )
    command.add_argument("-o", "--output", help="where the result goes (default: <picture>-filtered.png)")
    command.set_defaults(command=_filter)


def _filter(options: argparse.Namespace) -> int:
    """`fastconv filter`."""
    if options.sigma is not None and options.gaussian is None:
        raise ValueError("--sigma is the Gaussian's: it is accepted with --gaussian")
    kernel = None
    if options.gaussian is not None:
        kernel = filters.gaussian_kernel(options.gaussian, options.sigma or options.gaussian / 6, normalize=True)
    elif options.box is not None:
        kernel = filters.box_kernel(options.box)
    elif options.kernel is not None:
        kernel = photo.read_kernel(options.kernel)
    elif options.laplace:
        kernel = filters.laplace_kernel()
    source = Path(options.picture)
    target = Path(options.output or source.with_name(f"{source.stem}-filtered.png"))
    photo.filter_picture(source, target, kernel, options.mode, not options.laplace)
    _say(f"the filtered picture is {target}")
    return 0


def _train(options: argparse.Namespace) -> int:
    """`fastconv train`."""
    recipe = RECIPES[options.model]
    settings = Settings(
        options.model,
        options.data,
        options.epochs or recipe.epochs,
        options.batch_size or recipe.batch_size,
        options.lr or recipe.lr,
        options.seed,
    )
    before = threads.get_num_threads()
    with nullcontext() if options.backend is None else backends.use_backend(options.backend):
        backends.load(backends.backend_name())
        folder = prepare(options.model, options.out, options.resume)
        try:
            if options.threads is not None:
                threads.set_num_threads(options.threads)
            figures = train(settings, folder, options.resume, _say)
        except KeyboardInterrupt:
            return _complain(f"interrupted; to go on: {_resuming(options, folder)}", 130)
        except (ImportError, OSError, ValueError):
            _remove_if_empty(folder)
            raise
        finally:
            if options.threads is not None:
                threads.set_num_threads(before)
    score = "test_accuracy" if "test_accuracy" in figures else "test_mse"
    _say(f"{score} {figures[score]:.4f} after {len(figures['epochs'])} epochs in {figures['seconds']:.1f} s "
         f"({figures['images_per_second']:.0f} images/s)")  # fmt: skip
    if "noisy_mse" in figures:
        _say(f"the noisy images' mean squared error is {figures['noisy_mse']:.4f}")
    _say(f"weights, figures and pictures are in {folder}")
    return 0


def _bench(arguments: list[str]) -> int:
    """`fastconv bench`: the suite is not part of what a program needs, so it is imported here alone."""
    status: int = importlib.import_module("fastconv.benchmarks.command").main(arguments)
    return status


def _resuming(options: argparse.Namespace, folder: Path) -> str:
    """The command that goes on with an interrupted run."""
    words = ["fastconv", "train", options.model]
    for name in ("data", "epochs", "batch_size", "lr", "seed", "backend", "threads"):
        value = getattr(options, name)
        if value is not None and (name, value) not in (("data", "mnist5k"), ("seed", 0)):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--out", folder.as_posix(), "--resume"])


def _remove_if_empty(folder: Path) -> None:
    """Leave no folder behind that a failed run made and put nothing into."""
    if not any(folder.iterdir()):
        folder.rmdir()


def _explain(options: argparse.Namespace) -> int:
    """`fastconv explain`."""
    names = ("stride", "padding", "dilation", "groups", "output_padding")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    chosen = {name: getattr(options, name) for name in ("dtype", "algorithm", "measure", "assembly")}
    try:
        _say(str(explain(options.operation, options.input, options.weight, **chosen, **given)))
    except TypeError as error:
        return _complain(str(error), 2)
    return 0


def _warmup(options: argparse.Namespace) -> int:
    """`fastconv warmup`."""
    with backends.use_backend("cpu"):
        warm_up(("float32", "float64") if options.float64 else ("float32",))
    from fastconv.backends.cpu.info import describe

    _say(f"kernels are kept in {_kernel_cache(describe())}")
    return 0


def _info(_: argparse.Namespace) -> int:
    """`fastconv info`."""
    name = backends.backend_name()
    rows = {
        "fastconv": fastconv.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "backend": name,
    }
    if name == "cpu":
        from fastconv.backends.cpu.info import describe

        rows |= _processor(describe())
    else:
        rows["threads"] = str(threads.get_num_threads())
    rows["gpu"] = _gpus()
    for label, value in rows.items():
        _say(f"{label:<17}{value}")
    return 0


def _processor(found: dict[str, Any]) -> dict[str, str]:
    """What the cpu backend found, as text."""
    caches = [f"{name} {size // 1024} KiB" for name, size in found["processor_caches"].items()]
    bits = found["vector_bits"]
    return {
        "numba": f"{found['numba']} (llvmlite {found['llvmlite']})",
        "processor": found["processor"],
        "vector width": f"{bits} bits, {bits // 32} float32",
        "threads": f"{found['threads']} of {threads.available()} processors",
        "processor caches": ", ".join(caches) or "unknown",
        "kernel cache": _kernel_cache(found),
    }


def _kernel_cache(found: dict[str, Any]) -> str:
    """Where compiled kernels are kept, and how much there is."""
    if found["kernel_cache"] is None:
        return "none: its folder can't be used (FASTCONV_CACHE_DIR sets another)"
    return f"{found['kernel_cache']} ({found['kernel_cache_bytes'] / 1e6:.1f} MB)"


def _gpus() -> str:
    """NVIDIA's GPUs, as the driver names them."""
    library = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return "none (no NVIDIA driver)"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "none that the NVIDIA driver can use"
    names = []
    for i in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(100)
        driver.cuDeviceGet(ctypes.byref(device), i)
        driver.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    try:
        backends.load("cuda")
    except BackendUnavailableError as error:
        return f"{', '.join(names)} (not used: {error})"
    return f"{', '.join(names)} (FASTCONV_BACKEND=cuda computes there)"


def _defaults(name: str) -> str:
    """The recipes' values of an option, as the help gives them."""
    values = {model: getattr(recipe, name) for model, recipe in RECIPES.items()}
    if len(set(values.values())) == 1:
        return f"default: {values[MODELS[0]]}"
    return "default: " + ", ".join(f"{value} for {model}" for model, value in values.items())


def _count(text: str) -> int:
    return _integer(text, 1)


def _seed(text: str) -> int:
    return _integer(text, 0)


def _sizes(text: str) -> tuple[int, ...]:
    """Ints between crosses."""
    return tuple(_integer(part, 0) for part in text.split("x"))


def _per_axis(text: str) -> int | tuple[int, ...]:
    """An int, or ints between crosses."""
    sizes = _sizes(text)
    return sizes if len(sizes) > 1 else sizes[0]


def _padding(text: str) -> Any:
    """A word, an int, or for each axis an int or two."""
    if text in ("same", "valid") or ":" not in text:
        return text if text.isalpha() else _per_axis(text)
    sides = [tuple(_integer(part, 0) for part in side.split(":")) for side in text.split("x")]
    return tuple(side if len(side) > 1 else side[0] for side in sides)


def _integer(text: str, least: int) -> int:
    if text.isascii() and text.isdecimal() and int(text) >= least:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: an integer of at least {least} is accepted")


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and number > 0:
        return number
    raise argparse.ArgumentTypeError(f"{text!r}: a number above 0 is accepted")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(line: str, status: int) -> int:
    """One line on standard error; the status."""
    sys.stderr.write(f"fastconv: {' '.join(line.split())}\n")
    return status
