"""LeNet on a whole data set, fastconv beside PyTorch: seconds of training and the accuracy that comes of it.

`python -m benchmarks.epochs --data fashion-mnist --epochs 5`. Each library trains in a process of its own, one after
the other, with the same weights at the start, optimizer, rate, batch size and order of the images; evaluation is not in
the seconds, nor is a first step, which compiles.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

import fastconv

from . import networks

LIBRARIES = ("fastconv", "pytorch")
RATE, MOMENTUM, BATCH = 0.02, 0.9, 64


def orders(count: int, epochs: int) -> list[Any]:
    """The images' order in each epoch, the same for all libraries."""
    return [np.random.default_rng((0, epoch)).permutation(count) for epoch in range(epochs)]


def train_fastconv(data: Any, epochs: int) -> dict[str, float]:
    """Seconds, and accuracy on the held-out images."""
    model = networks.build("lenet")
    optimizer = fastconv.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    trainer = fastconv.training.Trainer(model, "cross_entropy", optimizer)
    before = trainer.state_dict()
    for count in (BATCH, len(data.train) % BATCH or BATCH):
        trainer.step(data.train.x[:count], data.train.y[:count])
    trainer.load_state_dict(before)
    start = time.perf_counter()
    for order in orders(len(data.train), epochs):
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            trainer.step(data.train.x[batch], data.train.y[batch])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": trainer.evaluate(data.test.x, data.test.y).metric}


def train_pytorch(data: Any, epochs: int) -> dict[str, float]:
    """Seconds, and accuracy on the held-out images."""
    import torch

    from .peers.networks_pytorch import module

    torch.set_num_threads(fastconv.get_num_threads())
    model = module("lenet", "float32")
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(np.asarray(data.train.y, np.int64))

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()

    state = {key: value.clone() for key, value in model.state_dict().items()}
    step(torch.arange(BATCH))
    model.load_state_dict(state)
    optimizer.state.clear()
    start = time.perf_counter()
    for order in orders(len(x), epochs):
        for first in range(0, len(order), BATCH):
            step(torch.from_numpy(order[first : first + BATCH]))
    seconds = time.perf_counter() - start
    with torch.no_grad():
        right = model(torch.from_numpy(data.test.x)).argmax(1).numpy() == data.test.y
    return {"seconds": seconds, "accuracy": float(right.mean())}


def main() -> int:
    """Run both, or (in a process of its own) one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--library", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.library:
        train = train_fastconv if options.library == "fastconv" else train_pytorch
        sys.stdout.write(json.dumps(train(fastconv.datasets.load(options.data), options.epochs)) + "\n")
        return 0
    sys.stdout.write(f"LeNet, {options.data}, {options.epochs} epochs, batches of {BATCH}\n")
    for library in LIBRARIES:
        command = [sys.executable, "-m", "benchmarks.epochs", "--data", options.data, "--epochs", str(options.epochs)]
        run = subprocess.run([*command, "--library", library], capture_output=True, text=True, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
        sys.stdout.write(f"{library:10s} {found['seconds']:7.1f} s   {found['accuracy']:.4f} right\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
