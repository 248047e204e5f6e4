"""Views in two halves: which part of an image they show, and what becomes of it.

A view that begins with a crop of the image says so by `in_halves`. Where the image is a file larger than any array of the
data set, the first half is drawn from the file's size and cut out of the file (`jssl.host_crops`); the second half is then
all that is left to do on the device. Called as a whole, the view does both on an array.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple, TypeVar

import jax

from jssl.checks import Range
from jssl.views import geometry
from jssl.views.geometry import Extent, Size


@functools.partial(jax.tree_util.register_dataclass, data_fields=("box",), meta_fields=("size", "method", "around"))
@dataclasses.dataclass(frozen=True)
class Crop:
  """A part of an image, and how it is resized.

  Attributes:
    box: (top, left, height, width) in pixels of the image, upright; may be fractional and traced, `[..., 4]` of many.
    size: (height, width) that it is resized to.
    method: "bicubic" or "bilinear", see `jssl.views.resized_crop`.
    around: whether pixels around the box weigh in at its border, as in Pillow's `image.resize(size, box=box)`; if not, the
      box is cut out first, as in `image.crop(box).resize(size)`.
  """

  box: Any
  size: tuple[int, int]
  method: str
  around: bool

  def cut(self, image: jax.Array, extent: Extent | None = None) -> jax.Array:
    """The crop of an image `[height, width, channels]`, whose `extent` (height, width) at the top left holds it."""
    visible = (0, 0, *extent_of(image, extent)) if self.around else None
    return geometry.resized_crop(image, self.box, self.size, self.method, visible=visible)


def extent_of(image: jax.Array, extent: Extent | None = None) -> Extent:
  """(height, width) of an image, or of the part of it at the top left that holds it."""
  return image.shape[:2] if extent is None else (extent[0], extent[1])


class Halves(NamedTuple):
  """The halves of a view: `view(rng, image, extent, **n) == finish(rng, crop(rng, extent, **n).cut(image, extent), **n)`.

  Attributes:
    crop: `crop(rng, extent, **numbers) -> Crop`, with those of the view's numbers that it takes.
    finish: `finish(rng, image, **numbers)` with the crop as `image` and those of the numbers that it takes.
  """

  crop: Callable[..., Crop]
  finish: Callable


_View = TypeVar("_View", bound=Callable)


def in_halves(crop: Callable[..., Crop], finish: Callable) -> Callable[[_View], _View]:
  """Marks a view as one that is `crop`, then `finish`."""

  def mark(view: _View) -> _View:
    setattr(view, "halves", Halves(crop, finish))  # noqa: B010
    return view

  return mark


def halves(view: Callable) -> Halves | None:
  """The halves of a view, or None if it does not begin with a crop."""
  return getattr(view, "halves", None)


def random_crop(
  rng: jax.Array, extent: Extent, *, size: Size, scale: Range, ratio: Range = (3 / 4, 4 / 3), method: str = "bicubic"
) -> Crop:
  """A random box of an image of `extent` (height, width), see `jssl.views.random_crop_box`."""
  box = geometry.random_crop_box(rng, extent, scale=scale, ratio=ratio)
  return Crop(box, geometry.to_pair(size), method, around=False)


@in_halves(random_crop, lambda rng, image: image)
def random_resized_crop(
  rng: jax.Array,
  image: jax.Array,
  *,
  size: Size,
  scale: Range,
  ratio: Range = (3 / 4, 4 / 3),
  extent: Extent | None = None,
  method: str = "bicubic",
) -> jax.Array:
  """A random box of the image (or of its valid `extent`), resized to `size`: `random_crop_box`, then `resized_crop`."""
  return random_crop(rng, extent_of(image, extent), size=size, scale=scale, ratio=ratio, method=method).cut(image)
