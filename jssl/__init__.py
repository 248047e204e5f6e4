"""Self-supervised learning of vision transformers: methods are configs of pure functions, trained by one loop.

`import jssl` is enough, and quick: `jssl.losses.info_nce_loss`, `jssl.Method` and the other public names load their
modules, JAX among them, at their first use.
"""

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jssl import (
    config,
    data,
    evaluate,
    evaluation,
    interop,
    losses,
    masking,
    models,
    optim,
    refresh,
    report,
    schedules,
    study,
    targets,
    train,
    views,
  )
  from jssl.evaluate import load_frozen
  from jssl.method import Method
  from jssl.train import train_and_evaluate

from jssl import xla

xla.set_safe_flags()  # before a backend starts

__version__ = "0.1.0"

__all__ = [
  "Method",
  "config",
  "data",
  "evaluate",
  "evaluation",
  "interop",
  "load_frozen",
  "losses",
  "masking",
  "models",
  "optim",
  "refresh",
  "report",
  "schedules",
  "study",
  "targets",
  "train",
  "train_and_evaluate",
  "views",
]

# Names that are not modules, and where they are.
_FROM = {"Method": "method", "load_frozen": "evaluate", "train_and_evaluate": "train"}


def __getattr__(name: str):
  if name not in __all__:
    raise AttributeError(f"module 'jssl' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
  module = importlib.import_module(f"jssl.{_FROM.get(name, name)}")
  return getattr(module, name) if name in _FROM else module


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
