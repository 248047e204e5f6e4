"""Numbers that change during a run.

Any number of a config may be a schedule: a plain dict such as `{"schedule": "cosine", "start": 0.996, "end": 1.0}`,
written by the helpers below, kept in JSON, changed from the command line. `make_schedule` turns it into a function of
the step.

A duration has a unit and is given in exactly one: `steps`, `epochs`, `examples`, or `fraction` (of the whole run).
Every schedule may begin with a linear warm-up (`warmup_epochs=10`, from `warmup_start`, 0 by default). `linear` and
`cosine` may then wait at their start (`hold_epochs=5`), move for their duration (`epochs=30`; without one, for the
rest of the run) and keep their end from there on:

    linear(0.04, 0.07, epochs=30)                    # DINO's teacher temperature
    cosine(0.996, 1.0)                               # an EMA decay, over the whole run
    warmup_cosine(1e-3, 1e-6, warmup_epochs=10)      # a learning rate
    linear(0.0, 1.0, hold_fraction=0.5)              # a loss that comes in during the second half
    step((0.03, 0.003), boundaries_epochs=(120,))

`infinite` is made for runs whose end is not known when they begin: warm-up, `cooldown_*` to a constant, and, only where
`anneal_*` is given, a fall at the end of the run, see there.
"""

from collections.abc import Callable, Mapping
import math
import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jssl.errors import ConfigError, nearest

UNITS = ("steps", "epochs", "examples", "fraction")
# Each schedule's own keys and the prefixes of its durations ("" is the bare unit, `epochs=30`).
_KINDS = {
  "constant": (("value",), ("warmup",)),
  "linear": (("start", "end"), ("", "hold", "warmup")),
  "cosine": (("start", "end"), ("", "hold", "warmup")),
  "step": (("values",), ("boundaries", "warmup")),
  "infinite": (("peak", "constant", "end", "shape"), ("cooldown", "anneal", "warmup")),
}
_COOLDOWNS = ("cosine", "linear", "inverse_sqrt")


def constant(value: float, **durations) -> dict[str, Any]:
  """`value` at every step, after an optional warm-up."""
  return {"schedule": "constant", "value": value, **durations}


def linear(start: float, end: float, **durations) -> dict[str, Any]:
  """From `start` to `end` in equal steps."""
  return {"schedule": "linear", "start": start, "end": end, **durations}


def cosine(start: float, end: float, **durations) -> dict[str, Any]:
  """From `start` to `end` along half a cosine: `end + (start - end) (1 + cos(pi progress)) / 2`."""
  return {"schedule": "cosine", "start": start, "end": end, **durations}


def warmup_cosine(peak: float, end: float = 0.0, *, warmup_start: float = 0.0, **durations) -> dict[str, Any]:
  """`cosine(peak, end)` after a linear warm-up from `warmup_start`; give `warmup_steps`, `warmup_epochs`, ..."""
  return cosine(peak, end, warmup_start=warmup_start, **durations)


def step(values: tuple[float, ...], **durations) -> dict[str, Any]:
  """`values[i]` from the i-th boundary on, `values[0]` before the first: `step((1, .1), boundaries_epochs=(120,))`."""
  return {"schedule": "step", "values": tuple(values), **durations}


def infinite(peak: float, constant: float, end: float, *, shape: str = "cosine", **durations) -> dict[str, Any]:
  """Warms up to `peak`, cools down to `constant`, stays there, and falls to `end` at the very end of the run.

  With n the step, N_w, N_c, N_d the ends of warm-up, cooldown and the constant part, N the run's end:

      warm-up      peak n / N_w
      cooldown     constant + (peak - constant) (1 + cos(pi p)) / 2,   p = (n - N_w) / (N_c - N_w)
      constant     constant
      annealing    constant (end / constant)^((n - N_d) / (N - N_d))

  Each part lasts for its duration, `warmup_*`, `cooldown_*` and, counted from the end of the run, `anneal_*`; without
  one there is no such part (a warm-up without a cooldown ends at `constant`). What is trained up to N_d depends on
  neither N nor the annealing: a model can be had at any time by annealing a branch, and training goes on, on other
  data, from the checkpoint of step N_d as if that had not happened:

      rates = (1.5e-4, 3.75e-5, 1.5e-5)
      config.optim.lr = infinite(*rates, warmup_fraction=0.05, cooldown_fraction=0.25, anneal_fraction=0.2)
      # The next run: at `constant` from its start, with the weights that the first one had before it annealed.
      config.optim.lr = infinite(*rates, anneal_fraction=0.2)
      config.networks.encoder.load = "runs/first@800:encoder"

  Args:
    peak: after the warm-up.
    constant: after the cooldown; in the authors' small runs 0.25 or 0.75 of the peak.
    end: at the last step, > 0.
    shape: of the cooldown: "cosine", "linear", or "inverse_sqrt": peak + (constant - peak) g(p) / g(1) with
      g(p) = 1 / sqrt(1 + 10 p) - 1.
    **durations: see above. The authors give the end of the cooldown, 0.3 of the first run, not its length.

  References:
    Singh, Janson, Mehrbod, Ibrahim, Rish, Belilovsky, Therien 2025, "Beyond Cosine Decay", arXiv 2503.02844,
    equation 1; Pauljanson002/MAE-1.
  """
  return {"schedule": "infinite", "peak": peak, "constant": constant, "end": end, "shape": shape, **durations}


def number(value: Any, where: str = "") -> float:
  """The value, which must be a finite number.

  Raises:
    ConfigError: if it is not; begins with `where`.
  """
  if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
    raise ConfigError(f"{where}{value!r} is not a number")
  return value


def is_schedule(spec: Any) -> bool:
  """Whether a config's value is a schedule: a dict (or ConfigDict) with the key "schedule"."""
  return hasattr(spec, "keys") and "schedule" in spec.keys()


class Horizon(NamedTuple):
  """The lengths in which durations are measured.

  Attributes:
    total_steps: optimizer steps of the whole run.
    steps_per_epoch: may be fractional; None where there are no epochs.
    batch_size: the global one; None where nothing is measured in examples.
  """

  total_steps: int
  steps_per_epoch: float | None = None
  batch_size: int | None = None

  def steps(self, spec: Mapping[str, Any], prefix: str = "") -> int | tuple[int, ...] | None:
    """Reads the duration that `spec` gives as exactly one of `<prefix>_steps`, `_epochs`, `_examples`, `_fraction`.

    Args:
      spec: a dict; keys that are absent or None count as not given. A value may be a sequence of durations.
      prefix: for example "warmup"; "" reads the bare units.

    Returns:
      The duration rounded to whole steps (a tuple for a sequence), or None if there is none.

    Raises:
      ConfigError: for two units at once, a negative duration, or a unit that this horizon does not know.
    """
    names = {(f"{prefix}_{unit}" if prefix else unit): unit for unit in UNITS}
    given = [name for name in names if spec.get(name) is not None]
    if not given:
      return None
    if len(given) > 1:
      raise ConfigError(f"give exactly one of {', '.join(names)} (given: {', '.join(given)})")
    value, scale = spec[given[0]], self._steps_in(names[given[0]])
    if scale is None:
      raise ConfigError(f"{given[0]}={value}: the horizon {self} does not say how many steps that is")
    several = isinstance(value, (list, tuple))
    steps = tuple(round(number(v, f"{given[0]}: ") * scale) for v in (value if several else (value,)))
    if min(steps, default=0) < 0:
      raise ConfigError(f"{given[0]}={value}: a duration cannot be negative")
    return steps if several else steps[0]

  def _steps_in(self, unit: str) -> float | None:
    return {
      "steps": 1,
      "epochs": self.steps_per_epoch,
      "examples": self.batch_size and 1 / self.batch_size,
      "fraction": self.total_steps,
    }[unit]

  def make(self, spec: Any, where: str = "") -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """Turns a number or a schedule into a function of the step.

    Args:
      spec: a number, or a dict as the helpers of this module write it.
      where: what the message begins with if it is neither.

    Returns:
      A function of the step (Python or traced integers, of any shape) to float32. A move that lasts n steps is at
      its start at its step 0 and at its end at its step n. What remains of it is counted in integers, so the values
      near the end are as exact at step 10^6 as at step 10.

    Raises:
      ConfigError: for a kind or a key that is not known, a key that is missing, two units for one duration.

    Example:

      >>> ramp = Horizon(total_steps=100, steps_per_epoch=5).make(linear(0.0, 1.0, epochs=2))
      >>> [round(float(ramp(s)), 2) for s in (0, 5, 10, 99)]
      [0.0, 0.5, 1.0, 1.0]
    """
    if not is_schedule(spec):
      return _flat(number(spec, where))
    spec = dict(spec.items())
    _check(spec)
    warmup = self.steps(spec, "warmup") or 0
    if spec["schedule"] == "constant":
      body = _flat(spec["value"])
    elif spec["schedule"] == "step":
      body = _stairs(tuple(spec["values"]), self.steps(spec, "boundaries"))
    elif spec["schedule"] == "infinite":
      lengths = (warmup, *(self.steps(spec, part) or 0 for part in ("cooldown", "anneal")))
      body = _infinite(spec, *lengths, self.total_steps)
    else:
      delay, length = warmup + (self.steps(spec, "hold") or 0), self.steps(spec)
      body = _ramp(spec, delay, max(self.total_steps - delay, 0) if length is None else length)
    return _with_warmup(body, spec.get("warmup_start", 0.0), warmup) if warmup else body

  def read(self, spec: Any, where: str) -> float | Callable[[jax.typing.ArrayLike], jax.Array]:
    """A number as it is, a schedule as a function of the step; arguments and errors as in `make`."""
    return self.make(spec) if is_schedule(spec) else float(number(spec, where))


def make_schedule(
  spec: Any, *, total_steps: int, steps_per_epoch: float | None = None, batch_size: int | None = None
) -> Callable[[jax.typing.ArrayLike], jax.Array]:
  """`Horizon(total_steps, steps_per_epoch, batch_size).make(spec)`."""
  return Horizon(total_steps, steps_per_epoch, batch_size).make(spec)


def _flat(value: float):
  return lambda step: jnp.full(jnp.shape(step), value, jnp.float32)


def _ramp(spec, delay: int, length: int):
  """`end + (start - end) * r` with r the part that remains, or sin^2(pi r / 2), which is (1 + cos(pi (1 - r))) / 2."""

  def ramp(step):
    left = jnp.clip(delay + length - jnp.asarray(step, jnp.int32), 0, length)
    part = left.astype(jnp.float32) / max(length, 1)
    if spec["schedule"] == "cosine":
      part = jnp.sin(jnp.pi / 2 * part) ** 2
    value = spec["end"] + (spec["start"] - spec["end"]) * part
    # Compiled, a quotient n / n need not be 1: a weight that starts at 0 must not start at -5e-8.
    return jnp.clip(value, min(spec["start"], spec["end"]), max(spec["start"], spec["end"])).astype(jnp.float32)

  return ramp


def _stairs(values: tuple[float, ...], boundaries: tuple[int, ...] | None):
  if not isinstance(boundaries, tuple) or len(values) != len(boundaries) + 1:
    raise ConfigError(f"schedule 'step': {len(values)} values need a sequence of {len(values) - 1} boundaries")
  if list(boundaries) != sorted(boundaries):
    raise ConfigError(f"schedule 'step': the boundaries {boundaries} are not in order")

  def stairs(step):
    passed = jnp.asarray(step, jnp.int32)[..., None] >= jnp.asarray(boundaries, jnp.int32)
    return jnp.asarray(values, jnp.float32)[passed.sum(-1)]

  return stairs


def _infinite(spec, warmup: int, cooldown: int, anneal: int, total: int):
  peak, constant, end, shape = (spec[key] for key in ("peak", "constant", "end", "shape"))
  if shape not in _COOLDOWNS:
    raise ConfigError(f"schedule 'infinite': unknown shape {shape!r}; {nearest(str(shape), _COOLDOWNS)}")
  if min(constant, end) <= 0:
    raise ConfigError(f"schedule 'infinite': constant={constant} and end={end} must be positive")
  if warmup + cooldown + anneal > total:
    raise ConfigError(
      f"schedule 'infinite': warm-up, cooldown and annealing take {warmup} + {cooldown} + {anneal} "
      f"steps, the run has {total}"
    )

  def part(left, length):  # of a part of `length` steps, what remains of it
    return jnp.clip(left, 0, length).astype(jnp.float32) / max(length, 1)

  def value(step):
    step = jnp.asarray(step, jnp.int32)
    remains = part(warmup + cooldown - step, cooldown)
    if shape == "cosine":
      remains = jnp.sin(jnp.pi / 2 * remains) ** 2
    elif shape == "inverse_sqrt":
      fall = lambda p: 1 / jnp.sqrt(1 + 10 * p) - 1
      remains = 1 - fall(1 - remains) / fall(1.0)
    annealed = 1 - part(total - step, anneal) if anneal else 0.0
    cooled = constant + (peak - constant) * remains
    return (cooled * (end / constant) ** annealed).astype(jnp.float32)

  return value


def _with_warmup(body, start: float, length: int):
  def warmed_up(step):
    step = jnp.asarray(step, jnp.int32)
    rise = start + (body(length) - start) * (step.astype(jnp.float32) / length)
    return jnp.where(step < length, rise, body(step)).astype(jnp.float32)

  return warmed_up


def _check(spec: dict[str, Any]) -> None:
  kind = spec["schedule"]
  if kind not in _KINDS:
    raise ConfigError(f"schedule {kind!r} is not known; {nearest(str(kind), _KINDS)}")
  fields, prefixes = _KINDS[kind]
  durations = [f"{prefix}_{unit}" if prefix else unit for prefix in prefixes for unit in UNITS]
  known = ("schedule", *fields, "warmup_start", *durations)
  for key in spec:
    if key not in known:
      raise ConfigError(f"schedule {kind!r}: unknown key {key!r}; {nearest(key, known)}")
  for key in fields:
    if spec.get(key) is None:
      raise ConfigError(f"schedule {kind!r} needs {key!r}")
  for key in {*fields, "warmup_start"} & spec.keys() - {"shape"}:
    for value in spec[key] if key == "values" else (spec[key],):
      number(value, f"schedule {kind!r}, {key}: ")
