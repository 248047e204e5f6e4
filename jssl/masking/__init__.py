"""What is hidden from a network: pure functions from a key to masks (True where hidden) and corrupted images."""

from jssl.masking.blocks import block_mask, stratified_block_mask
from jssl.masking.distortions import alien_blocks, distort
from jssl.masking.gmml import alien_replace, gmml_corrupt, pixel_to_patch_mask
from jssl.masking.hole import hole, in_hole
from jssl.masking.mixing import mix_patches
from jssl.masking.multi_block import multi_block_mask
from jssl.masking.random import cell_mask, random_patch_mask
from jssl.masking.sequences import replace_tokens, span_mask, valid_patches
from jssl.masking.tubes import tube_mask

__all__ = [
  "alien_blocks",
  "alien_replace",
  "block_mask",
  "cell_mask",
  "distort",
  "gmml_corrupt",
  "hole",
  "in_hole",
  "mix_patches",
  "multi_block_mask",
  "pixel_to_patch_mask",
  "random_patch_mask",
  "replace_tokens",
  "span_mask",
  "stratified_block_mask",
  "tube_mask",
  "valid_patches",
]
