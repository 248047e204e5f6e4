"""What examples are labelled."""

from collections.abc import Sequence
import os

import jax
import numpy as np

from jssl.data.algebra.derive import changed, distinct, draws, LABEL, numbers_of, table_of, title
from jssl.data.source import Source
from jssl.errors import ConfigError
from jssl.files import user_path


def merge_labels(source: Source, *, groups: Sequence[Sequence[int]], of: str = "label", to: str = "label") -> Source:
  """Coarser labels: the number of the group that holds an example's class.

  Args:
    source: with labels.
    groups: of all its classes, such as ((0, 2, 4, 6), (1,), (3, 5, 7, 8, 9)).
    of: the array that is merged, of one integer an example, such as the examples' domains.
    to: the array that tells the group; under another name than `of` it is added, and `of` stays.

  Raises:
    ConfigError: for a class in no group or in two.

  Example:

    >>> from jssl import data
    >>> merge_labels(data.from_arrays(label=[0, 1, 2]), groups=((0, 2), (1,))).arrays["label"].tolist()
    [0, 1, 0]
  """
  labels = numbers_of(source, "merge_labels", of)
  classes = distinct("merge_labels: groups", [c for group in groups for c in group])
  if missing := sorted(set(labels.tolist()) - set(classes)):
    what = f"class {missing[0]} is in no group; keep_classes leaves classes out"
    raise ConfigError(f"merge_labels: {what if of == 'label' else f'{of} {missing[0]} is in no group'}")
  table = table_of(classes, [i for i, group in enumerate(groups) for _ in group])
  change = lambda numbers, read: {to: table[read[of]]}
  shown = {} if of == to == "label" else dict(of=of, to=to)
  name = title(source, "merge_labels", groups=tuple(map(tuple, groups)), **shown)
  fields = dict(num_classes=len(groups)) if to == "label" else {}
  return changed(source, name, change, needs=(of,), writes={to: LABEL}, **fields)


def relabelled(
  source: Source,
  *,
  labels: Sequence[int] | np.ndarray | str | None = None,
  noise: float = 0.0,
  permuted: bool = False,
  num_classes: int | None = None,
  seed: int = 0,
) -> Source:
  """Other labels: given ones, wrong ones for a share of the examples, or both.

  Args:
    source: with labels, or without if they are given.
    labels: `[n]`, one for each example, or a file of them as `numpy.save` writes it.
    noise: the share of the examples, drawn at random, that get another label.
    permuted: whether these exchange their labels among each other, so that each class has as many examples as before
      (and some keep theirs by chance); by default each gets one of the other classes, all of them equally likely.
    num_classes: by default the source's; of given labels the largest + 1.
    seed: of the draws.

  Raises:
    ConfigError: if neither is given, and for labels that are not one integer >= 0 an example.
  """
  if labels is None and not noise or not 0 <= noise <= 1:
    raise ConfigError(f"relabelled: labels={labels}, noise={noise}: give labels, a noise in (0, 1], or both")
  if labels is None:
    new, num_classes = numbers_of(source, "relabelled"), num_classes or source.num_classes
  else:
    new = _given_labels(source, labels)
  if not num_classes:
    num_classes = int(new.max()) + 1
  chosen = np.argsort(draws("relabelled", seed, len(new)), kind="stable")[: round(noise * len(new))]
  bits = draws("relabelled, which", seed, len(new))[chosen]
  if permuted:
    new[chosen] = new[chosen[np.argsort(bits, kind="stable")]]
  elif len(chosen):
    if num_classes < 2:
      raise ConfigError(f"relabelled: {source.name} has no second class")
    new[chosen] = (new[chosen] + 1 + (bits % np.uint64(num_classes - 1)).astype(np.int64)) % num_classes
  new = new.astype(np.int32)
  given = labels if isinstance(labels, (str, os.PathLike)) else None if labels is None else "given"
  name = title(source, "relabelled", labels=given, noise=noise or None, permuted=permuted, seed=seed if noise else None)
  change = lambda numbers, read: dict(label=new[numbers])
  return changed(source, name, change, needs=(), writes=dict(label=LABEL), num_classes=num_classes)


def multi_labels(source: Source, *, of: Sequence[str], share: float = 1.0, seed: int = 0) -> Source:
  """Several labels of an example as one vector of zeros and ones, which may be known of some examples only.

  Adds `multi_label` float32 `[columns]`, in which each of the arrays `of` has a column for each of its values, and `known`
  bool `[]`. Where it is not known, `multi_label` is 0.

  Args:
    source: of the examples.
    of: arrays of one integer >= 0 an example, such as ("character", "case").
    share: of the examples that it is known of, drawn at random.
    seed: of the draw.
  """
  found = [numbers_of(source, "multi_labels", name) for name in of]
  if not found or min(x.min() for x in found) < 0 or not 0 < share <= 1:
    raise ConfigError(f"multi_labels: of={tuple(of)}, share={share}: give arrays of integers >= 0, and a share in (0, 1]")
  sizes = [int(x.max()) + 1 for x in found]
  starts = np.cumsum([0, *sizes[:-1]])
  known = np.zeros(len(source), bool)
  known[np.argsort(draws("multi_labels", seed, len(source)), kind="stable")[: max(1, round(share * len(source)))]] = True

  def change(numbers, read):
    vector = np.zeros((len(numbers), sum(sizes)), np.float32)
    for name, start in zip(of, starts, strict=True):
      vector[np.arange(len(numbers)), start + read[name]] = known[numbers]
    return dict(multi_label=vector, known=known[numbers])

  name = title(source, "multi_labels", of=tuple(of), share=share, seed=seed if share < 1 else None)
  writes = dict(multi_label=jax.ShapeDtypeStruct((sum(sizes),), np.float32), known=jax.ShapeDtypeStruct((), np.bool_))
  return changed(source, name, change, needs=of, writes=writes)


def _given_labels(source: Source, labels) -> np.ndarray:
  if isinstance(labels, (str, os.PathLike)):
    try:
      labels = np.load(user_path(labels))
    except (OSError, ValueError) as error:
      raise ConfigError(f"relabelled: labels={labels}: {error}") from error
  labels = np.array(labels)
  if labels.shape != (len(source),) or labels.dtype.kind not in "iu" or labels.min() < 0:
    raise ConfigError(
      f"relabelled: labels must be integers >= 0 [{len(source)}], one for each example; got {labels.dtype} "
      f"{list(labels.shape)}"
    )
  return labels.astype(np.int64)
