"""The learning rate of a run, from the keys of `config.optim` that speak of it."""

from collections.abc import Callable, Mapping
import math
from typing import Any

from jssl.errors import ConfigError, nearest
from jssl.schedules import Horizon, is_schedule, UNITS


def learning_rate(
  config: Mapping[str, Any], horizon: Horizon, defaults: Mapping[str, Any]
) -> tuple[Callable, float | None, str]:
  """The schedule, its peak (None where `lr` is a whole schedule), and what to say of it.

  Args:
    config: `config.optim`, complete.
    horizon: the run's lengths.
    defaults: of `config.optim`, from which a key is told that has no effect.

  Raises:
    ConfigError: for keys that do not go together.
  """
  scale, text = 1.0, ""
  if config["lr_scale"] is not None:
    if config["lr_scale"] not in ("linear", "sqrt"):
      raise ConfigError(f"config.optim.lr_scale='{config['lr_scale']}': write None, 'linear' or 'sqrt'")
    if not horizon.batch_size:
      raise ConfigError("config.optim.lr_scale needs a batch size")
    scale, text = horizon.batch_size / config["lr_scale_batch"], f"{horizon.batch_size} / {config['lr_scale_batch']}"
    if config["lr_scale"] == "sqrt":
      scale, text = math.sqrt(scale), f"sqrt({text})"
  if is_schedule(config["lr"]):
    for key in defaults:
      if key.startswith(("warmup_", "boundaries_", "end_lr", "lr_schedule", "step_")) and config[key] != defaults[key]:
        raise ConfigError(f"config.optim.{key}: config.optim.lr is a whole schedule already")
    schedule = horizon.make(config["lr"])
    return (lambda step: schedule(step) * scale), None, "lr by schedule" + (f" x {text}" if text else "")
  peak = config["lr"] * scale
  text = f"lr {config['lr']:g} x {text} = {peak:g}" if text else f"lr {peak:g}"
  return horizon.make(_lr_schedule(config, peak)), peak, text


def _lr_schedule(config: Mapping[str, Any], peak: float) -> dict[str, Any]:
  durations = lambda prefix: {f"{prefix}_{unit}": config[f"{prefix}_{unit}"] for unit in UNITS}
  warmup = dict(warmup_start=config["warmup_start_lr"], **durations("warmup"))
  kind = config["lr_schedule"]
  if kind not in ("cosine", "constant", "step"):
    known = nearest(str(kind), ("cosine", "constant", "step"))
    raise ConfigError(f"config.optim.lr_schedule='{kind}' is not known; {known}")
  if kind != "cosine" and (config["end_lr"] is not None or config["end_lr_fraction"] is not None):
    raise ConfigError(f"config.optim: lr_schedule='{kind}' has no end_lr")
  if kind == "constant":
    return {"schedule": kind, "value": peak, **warmup}
  if kind == "step":
    values = tuple(peak * factor for factor in (1.0, *config["step_factors"]))
    return {"schedule": kind, "values": values, **durations("boundaries"), **warmup}
  if config["end_lr"] is not None and config["end_lr_fraction"] is not None:
    raise ConfigError("config.optim: give end_lr or end_lr_fraction, not both")
  end = (config["end_lr_fraction"] or 0.0) * peak if config["end_lr"] is None else config["end_lr"]
  return {"schedule": kind, "start": peak, "end": end, **warmup}
