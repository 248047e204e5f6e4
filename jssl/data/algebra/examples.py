"""Which examples of a source there are: some classes, fewer of each, one part of two, one task of several; or more."""

from collections.abc import Sequence

import numpy as np

from jssl.data.algebra.derive import (
  changed,
  check_classes,
  distinct,
  draws,
  joined,
  LABEL,
  numbers_of,
  rows,
  table_of,
  title,
)
from jssl.data.source import Source
from jssl.errors import ConfigError, nearest


def keep_classes(source: Source, *, classes: Sequence[int], renumber: bool = True) -> Source:
  """The examples of some classes.

  Args:
    source: with labels.
    classes: their labels.
    renumber: whether these become 0, 1, ... in this order; or stay what they are.

  Raises:
    ConfigError: for a class without an example.

  Example:

    >>> from jssl import data
    >>> source = keep_classes(data.from_arrays(label=[0, 3, 1, 3]), classes=(3, 0))
    >>> source.arrays["label"].tolist(), source.num_classes
    ([1, 0, 0], 2)
  """
  labels, classes = numbers_of(source, "keep_classes"), distinct("keep_classes: classes", classes)
  check_classes("keep_classes: classes", classes, labels)
  name = title(source, "keep_classes", classes=classes)
  found = rows(source, name, np.flatnonzero(np.isin(labels, classes)))
  if not renumber:
    return found
  table = table_of(classes, range(len(classes)))
  change = lambda numbers, read: dict(label=table[read["label"]])
  return changed(found, name, change, needs=("label",), writes=dict(label=LABEL), num_classes=len(classes))


def long_tail(source: Source, *, factor: float, order: Sequence[int] | None = None, seed: int = 0) -> Source:
  """Exponentially fewer examples from class to class: class c of C keeps n * factor^(-c / (C - 1)) of n.

  Args:
    source: with labels.
    factor: how many times as many examples the first class keeps as the last, >= 1.
    order: the classes from head to tail; by their numbers by default.
    seed: of which examples stay.

  Raises:
    ConfigError: for another factor, and an order that does not hold each class once.

  References:
    Cui et al. 2019, arXiv 1901.05555; n is the size of the largest class, and a smaller one keeps no more than it has.
  """
  labels = numbers_of(source, "long_tail")
  classes = sorted(set(labels.tolist())) if order is None else distinct("long_tail: order", order)
  if factor < 1:
    raise ConfigError(f"long_tail: factor={factor}; give how many times as large the first class is, at least 1")
  if set(classes) != set(labels.tolist()):
    raise ConfigError(f"long_tail: order={classes} must hold each of the classes {sorted(set(labels.tolist()))} once")
  most = np.bincount(labels).max()
  shares = np.arange(len(classes)) / max(len(classes) - 1, 1)
  wanted = dict(zip(classes, np.maximum(1, np.floor(most * float(factor) ** -shares + 1e-9)).astype(int), strict=True))
  place, _ = _places(labels, draws("long_tail", seed, len(labels)))
  keep = place < np.vectorize(wanted.get)(labels)
  return rows(source, title(source, "long_tail", factor=factor, order=order, seed=seed), np.flatnonzero(keep))


def fraction(
  source: Source, *, share: float | None = None, per_class: int | None = None, group: str | None = None, seed: int = 0
) -> Source:
  """Some of the examples: a share or a number of each class, or whole groups of examples.

  Args:
    source: with labels, of which each class gives its share; without, all examples are one class.
    share: in (0, 1], of each class, at least one example.
    per_class: or how many of each class.
    group: an array that tells which examples belong together, such as the number of their video: a group is in or out as
      a whole, and shares and numbers are of groups. Where groups have one label each, of the groups of each class.
    seed: of the draw. Of two fractions of one seed the larger one has all of the smaller one's examples.

  Raises:
    ConfigError: unless one of share and per_class is given, and a class has so many.
  """
  keep = _chosen(source, "fraction", share, per_class, group, seed)
  name = title(source, "fraction", share=share, per_class=per_class, group=group, seed=seed)
  return rows(source, name, np.flatnonzero(keep))


def hold_out(
  source: Source,
  *,
  part: str = "rest",
  share: float | None = None,
  per_class: int | None = None,
  group: str | None = None,
  seed: int = 0,
) -> Source:
  """One of two parts of a set that share no example, and of one seed make it up.

  Args:
    source: of the set.
    part: "held" for what is held out, "rest" for the others.
    share, per_class, group, seed: what is held out, see `fraction`.
  """
  if part not in ("rest", "held"):
    raise ConfigError(f"hold_out: part='{part}': {nearest(str(part), ('rest', 'held'))}")
  held = _chosen(source, "hold_out", share, per_class, group, seed)
  name = title(source, "hold_out", part=part, share=share, per_class=per_class, group=group, seed=seed)
  return rows(source, name, np.flatnonzero(held == (part == "held")))


def tasks(source: Source, *, k: int, task: int, cumulative: bool = False, shuffled: bool = False, seed: int = 0) -> Source:
  """One of k tasks of a class-incremental stream: the examples of its classes, whose labels stay what they are.

  Args:
    source: with labels; its classes are split evenly, the first tasks having one more where they cannot be.
    k: how many tasks there are.
    task: which one, 0 to k - 1.
    cumulative: with the tasks before it.
    shuffled: whether the order of the classes is drawn; by their numbers by default.
    seed: of that draw.

  Raises:
    ConfigError: for more tasks than classes, and a task that there is not.
  """
  labels = numbers_of(source, "tasks")
  classes = np.unique(labels)
  if not 1 <= k <= len(classes):
    raise ConfigError(f"tasks: k={k}: {source.name} has {len(classes)} classes")
  if not 0 <= task < k:
    raise ConfigError(f"tasks: task={task}: there are 0 to {k - 1}")
  if shuffled:
    classes = classes[np.argsort(draws("tasks", seed, len(classes)), kind="stable")]
  parts = np.array_split(classes, k)
  own = np.concatenate(parts[: task + 1]) if cumulative else parts[task]
  name = title(source, "tasks", k=k, task=task, cumulative=cumulative, shuffled=shuffled, seed=seed if shuffled else None)
  return rows(source, name, np.flatnonzero(np.isin(labels, own)))


def concatenate(source: Source, *, others: Sequence[Source], labels: str = "shared", domain: str | None = None) -> Source:
  """Several sources one after the other, with the arrays that all of them have, see `jssl.data.derive.joined`.

  Args:
    source: the first.
    others: after it; in a config `dict(name=..., split=..., options=...)` each.
    labels: "shared": a label means the same in all; "apart": those of a later source count on from the earlier ones'.
    domain: the name of an array to be added: the number of the source that an example comes from.

  Raises:
    ConfigError: for sources that do not fit together.
  """
  sources = (source, *others)
  if labels not in ("shared", "apart"):
    raise ConfigError(f"concatenate: labels='{labels}': {nearest(str(labels), ('shared', 'apart'))}")
  for one in sources:
    if one.read is None:
      raise ConfigError(f"concatenate: {one.name} is an iterator, without random access; give arrays or a folder")
  counts = [one.num_classes for one in sources]
  labelled = None not in counts
  if labels == "apart" and not labelled:
    raise ConfigError(f"concatenate: labels='apart': {sources[counts.index(None)].name} has no classes")
  num_classes = (sum(counts) if labels == "apart" else max(counts)) if labelled else None
  name = f"concatenate({', '.join(one.name for one in sources)}{', labels=apart' if labels == 'apart' else ''})"
  offsets = np.cumsum([0, *[count or 0 for count in counts[:-1]]])
  parts = []
  for i, one in enumerate(sources):
    if labels == "apart" and i:
      shift = lambda numbers, read, offset=offsets[i]: dict(label=(read["label"] + offset).astype(np.int32))
      one = changed(one, one.name, shift, needs=("label",), writes=dict(label=LABEL))
    if domain:
      tell = lambda numbers, read, i=i: {domain: np.full(len(numbers), i, np.int32)}
      one = changed(one, one.name, tell, needs=(), writes={domain: LABEL})
    parts.append(one)
  return joined(parts, name, num_classes)


def _chosen(source: Source, fn: str, share, per_class, group, seed) -> np.ndarray:
  """Which examples are drawn, bool `[n]`, see `fraction`."""
  if (share is None) == (per_class is None):
    raise ConfigError(f"{fn}: give one of share and per_class; got share={share}, per_class={per_class}")
  if share is not None and not 0 < share <= 1 or per_class is not None and per_class < 1:
    raise ConfigError(f"{fn}: share={share}, per_class={per_class}; a share lies in (0, 1], a number is at least 1")
  labelled = "label" in source.element_spec
  strata = numbers_of(source, fn) if labelled else np.zeros(len(source), np.int64)
  unit = np.arange(len(source))
  if group is not None:
    unit = np.unique(numbers_of(source, fn, group), return_inverse=True)[1]
    strata = _labels_of_groups(unit, strata)
    if strata is None and per_class is not None:
      raise ConfigError(f"{fn}: the groups '{group}' have examples of several classes; give a share of the groups")
    strata = np.zeros(unit.max() + 1, np.int64) if strata is None else strata
  place, sizes = _places(strata, draws(fn, seed, len(strata)))
  if per_class is not None and per_class > sizes.min():
    worst = strata[np.argmin(sizes)]
    raise ConfigError(f"{fn}: per_class={per_class}: class {worst} of {source.name} has only {sizes.min()}")
  wanted = per_class if per_class is not None else np.maximum(1, np.rint(share * sizes))
  return (place < wanted)[unit]


def _labels_of_groups(unit: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
  """The label of each group, or None if a group has several."""
  first = np.zeros(unit.max() + 1, np.int64)
  first[unit] = labels
  return first if (first[unit] == labels).all() else None


def _places(strata: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The place of each of n by its key among those of its stratum, and how many these are: both `[n]`."""
  _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
  order = np.lexsort((keys, stratum))
  place = np.empty(len(strata), np.int64)
  place[order] = np.arange(len(strata)) - (np.cumsum(counts) - counts)[stratum[order]]
  return place, counts[stratum]
