"""Clips read frame by frame, for networks that see images."""

import jax
import numpy as np

from jssl.data.source import Source
from jssl.errors import ConfigError

_IN_CLIPS = dict(image="clip", segments="segments")  # an array of a frame -> the array of its clip


def frames_of(source: Source) -> Source:
  """The frames of clips as examples, clip after clip.

  Args:
    source: of `clip [T, H, W, C]` and `segments [T, H, W]`, and `length []`, the frames that hold data, where they differ.

  Returns:
    A Source of `image [H, W, C]`, `segments [H, W]` and `frame` int32 `[]`, the number within its clip.

  Raises:
    ConfigError: if the examples are no clips.
  """
  spec = source.element_spec
  for name, ndim in dict(clip=4, segments=3).items():
    if name not in spec or len(spec[name].shape) != ndim:
      found = ", ".join(f"{key} {list(x.shape)}" for key, x in sorted(spec.items())) or "nothing"
      raise ConfigError(f"{source.name}: sequences have clip [T, H, W, C] and segments [T, H, W]; these have {found}")
  everything = np.arange(len(source))
  lengths = (
    source.get(everything, ("length",))["length"] if "length" in spec else np.full(len(source), spec["clip"].shape[0])
  )
  clip = np.repeat(everything, lengths)
  frame = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])

  def read(indices, keys):
    clips, place = np.unique(clip[indices], return_inverse=True)
    found = source.get(clips, tuple(_IN_CLIPS[key] for key in keys if key != "frame"))
    whole = {key: frame[indices] for key in keys if key == "frame"}
    return whole | {key: found[_IN_CLIPS[key]][place, frame[indices]] for key in keys if key != "frame"}

  own = {key: jax.ShapeDtypeStruct(spec[name].shape[1:], spec[name].dtype) for key, name in _IN_CLIPS.items()}
  own["frame"] = jax.ShapeDtypeStruct((), np.int32)
  return Source(name=f"{source.name}.frames", num_examples=len(frame), element_spec=own, read=read)
