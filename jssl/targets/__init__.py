"""Targets: what the student must predict. No gradient flows through them."""

from jssl.arrays import patchify, unpatchify
from jssl.targets.centers import centered_softmax
from jssl.targets.codes import nearest_code
from jssl.targets.colors import color_bins, color_grid
from jssl.targets.hog import hog
from jssl.targets.neighbors import match_tokens, nearest_neighbors
from jssl.targets.pixels import patch_pixels, patchify_mask
from jssl.targets.sinkhorn import sinkhorn, sinkhorn_codes
from jssl.targets.tables import feature_queue, take_rows
from jssl.targets.tokens import average_blocks, average_tokens, layer_norm_tokens, same, take_tokens

__all__ = [
  "average_blocks",
  "average_tokens",
  "centered_softmax",
  "color_bins",
  "color_grid",
  "feature_queue",
  "hog",
  "layer_norm_tokens",
  "match_tokens",
  "nearest_code",
  "nearest_neighbors",
  "patch_pixels",
  "patchify",
  "patchify_mask",
  "same",
  "sinkhorn",
  "sinkhorn_codes",
  "take_rows",
  "take_tokens",
  "unpatchify",
]
