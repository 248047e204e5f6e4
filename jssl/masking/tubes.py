"""Masks of clips that are the same in every frame."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

from jssl.checks import check_grid, check_values
from jssl.masking.random import check_count, keep_lowest


def tube_mask(rng: jax.Array, grid: Sequence[int], *, ratio: float) -> dict[str, jax.Array]:
  """Hides a fixed share of the places of a frame, the same in all frames.

  VideoMAE (Tong et al., arXiv 2203.12602; MCG-NJU/VideoMAE, masking_generator.py `TubeMaskingGenerator`): what hardly moves
  cannot be copied from another frame.

  Args:
    rng: a key.
    grid: numbers of patches along time, height and width.
    ratio: static share of places to hide; 0.9 there. Of the places of a frame int(places * (1 - ratio)) are kept.

  Returns:
    A dict of `mask` [tokens] bool, `ids_keep` [kept] int32 and `ids_restore` [tokens] int32, as `random_patch_mask` returns
    them; a place's patches of all frames follow each other.

  Raises:
    ValueError: if nothing or everything would be hidden.

  Example:

    >>> mask = tube_mask(jax.random.key(0), (3, 2, 2), ratio=0.75)["mask"].reshape(3, 4)
    >>> int(mask[0].sum()), bool((mask == mask[0]).all())
    (3, True)
  """
  check_grid("tube_mask", grid, axes=3)
  check_values("tube_mask", ratio=(ratio, "(0, 1)"))
  frames, places = grid[0], math.prod(grid[1:])
  kept = int(places * (1 - ratio))
  check_count("tube_mask", places - kept, places)
  rank = jnp.argsort(jax.random.uniform(rng, (places,)))
  return keep_lowest(jnp.tile(rank, frames), kept * frames)
