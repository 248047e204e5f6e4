"""PED: features are moved as fine-tuning would move them, before another score looks at them.

Li, Hu, Ge, Shan, Duan, "Exploring Model Transferability through the Lens of Potential Energy", ICCV 2023, arXiv 2308.15074;
held against lixiaotong97/PED, metrics.py.
"""

from typing import NamedTuple

import numpy as np

from jssl.evaluation.transferability.target import check_target


class Descent(NamedTuple):
  """Where a descent has brought the features.

  Attributes:
    features: float64 `[n, dim]`, in the units of those that were given.
    displacement: of each class, `[classes, dim]`, in units of `scale`.
    scale: the standard deviation of each dimension of the reference, `[dim]`.
    energies: sum of |displacement| of each step that was tried; the last one was not made, unless all were.
    steps: that were made.
    shift: mean length of a class's displacement, as a share of the mean distance of two classes.
  """

  features: np.ndarray
  displacement: np.ndarray
  scale: np.ndarray
  energies: tuple[float, ...]
  steps: int
  shift: float


def potential_energy_descent(
  features: np.ndarray,
  labels: np.ndarray,
  reference: np.ndarray,
  *,
  time: float = 0.1,
  force: float = 1.0,
  radius: float = 0.6,
  exit_ratio: float = 0.5,
  max_steps: int = 6,
  least_scale: float = 1e-3,
) -> Descent:
  """Classes are balls that push each other away where they overlap; each moves as a rigid body.

  In the units of the reference's standard deviations, with R_c^2 the sum over dimensions of a class's variance:

      F_ab = max(radius (R_a + R_b) - |m_a - m_b|, 0)
      u_a  = sum_b min(force time^2 F_ab / 2, F_ab) (m_a - m_b) / |m_a - m_b|

  A step adds u_c to the features of class c. It is made if the sum of |u| is above `exit_ratio` times that of the first one.
  A score of PED is another score of what comes out: `logme_score(potential_energy_descent(x, y, r).features, y)`.

  Args:
    features: `[n, dim]`.
    labels: integers `[n]`.
    reference: `[m, dim]`, the same network's features of the data that it was pretrained on, which give each dimension its
      scale and nothing else.
    time: of a step; 0.1 moves two classes by half a percent of their overlap.
    force: the constant of the force.
    radius: of a ball, in R; the authors take 0.6 or 0.3.
    exit_ratio: in (0, 1).
    max_steps: >= 1.
    least_scale: the least standard deviation that a dimension is taken to have.

  Raises:
    ValueError: see `check_target`; for classes of one example, which have no radius, two of the same mean, of which none
      knows where to go, a reference that does not fit, or numbers out of range.

  Example:

    >>> corners = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> features, labels = np.concatenate([corners, corners + [1.0, 0.0]]), np.repeat([0, 1], 4)
    >>> unit = np.array([[1.0, 1.0], [-1.0, -1.0]])
    >>> potential_energy_descent(features, labels, unit, max_steps=1).displacement.round(4).tolist()
    [[-0.007, 0.0], [0.007, 0.0]]
  """
  target = check_target("ped", features, labels, least=2)
  reference = np.asarray(reference, np.float64)
  dim = target.features.shape[1]
  if reference.ndim != 2 or reference.shape[1] != dim or len(reference) < 2 or not np.isfinite(reference).all():
    raise ValueError(f"ped: the reference must be finite features [m, {dim}], m >= 2; found {list(reference.shape)}")
  if not (time > 0 and force > 0 and radius > 0 and 0 < exit_ratio < 1 and max_steps >= 1 and least_scale > 0):
    raise ValueError(
      f"ped: time={time}, force={force}, radius={radius}, exit_ratio={exit_ratio}, max_steps={max_steps}, "
      f"least_scale={least_scale}: give numbers above 0, a ratio below 1"
    )
  scale = np.maximum(reference.std(0), least_scale)
  # The reference's mean moves everything alike, and nothing here sees it.
  scaled = target._replace(features=target.features / scale)
  means = start = scaled.means()
  within = np.square(scaled.features - means[scaled.labels]).sum(1)
  radii = radius * np.sqrt(np.bincount(scaled.labels, within) / scaled.counts)  # which rigid motion leaves as they are
  energies: list[float] = []
  steps = 0
  while steps < max_steps:
    motion = _motion(means, radii, 0.5 * force * time**2)
    energies.append(float(np.abs(motion).sum()))
    if not energies[-1] > exit_ratio * energies[0]:
      break
    means, steps = means + motion, steps + 1
  displacement = means - start
  moved = target.features + (displacement * scale)[target.labels]
  apart = _distances(start)[np.triu_indices(len(start), 1)].mean()
  shift = float(np.linalg.norm(displacement, axis=1).mean() / apart)
  return Descent(moved, displacement, scale, tuple(energies), steps, shift)


def _distances(means: np.ndarray) -> np.ndarray:
  """Of each two classes, `[classes, classes]`."""
  return np.stack([np.linalg.norm(means - mean, axis=1) for mean in means])


def _motion(means: np.ndarray, radii: np.ndarray, rate: float) -> np.ndarray:
  """The displacement of each class in one step, `[classes, dim]`."""
  distances = _distances(means)
  np.fill_diagonal(distances, np.inf)
  if not distances.min() > 0:
    raise ValueError("ped: two classes have the same mean: none knows where to go")
  overlap = np.maximum(radii[:, None] + radii - distances, 0.0)
  push = min(rate, 1.0) * overlap / distances  # the diagonal's is 0
  return push.sum(1, keepdims=True) * means - push @ means
