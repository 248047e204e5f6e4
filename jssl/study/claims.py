"""What a study claims, and whether its rows show it."""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from jssl.errors import ConfigError

LEAST_SEEDS = 3  # for a verdict


class Claim(NamedTuple):
  """One claim.

  Attributes:
    sentence: what is claimed, in words; it names the claim within its study.
    better, worse: two arms; one and the same, where a run measures both sides.
    metric: of the better arm's rows, and of the worse arm's.
    at_least: the least difference that bears the sentence out, >= 0, in the metric's units.
    lower: whether smaller numbers are better.
    margin: by how much the better arm may be the worse one, > 0 where the claim is that it is not worse.
  """

  sentence: str
  better: str
  worse: str
  metric: tuple[str, str]
  at_least: float = 0.0
  lower: bool = False
  margin: float = 0.0


class Verdict(NamedTuple):
  """What the rows say of a claim.

  Attributes:
    word: "shown", "not shown" or "contrary"; "" with fewer than three seeds.
    difference: mean over the seeds of how much better the better arm is; NaN without any.
    low, high: its 95 % interval; NaN with fewer than two seeds.
    seeds: those with a number of both arms.
  """

  word: str
  difference: float
  low: float
  high: float
  seeds: tuple[int, ...]


def claim(
  sentence: str,
  better: str,
  worse: str,
  *,
  metric: str | tuple[str, str],
  at_least: float = 0.0,
  lower: bool = False,
  margin: float = 0.0,
) -> Claim:
  """A claim for `jssl.study.run`.

  Args:
    sentence: what is claimed, in words.
    better, worse: names of arms; the same arm twice, where one run measures both sides.
    metric: as `measure` names it; (the better arm's, the worse arm's) where they differ, as a network and its control do:
      `("knn/k20", "random weights/knn/k20")`.
    at_least: by how much the better arm is better, in the metric's units.
    lower: whether smaller numbers are better.
    margin: for a claim that `better` is not worse than `worse`: a difference that does not matter, in the metric's units.
      Without one the claim is that it is better.

  Raises:
    ConfigError: for an arm that is held against itself, an `at_least` or a `margin` below 0, or both of them.
  """
  metrics = (metric, metric) if isinstance(metric, str) else tuple(metric)
  if len(metrics) != 2 or better == worse and metrics[0] == metrics[1]:
    raise ConfigError(f"claim {sentence!r}: name two arms, or two metrics of one: metric=('knn/k20', 'raw pixels/knn/k20')")
  if not 0 <= at_least < math.inf:
    raise ConfigError(f"claim {sentence!r}: at_least={at_least}: give a number that is not below 0, or exchange the arms")
  if not 0 <= margin < math.inf or margin and at_least:
    raise ConfigError(
      f"claim {sentence!r}: margin={margin}, at_least={at_least}: give a margin above 0 for what is not worse, or at_least "
      "for what is better"
    )
  return Claim(sentence, better, worse, metrics, float(at_least), lower, float(margin))


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
  """Mean of paired differences, and the interval of Student's t around it.

      d +- t(n - 1) s / sqrt(n),   s^2 = sum (d_i - d)^2 / (n - 1)

  Args:
    differences: `[n]`.
    confidence: of the interval, two-sided, in (0, 1).

  Returns:
    Mean, lower end, upper end; NaN where there are too few numbers.

  Example:

    >>> mean, low, high = paired_interval([1.0, 2.0, 3.0])
    >>> print(f"{mean:.3f} {low:.3f} {high:.3f}")
    2.000 -0.484 4.484
  """
  x = np.asarray(differences, np.float64)
  if len(x) < 2:
    return (float(x[0]) if len(x) else math.nan), math.nan, math.nan
  half = float(special.stdtrit(len(x) - 1, (1 + confidence) / 2) * x.std(ddof=1) / math.sqrt(len(x)))
  return float(x.mean()), float(x.mean()) - half, float(x.mean()) + half


def verdict(claim: Claim, rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Verdict:
  """Whether rows show a claim, by the differences of the two arms with the same seed.

  "shown": the whole interval is above 0 and not below `at_least`. "contrary": the whole interval is below 0. Between the
  two, "not shown". With fewer than three seeds nothing is said. With a `margin` -margin stands in the place of 0: "shown"
  is then that the better arm is not worse by so much, and "contrary" that it is.

  Args:
    claim: what is to be shown.
    rows: of the study, one for each (arm, seed), with `metrics`.
    seeds: that were registered; rows of others do not count.
  """
  found = {(row["arm"], row["seed"]): row.get("metrics") or {} for row in rows}

  def number(side: int, seed: int) -> float:
    value = found.get((claim[1 + side], seed), {}).get(claim.metric[side])
    return math.nan if value is None else float(value)

  sign = -1 if claim.lower else 1
  pairs = {seed: sign * (number(0, seed) - number(1, seed)) for seed in seeds}
  pairs = {seed: value for seed, value in pairs.items() if math.isfinite(value)}
  difference, low, high = paired_interval(list(pairs.values()))
  word = ""
  if len(pairs) >= LEAST_SEEDS:
    least = -claim.margin
    word = "shown" if low > least and low >= claim.at_least - claim.margin else "contrary" if high < least else "not shown"
  return Verdict(word, difference, low, high, tuple(pairs))
