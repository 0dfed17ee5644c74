"""One run: from settings to a folder with metrics.json, model.safetensors, checkpoint.safetensors and pictures."""

import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import backends, datasets, files, threads
from fastconv.datasets import Dataset
from fastconv.optim import CosineSchedule
from fastconv.runs.pictures import draw
from fastconv.runs.recipes import RECIPES
from fastconv.training import Trainer, fit

SIZE = (28, 28)  # of the images that all models take


@dataclass(frozen=True)
class Settings:
    """What fixes a run."""

    model: str
    data: str
    epochs: int
    batch_size: int
    lr: float
    seed: int


def train(
    settings: Settings, folder: Path, resume: bool = False, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Train a model as its recipe says, and leave its weights, figures and pictures in a folder.

    Parameters
    ----------
    settings : Settings
    folder : Path
        It exists.
    resume : bool
        Go on from the folder's checkpoint, if it has one.
    say : callable
        Told a line of text now and then.

    Returns
    -------
    dict
        What metrics.json holds.

    Raises
    ------
    ImportError
        If matplotlib or safetensors is not installed.
    OSError, ValueError
        If the data can't be had, or the checkpoint belongs to another run.
    """
    _require_libraries()
    recipe = RECIPES[settings.model]
    loaded = _loaded(settings.data, recipe.normalize)
    data = recipe.task(loaded, settings.seed)
    model = recipe.build(settings.seed, len(loaded.classes))
    optimizer = recipe.optimizer(model.parameters(), settings.lr)
    schedule = CosineSchedule(optimizer, settings.epochs) if recipe.cosine else None
    trainer = Trainer(model, recipe.loss, optimizer, schedule=schedule)
    rows = _rows_so_far(settings, folder / "metrics.json") if resume else []
    figures: dict[str, Any] = {**asdict(settings), **_surroundings(), "epochs": rows}
    say(f"{settings.model} on {loaded.name}: {len(data.train)} images to learn from, {len(data.test)} to test with")

    def note(_: Trainer, row: dict[str, Any]) -> None:
        figures["epochs"] = [*figures["epochs"][: row["epoch"] - 1], row]
        _write_json(folder / "metrics.json", figures)

    history = fit(
        trainer,
        data,
        settings.epochs,
        settings.batch_size,
        callbacks=[note],
        seed=settings.seed,
        checkpoint=folder / "checkpoint.safetensors",
        resume=resume,
    )
    figures |= {"epochs": history, **_results(trainer, data, history, recipe.metric)}
    if settings.model == "unet":
        figures["noisy_mse"] = float(np.square(data.test.x - data.test.y, dtype=np.float64).mean())
    model.save(folder / "model.safetensors")
    draw(folder, settings.model, trainer, loaded, data, history)
    _write_json(folder / "metrics.json", figures)
    return figures


def prepare(model: str, out: str | None, resume: bool) -> Path:
    """The run's folder: the one that was named, or runs/<model>, or runs/<model>-2 and so on where that is taken.

    Raises
    ------
    FileExistsError
        If the named folder holds something already and the run is not to be resumed.
    FileNotFoundError
        If there is nothing to resume.
    """
    folder = Path(out) if out is not None else Path("runs") / model
    if resume:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not there: --resume goes on with a run whose folder --out names")
        return folder
    if out is not None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} holds something already: give --resume to go on with it, or another --out")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder.parent.mkdir(exist_ok=True)
    number = 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = Path("runs") / f"{model}-{number}"


def _require_libraries() -> None:
    """Ask for what the run will need at its end now, not after the training."""
    missing = [name for name in ("matplotlib", "safetensors") if find_spec(name) is None]
    if missing:
        raise ImportError(f'fastconv train needs {" and ".join(missing)}: pip install "fastconv[app]"')


def _loaded(name: str, normalize: str) -> Dataset:
    """The data set of that name or folder, whose images the models must fit."""
    data = datasets.load(name, normalize=normalize)
    size = data.train.x.shape[2:]
    if size != SIZE:
        raise ValueError(f"the images of {name} have {size[0]}x{size[1]} pixels: {SIZE[0]}x{SIZE[1]} are accepted")
    return data


def _rows_so_far(settings: Settings, path: Path) -> list[Any]:
    """The rows of the run that goes on; ValueError if it had other settings, but it may get more epochs."""
    if not path.exists():
        return []
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        rows = list(before["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}; remove it to resume without its figures") from None
    for name, value in asdict(settings).items():
        if name != "epochs" and before.get(name) != value:
            raise ValueError(f"{path} is of a run with {name} {before.get(name)}, this one has {value}: give the same")
    return rows


def _surroundings() -> dict[str, Any]:
    """Where the run takes place."""
    libraries = {name: _version(name) for name in ("fastconv", "numpy", "numba", "llvmlite")}
    return {
        "backend": backends.backend_name(),
        "threads": threads.get_num_threads(),
        "versions": {"python": platform.python_version(), **libraries},
    }


def _version(name: str) -> str:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _results(trainer: Trainer, data: Dataset, history: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The trained model's figures."""
    seconds = sum(row["seconds"] for row in history)
    return {
        f"test_{metric}": trainer.evaluate(data.test.x, data.test.y).metric,
        "seconds": seconds,
        "images_per_second": len(data.train) * len(history) / seconds,
    }


def _write_json(path: Path, figures: dict[str, Any]) -> None:
    """Write figures as JSON, which knows neither NaN nor infinity."""
    files.replace(path, (json.dumps(_finite(figures), indent=2) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
