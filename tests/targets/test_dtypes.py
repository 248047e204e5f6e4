"""With x64 switched on, float32 arrays still give float32 targets and clusters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import refresh, targets

F, B = jnp.float32, jnp.bool_
ROWS = ((6, 4), F)
CASES = dict(
  sinkhorn=(functools.partial(targets.sinkhorn, temp=0.1), ROWS),
  sinkhorn_masked=(functools.partial(targets.sinkhorn, temp=0.1, rows_first=True), ROWS, ((6,), B)),
  sinkhorn_codes=(
    lambda own, queued, counts: targets.sinkhorn_codes([own], [queued], [counts]),
    ROWS,
    ((6, 3, 4), F),
    ((6, 3), B),
  ),
  centered_softmax=(lambda x: targets.centered_softmax.apply(jnp.zeros(4, F), x, temp=0.1), ROWS),
  patch_pixels=(functools.partial(targets.patch_pixels, patch=4, normalize=True), ((2, 8, 8, 3), F)),
  hog=(functools.partial(targets.hog, patch=8, cell=4), ((2, 16, 16, 3), F)),
  color_bins=(functools.partial(targets.color_bins, patch=4, stride=2), ((2, 8, 8, 2), F)),
  layer_norm_tokens=(targets.layer_norm_tokens, ((2, 3, 4), F)),
  average_blocks=(lambda a, b: targets.average_blocks([a, b]), ((2, 3, 4), F), ((2, 3, 4), F)),
  match_tokens=(targets.match_tokens, ((2, 3, 4), F), ((2, 3, 4), F), ((2, 3, 5), F)),
  kmeans=(functools.partial(refresh.kmeans, jax.random.key(0), clusters=2), ROWS),
  spherical_kmeans=(functools.partial(refresh.spherical_kmeans, jax.random.key(0), clusters=2), ROWS),
  patch_codebook=(functools.partial(refresh.patch_codebook, jax.random.key(0), codes=2), ((9, 12), F)),
)


@pytest.mark.parametrize("name", CASES)
def test_x64_changes_no_dtype(name):
  fn, *arrays = CASES[name]
  with jax.enable_x64(True):
    out = jax.eval_shape(fn, *[jax.ShapeDtypeStruct(*array) for array in arrays])
  floats = [leaf.dtype for leaf in jax.tree.leaves(out) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  assert floats and set(floats) == {np.dtype(np.float32)}
