"""Segmentation by attention: where the class token looks in the last block, as a mask of the objects of the image.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294, section 4.2.2, and
facebookresearch/dino, visualize_attention.py, for the mask: of each head the patches with the most attention that together
have more than 60 % of its mass, as the patches' pixels. The IoU is with all objects of the image together. The paper takes
the best head, by the image's own mask, which needs the answer: `miou_oracle`. The headline is `miou_chosen`, of the one
head that is best on a calibration split; `miou_heads` is the mean over all of them.
"""

import numpy as np

from jssl.evaluation.segmentation import patch_shares


def mass_masks(attention: np.ndarray, mass: float = 0.6) -> np.ndarray:
  """The patches `[..., N]` that have the most attention and together the share `mass` of it, bool.

  In increasing order, a patch belongs if more than 1 - mass of the whole lies in it and in those before it.

  Args:
    attention: `[..., N]`, not negative.
    mass: in (0, 1).
  """
  order = np.argsort(attention, axis=-1, kind="stable")
  ordered = np.take_along_axis(attention, order, -1).astype(np.float64)
  kept = np.cumsum(ordered / ordered.sum(-1, keepdims=True), axis=-1) > 1 - mass
  masks = np.empty(attention.shape, bool)
  np.put_along_axis(masks, order, kept, -1)
  return masks


def head_ious(attention: np.ndarray, segments: np.ndarray, *, grid: tuple[int, int], mass: float = 0.6) -> np.ndarray:
  """The IoU of each head's mask with the objects of an image.

  Args:
    attention: `[images, heads, h * w]`.
    segments: instance numbers `[images, H, W]`, 0 is background.
    grid: patches (h, w), dividing H and W.
    mass: see `mass_masks`.

  Returns:
    float32 `[images, heads]`, of the images that have an object.

  Raises:
    ValueError: if the shapes disagree, no image has an object, a head pays no attention to patches, or all patches get the
      same.
  """
  if attention.ndim != 3 or len(attention) != len(segments) or attention.shape[2] != grid[0] * grid[1]:
    raise ValueError(
      f"Attention {attention.shape} must be [images, heads, patches] of the {len(segments)} images of the segments and "
      f"the {grid[0]} x {grid[1]} patches of the grid."
    )
  if not 0 < mass < 1:
    raise ValueError(f"mass={mass} must lie between 0 and 1.")
  if not (attention.sum(-1) > 0).all():
    raise ValueError("the class token pays no attention to patches in some head: it has no mask")
  if (attention == attention[..., :1]).all():
    raise ValueError("all patches get the same attention: there is no mask")
  there = (segments > 0).any((1, 2))
  if not there.any():
    raise ValueError("no image has an object: there is nothing to segment")
  masks = mass_masks(attention[there], mass)
  # A mask consists of whole patches: the share of the objects in each is all that an IoU needs.
  inside = patch_shares((segments[there] > 0).astype(np.int16), grid, 2)[:, None, :, 1]
  both = (masks * inside).sum(-1)
  return both / (masks.sum(-1) + inside.sum(-1) - both)


def attention_iou(
  attention: np.ndarray,
  segments: np.ndarray,
  calibration_attention: np.ndarray,
  calibration_segments: np.ndarray,
  *,
  grid: tuple[int, int],
  mass: float = 0.6,
) -> dict:
  """Mean IoU of the objects of images and the class token's attention, by the module's protocol.

  Args:
    attention: of the test split `[B, heads, h * w]`; see `head_ious` for these arguments.
    segments: `[B, H, W]`.
    calibration_attention: of the split on which the head is chosen; other images than the test's.
    calibration_segments: the segments of that split.
    grid: patches (h, w).
    mass: share of the attention that a mask has.

  Returns:
    `metrics`: `miou_chosen`, `miou_heads`, `miou_oracle`, and the chosen `head`, counted from 0; and the `parameters`.
  """
  chosen = int(head_ious(calibration_attention, calibration_segments, grid=grid, mass=mass).mean(0).argmax())
  iou = head_ious(attention, segments, grid=grid, mass=mass)
  scores = dict(miou_chosen=iou[:, chosen].mean(), miou_heads=iou.mean(), miou_oracle=iou.max(1).mean())
  return dict(
    metrics={name: float(value) for name, value in scores.items()} | dict(head=chosen),
    parameters=dict(
      grid=tuple(grid),
      mass=mass,
      heads=iou.shape[1],
      images=len(iou),
      calibration_images=len(calibration_segments),
      everything=round(float((segments > 0).mean((1, 2))[(segments > 0).any((1, 2))].mean()), 4),
    ),
  )
