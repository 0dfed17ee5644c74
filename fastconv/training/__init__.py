"""Training a network: a step, an evaluation, and `fit`, which can be killed at any instant and resumed."""

from fastconv.training.epochs import fit
from fastconv.training.stopping import EarlyStopping
from fastconv.training.trainer import LOSSES, Evaluation, Trainer

__all__ = ["LOSSES", "EarlyStopping", "Evaluation", "Trainer", "fit"]
