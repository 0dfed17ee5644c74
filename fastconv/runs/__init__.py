"""A run of `fastconv train`: a recipe for each model, a folder for its weights, figures and pictures."""

from fastconv.runs.recipes import RECIPES, Recipe
from fastconv.runs.run import Settings, prepare, train

__all__ = ["RECIPES", "Recipe", "Settings", "prepare", "train"]
