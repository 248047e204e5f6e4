"""Every public mask refuses, by name, arrays of another shape or kind and numbers out of range."""

import jax
import jax.numpy as jnp
import pytest

from jssl import masking

KEY = jax.random.key(0)
IMAGE, IMAGES = jnp.zeros((20, 20, 3)), jnp.zeros((4, 20, 20, 3))
PIXELS, PATCHES = jnp.zeros((4, 20, 20), bool), jnp.zeros((4, 25), bool)
GRID = dict(grid=(8, 8))

# mask -> its arrays, its numbers, and for each of these what is out of range.
TABLE = {
  "alien_blocks": (
    dict(image=IMAGES, distorted=IMAGES),
    {},
    dict(area=(-1.0, 1.5), block_max=(0.0, 2.0), max_blocks=(0, 2.5)),
  ),
  "alien_replace": (
    dict(image=IMAGES, corrupted=IMAGES, mask=PIXELS),
    {},
    dict(area=(0.0, 1.0), prob=(0.0, 1.5), align=(0, 1.5), block_max=(0.0, 1.5), max_blocks=(0,)),
  ),
  "block_mask": (
    {},
    dict(**GRID, ratio=0.4, min_block=4),
    dict(
      grid=((8,), (8, 0), (8.0, 8.0), 64),
      ratio=(0.0, 1.0, -0.5, (0.5, 0.1), (0.1, 1.0), (0.1,)),
      min_block=(0, 2.5, 60),
      max_block=(0, 3.5),
      aspect=((0, 1), (2.0, 1.0), 1.0),
      prob=(0.0, 1.5),
    ),
  ),
  "cell_mask": ({}, dict(**GRID, cell=2, ratio=0.5), dict(grid=((), (7, 8), (-8, 8)), cell=(0, 3, 2.0), ratio=(0, 1.0, -1))),
  "distort": (
    dict(image=IMAGE),
    {},
    dict(
      area=(-0.1, 1.5),
      block_max=(0.0, 2.0),
      max_blocks=(0,),
      blur_sigma=((0.0, 1.0), (2.0, 1.0), 1.0),
      blur_radius=(-1, 1.5),
    ),
  ),
  "gmml_corrupt": (
    dict(image=IMAGE),
    dict(area=0.5),
    dict(area=(0.0, 1.0, -0.1), fill=("grey", ()), align=(0, 6, 1.5), block_max=(0.0, 1.5), max_blocks=(0, 20)),
  ),
  "hole": (dict(image=IMAGE), {}, dict(side=(0.0, 1.0, 0.01), place=("middle",))),
  "in_hole": (
    dict(patches=jnp.zeros((25, 48)), mask=jnp.zeros((20, 20), bool)),
    dict(patch=4, side=0.5),
    dict(patch=(0, 1.5, 3), side=(0.0, 1.0, 0.01)),
  ),
  "mix_patches": (dict(image=IMAGES, mask=PATCHES), dict(patch=4), dict(patch=(0, 4.0, 5))),
  "multi_block_mask": (
    {},
    dict(grid=(14, 14)),
    dict(grid=((14,), (0, 14)), targets=(0, 1.5, 9), scale=((0.2, 0.1), (0.0, 0.2), 0.2), aspect=((0, 1), (9.0, 10.0))),
  ),
  "pixel_to_patch_mask": (dict(mask=PIXELS), dict(patch=4), dict(patch=(0, 3, 4.0), min_hidden=(0, 1.5))),
  "random_patch_mask": (
    dict(valid=jnp.ones(64, bool)),
    dict(**GRID, ratio=0.75),
    dict(grid=((), 64, (8, "8")), ratio=(0, 1.0, -1, 1.5)),
  ),
  "replace_tokens": (
    dict(tokens=jnp.zeros(20, jnp.int32), mask=jnp.ones(20, bool)),
    dict(vocab=40, mask_id=3),
    dict(vocab=(0, 2.5), mask_id=(-1, 40, 1.5), random=(-0.1, 1.5), keep=(-0.1, 1.5)),
  ),
  "span_mask": (
    dict(valid=jnp.ones(8, bool)),
    dict(grid=(8,), ratio=0.5, span=2),
    dict(grid=((8, 8), (0,)), ratio=(0.0, -1), span=(0, 8, 2.5)),
  ),
  "stratified_block_mask": (
    dict(views=[IMAGES, IMAGES]),
    dict(**GRID, ratio=(0.1, 0.5), min_block=4),
    dict(grid=((8,),), ratio=((0.5, 0.1), (0.0, 0.5), 0.5), min_block=(0, 60), aspect=((0, 1),), prob=(0.0, 1.5)),
  ),
  "tube_mask": ({}, dict(grid=(2, 4, 4), ratio=0.75), dict(grid=((8, 8), (0, 4, 4)), ratio=(0, 1.0, -1))),
  "valid_patches": (
    {},
    dict(**GRID, length=jnp.array(5), patch=2),
    dict(grid=((), 64), patch=(0, 1.5), length=(5, jnp.ones(2, jnp.int32), jnp.array(5.0))),
  ),
}


def run(name, arrays, numbers):
  fn = getattr(masking, name)
  keys = () if name == "pixel_to_patch_mask" else (KEY,)
  # Numbers are not arguments of what is traced: they stay constants.
  return jax.eval_shape(lambda: fn(*keys, **arrays, **numbers))


def refused(name, argument, arrays, numbers):
  with pytest.raises(ValueError) as error:
    run(name, arrays, numbers)
    pytest.fail(f"{name} takes {argument}")
  message = str(error.value)
  assert message.startswith(f"{name}: ") and argument in message and "\n" not in message, message


def test_the_table_holds_every_mask():
  assert sorted(TABLE) == sorted(masking.__all__)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_arrays(name):
  arrays, numbers, _ = TABLE[name]
  run(name, arrays, numbers)
  for argument, x in arrays.items():
    array = x[-1] if isinstance(x, list) else x
    other = jnp.float32 if jnp.issubdtype(array.dtype, jnp.integer) else jnp.int32
    slips = [array[:0], array[..., 0], array[None], array.astype(other), 0.5]
    if len(arrays) > 1:
      slips += [array[:1], array[:-1]]
    if isinstance(x, list):
      slips = [[x[0], array[:-1]], [], [x[0], 0.5]]
    if name == "pixel_to_patch_mask":  # of any number of images
      slips = [array[..., :0], array[0, 0], array.astype(jnp.float32)]
    for wrong in slips:
      refused(name, argument, {**arrays, argument: wrong}, numbers)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_numbers(name):
  arrays, numbers, bad = TABLE[name]
  for argument, values in bad.items():
    exotic = [float("nan"), "0.5"] if argument not in ("grid", "place", "fill") else []
    for wrong in (*values, *exotic):
      refused(name, argument, arrays, {**numbers, argument: wrong})


def test_a_scheduled_ratio_passes_the_checks():
  drawn = jax.jit(lambda prob: masking.block_mask(KEY, (8, 8), count=16, min_block=4, prob=prob)["mask"])(1.0)
  assert 0 < int(drawn.sum()) <= 16
  with pytest.raises(jax.errors.ConcretizationTypeError):
    jax.eval_shape(lambda ratio: masking.random_patch_mask(KEY, (8, 8), ratio=ratio), 0.5)
