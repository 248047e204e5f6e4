"""What numbers of a ViT contradict each other."""

from jssl.arrays import kind_of


def check(depth: int, position: str, readout: tuple[int, ...], readout_fusion: str) -> None:
  """Raises ValueError where numbers of a ViT contradict each other."""
  known = ("learned", "sincos", "sincos2d", "relative_bias", "block_relative_bias", "rope", "none")
  if position not in known:
    raise ValueError(f"position must be one of {', '.join(known)}, not {position!r}")
  if any(not 1 <= i <= depth for i in readout):
    raise ValueError(f"readout {readout} names blocks outside 1..{depth}")
  if readout_fusion not in ("mean", "learned", "class_token"):
    raise ValueError(f"readout_fusion must be 'mean', 'learned' or 'class_token', not {readout_fusion!r}")
  if len(set(readout)) < len(readout):
    raise ValueError(f"readout {readout} names a block twice")


def check_axes(axes: int, position: str, stem: tuple[int, ...]) -> None:
  """Raises ValueError for more axes than three, and for what is made for images alone where there are more or fewer."""
  if not 1 <= axes <= 3:
    raise ValueError(
      f"image_size and patch_size have {axes} axes: give 1 for signals, 2 for images, 3 for clips and volumes"
    )
  if axes != 2 and position in ("sincos2d", "relative_bias", "block_relative_bias", "rope"):
    raise ValueError(f"position='{position}' is for images, not for a {kind_of(axes)}: write 'sincos', 'learned' or 'none'")
  if axes != 2 and stem:
    raise ValueError(f"a stem of convolutions is for images, not for a {kind_of(axes)}: write stem=()")
