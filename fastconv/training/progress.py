"""What a training shows while it runs: a bar for each epoch on a terminal, one line for each epoch elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any


class EpochProgress:
    """The progress of one epoch, on standard error.

    Parameters
    ----------
    epoch, epochs : int
        The epoch that runs, from 1, and how many there will be.
    images : int
        How many images the epoch has.
    metric : str
        The name of the metric, such as "accuracy".
    shown : bool
        Whether to show anything at all.
    """

    def __init__(self, epoch: int, epochs: int, images: int, metric: str, shown: bool = True) -> None:
        self.label, self.metric, self.shown = f"epoch {epoch:>{len(str(epochs))}}/{epochs}", metric, shown
        self.started = time.perf_counter()
        self.done = 0
        layout = "{desc} {bar:20} {n_fmt}/{total_fmt} {rate_fmt} {postfix}"
        self.bar = bar(images, layout, desc=self.label, unit=" images") if shown else None

    def update(self, images: int, loss: float) -> None:
        """Count `images` more, after which the mean loss is `loss`."""
        self.done += images
        if self.bar is not None:
            self.bar.update(images)
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)

    def finish(self, row: Mapping[str, Any]) -> None:
        """Show the whole epoch's loss, metric and speed."""
        if not self.shown:
            return
        parts = [f"loss {row['loss']:.4f}"]
        if row["val_loss"] is not None:
            parts += [f"val_loss {row['val_loss']:.4f}", f"val_{self.metric} {row['val_metric']:.4f}"]
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(parts))
            self.bar.close()
        else:
            speed = f"{row['images_per_second']:.0f} images/s"
            sys.stderr.write(f"{self.label}: {', '.join([*parts, speed])}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal in order, also after an error."""
        if self.bar is not None:
            self.bar.close()


def bar(total: int, layout: str, **options: str) -> Any:
    """tqdm's bar of this layout where there is a terminal and tqdm is installed, else None."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, bar_format=layout, file=sys.stderr, **options)
