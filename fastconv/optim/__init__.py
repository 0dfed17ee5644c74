"""What moves the parameters: optimizers, gradient clipping and learning-rate schedules, after `torch.optim`."""

from fastconv.optim.clipping import clip_grad_norm
from fastconv.optim.optimizers import SGD, Adam, AdamW, Optimizer
from fastconv.optim.schedules import CosineSchedule, Schedule, StepSchedule, WarmupSchedule

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineSchedule",
    "Optimizer",
    "Schedule",
    "StepSchedule",
    "WarmupSchedule",
    "clip_grad_norm",
]
