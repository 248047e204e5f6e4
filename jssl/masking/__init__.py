"""What is hidden from a network: pure functions from a key to masks (True where hidden) and corrupted images."""

from jssl.masking.blocks import block_mask
from jssl.masking.gmml import alien_replace, gmml_corrupt, pixel_to_patch_mask
from jssl.masking.random import cell_mask, random_patch_mask

__all__ = ["alien_replace", "block_mask", "cell_mask", "gmml_corrupt", "pixel_to_patch_mask", "random_patch_mask"]
