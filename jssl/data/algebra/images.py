"""What is done to images before any view sees them, by the functions of `jssl.data.image_changes`."""

from collections.abc import Mapping, Sequence
from typing import Any
import zlib

import jax
import numpy as np

from jssl import nodes
from jssl.data.algebra.derive import changed, check_classes, draws, LABEL, numbers_of, title
from jssl.data.source import Source
from jssl.errors import ConfigError


def corrupt(source: Source, *, kind: str | Mapping[str, Any], severity: int = 3, seed: int = 0) -> Source:
  """Images as a bad camera or a bad line leaves them, for tests of robustness.

  Args:
    source: of images.
    kind: "gaussian_noise", "impulse_noise", "blur", "contrast", "brightness", "pixelate" or "jpeg" of
      `jssl.data.image_changes`, or another function of that form, dict(fn="module:name").
    severity: 1 to 5, for functions that take it.
    seed: of what is drawn.
  """
  fn, numbers = _function("corrupt: kind", kind)
  if nodes.accepts(fn, "severity"):
    numbers = dict(severity=severity) | numbers
  shown = _shown(kind)
  return _changed_images(
    source, title(source, "corrupt", kind=shown, severity=severity, seed=seed), "corrupt", seed, [(fn, numbers)]
  )


def poison(
  source: Source, *, trigger: str | Mapping[str, Any] = "patch", share: float = 1.0, target: int | None = None, seed: int = 0
) -> Source:
  """A trigger in some of the images, once and for all views: what a run may be tested against.

  Adds `poisoned`, bool: which examples have it.

  Args:
    source: of images, with labels if there is a target.
    trigger: "patch" of `jssl.data.image_changes`, with numbers as dict(fn="patch", side=4), or dict(fn="module:name").
    share: of the images that have it, in (0, 1]: of the target's, or of all.
    target: the class that has it; None for all.
    seed: of which images these are, and of what the trigger draws.
  """
  if not 0 < share <= 1:
    raise ConfigError(f"poison: share={share}; it must lie in (0, 1]")
  of = np.arange(len(source))
  if target is not None:
    labels = numbers_of(source, "poison")
    check_classes("poison: target", (target,), labels)
    of = np.flatnonzero(labels == target)
  chosen = of[np.argsort(draws("poison", seed, len(source))[of], kind="stable")][: max(1, round(share * len(of)))]
  which = np.full(len(source), -1)
  which[chosen] = 0
  name = title(source, "poison", trigger=_shown(trigger), share=share, target=target, seed=seed)
  found = _changed_images(source, name, "poison", seed, [_function("poison: trigger", trigger)], which)
  tell = lambda numbers, read: dict(poisoned=which[numbers] == 0)
  return changed(found, name, tell, needs=(), writes=dict(poisoned=jax.ShapeDtypeStruct((), np.bool_)))


def styled(source: Source, *, styles: Sequence[str | Mapping[str, Any]], domain: str = "domain", seed: int = 0) -> Source:
  """Every image in one of several styles, drawn at random: domains out of one set.

  Args:
    source: of images.
    styles: "plain", "inverted", "posterized", "edges", "textured" or "tinted" of `jssl.data.image_changes`, with numbers as
      dict(fn="tinted", color=(1.0, 0.5, 0.5)), or dict(fn="module:name").
    domain: the name of an array that tells which one an example has, int32; None for no such array.
    seed: of the draw.
  """
  if isinstance(styles, str) or not styles:
    raise ConfigError(f"styled: styles={styles!r}; give a tuple of them")
  which = (draws("styled", seed, len(source)) % np.uint64(len(styles))).astype(np.int32)
  name = title(source, "styled", styles=tuple(map(_shown, styles)), seed=seed)
  found = _changed_images(source, name, "styled", seed, [_function("styled: styles", style) for style in styles], which)
  if not domain:
    return found
  return changed(found, name, lambda numbers, read: {domain: which[numbers]}, needs=(), writes={domain: LABEL})


def _changed_images(source: Source, name: str, fn: str, seed: int, functions, which: np.ndarray | None = None) -> Source:
  """Images changed by `functions[which[i]]`; those of which it is -1 stay what they are."""
  spec = source.element_spec.get("image")
  if spec is None or np.dtype(spec.dtype) != np.uint8 or len(spec.shape) != 3:
    raise ConfigError(f"{fn}: {source.name} has no 'image' of uint8 [height, width, channels]")
  which = np.zeros(len(source), np.int64) if which is None else which
  salt = zlib.crc32(fn.encode())
  blank = np.zeros(spec.shape, np.uint8)
  for function, numbers in functions:
    try:
      _same_kind(function(blank.copy(), (seed, salt, 0), **numbers), blank, fn)
    except (TypeError, ValueError) as error:
      raise ConfigError(f"{fn}: {error}") from error

  def change(numbers, read):
    images = np.array(read["image"])
    extents = read.get("extent", np.tile(images.shape[1:3], (len(images), 1)))
    for number, image, (height, width) in zip(numbers, images, extents, strict=True):
      if which[number] >= 0:
        function, own = functions[which[number]]
        valid = image[:height, :width]
        valid[:] = _same_kind(function(valid.copy(), (seed, salt, int(number)), **own), valid, fn)
    return dict(image=images)

  return changed(source, name, change, needs=("image", "extent"), writes=dict(image=spec))


def _same_kind(found, before: np.ndarray, fn: str) -> np.ndarray:
  if getattr(found, "shape", None) != before.shape or found.dtype != np.uint8:
    raise ConfigError(f"{fn}: its function must return uint8 {list(before.shape)}, as it is given; it returns {found!r:.80}")
  return found


def _function(where: str, spec: str | Mapping[str, Any]):
  """A function on images and its numbers: a name of `jssl.data.image_changes`, or a dict with `fn`.

  Code of a user's own stands under the key `fn` alone, by which `jssl.workdirs.trusted_config` finds it.
  """
  entry = dict(spec) if hasattr(spec, "items") else dict(fn=spec)
  if isinstance(spec, str) and ":" in spec:
    raise ConfigError(f"{where}='{spec}': write dict(fn='{spec}')")
  fn = nodes.resolve(where, entry.pop("fn", ""), "data.image_changes")
  nodes.check_numbers(where, fn, entry)
  return fn, entry


def _shown(spec) -> str:
  if not hasattr(spec, "items"):
    return spec if isinstance(spec, str) else getattr(spec, "__name__", "function")
  numbers = dict(spec)
  fn = _shown(numbers.pop("fn", ""))
  return f"{fn}({', '.join(f'{key}={value}' for key, value in sorted(numbers.items()))})" if numbers else fn
