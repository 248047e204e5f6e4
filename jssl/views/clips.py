"""Views of clips: the same part of every frame."""

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays, check_values, Range
from jssl.views import geometry
from jssl.views.crops import random_crop
from jssl.views.geometry import Size


def random_clip(
  rng: jax.Array,
  clip: jax.Array,
  length: jax.Array | None = None,
  *,
  frames: int,
  stride: int = 1,
  size: Size,
  scale: Range = (0.5, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  flip: float = 0.5,
  method: str = "bilinear",
) -> jax.Array:
  """A random stretch of a clip, of which the same random box is cut out of every frame.

  Args:
    rng: the example's key.
    clip: float `[T, height, width, channels]`.
    length: int `[]`, how many frames hold data; None for all. A shorter clip than asked for repeats its last frame.
    frames: how many to take.
    stride: every how many frames one is taken.
    size: the view's side in pixels, or its (height, width).
    scale: range of the box's share of the area.
    ratio: range of the box's width / height.
    flip: probability of a horizontal flip of all frames.
    method: "bicubic" or "bilinear".

  Returns:
    `[frames, *size, channels]`.

  Raises:
    ValueError: if the stretch is longer than T, and for numbers out of range.
  """
  check_arrays("random_clip", clip=(clip, "float [T, height, width, channels]"), length=(length, "int []"))
  check_values("random_clip", stride=(stride, "int [1, inf)"), frames=(frames, "int [1, inf)"), flip=(flip, "[0, 1]"))
  stretch = (frames - 1) * stride + 1
  if stretch > len(clip):
    raise ValueError(f"random_clip: frames={frames}, stride={stride} take {stretch} frames, the clip has {len(clip)}")
  start_key, box_key, flip_key = jax.random.split(rng, 3)
  end = jnp.asarray(len(clip) if length is None else length)
  start = jax.random.randint(start_key, (), 0, jnp.maximum(end - stretch, 0) + 1)
  taken = clip[jnp.clip(start + stride * jnp.arange(frames), 0, end - 1)]
  crop = random_crop(box_key, clip.shape[1:3], size=size, scale=scale, ratio=ratio, method=method)
  view = jax.vmap(crop.cut)(taken)
  flipped = jax.vmap(geometry.horizontal_flip)(view)
  return jnp.where(jax.random.uniform(flip_key) < flip, flipped, view)
