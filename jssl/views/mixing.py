"""Mixtures of the images of a batch (scope="batch"): what is mixed, with whom, and in which share.

All draws are made for the global batch and read at an example's place in it, so that the split over devices changes
nothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jssl.batch_axis import gather, global_size, positions


def mixup(
  rng: jax.Array, image: jax.Array, *, alpha: float, per_example: bool = False, axis_name: str | None = None
) -> dict[str, jax.Array]:
  """Blends each image with a partner: `lam * image + (1 - lam) * image[perm]`, lam ~ Beta(alpha, alpha).

  Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412; drawn as in
  facebookresearch/mixup-cifar10, train.py: partners are a random permutation of the batch, lam is one number a batch.

  Args:
    rng: one key, the same on all devices.
    image: [batch, ...] floats, the local part of the batch: images, or any other arrays that can be blended.
    alpha: static, > 0. Small values leave most images almost as they were.
    per_example: draw lam for each example (timm's mode "elem").
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A dict of `image` [batch, ...], `lam` [batch] float32, the share of the image itself, and `perm` [batch] int32, the
    place of its partner in the global batch.

  Raises:
    ValueError: unless alpha is positive.
  """
  perm, lam = draw_mixture(rng, image.shape[0], alpha=alpha, per_example=per_example, axis_name=axis_name)
  return dict(image=_blend(image, gather(image, axis_name)[perm], lam), lam=lam, perm=perm)


def cutmix(
  rng: jax.Array, image: jax.Array, *, alpha: float = 1.0, per_example: bool = False, axis_name: str | None = None
) -> dict[str, jax.Array]:
  """Pastes a box of a partner into each image, at the same place.

  Yun, Han, Oh, Chun, Choe, Yoo, "CutMix", arXiv 1905.04899; clovaai/CutMix-PyTorch, train.py (`rand_bbox`): lam ~
  Beta(alpha, alpha), the box has int(side * sqrt(1 - lam)) pixels along each side, less one where that is odd, its
  centre is uniform over the image, and what sticks out is cut off.

  Args:
    rng: one key, the same on all devices.
    image: [batch, height, width, channels] floats, the local part of the batch.
    alpha: static, > 0; 1 in the paper, for which lam is uniform.
    per_example: draw lam and the box for each example.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A dict of `image`, `lam` and `perm` as `mixup` returns them; `lam` is the share of pixels that are left, after the
    cut at the border.

  Raises:
    ValueError: unless alpha is positive.
  """
  batch, height, width, _ = image.shape
  mixture_key, box_key = jax.random.split(rng)
  perm, lam = draw_mixture(mixture_key, batch, alpha=alpha, per_example=per_example, axis_name=axis_name)
  center = for_each_example(lambda n: jax.random.uniform(box_key, (n, 2)), batch, per_example, axis_name)

  def inside(side, center):
    half = jnp.floor(side * jnp.sqrt(1 - lam)) // 2
    middle, place = jnp.floor(side * center), jnp.arange(side)
    return (place >= (middle - half)[:, None]) & (place < (middle + half)[:, None])

  box = inside(height, center[:, 0])[:, :, None] & inside(width, center[:, 1])[:, None, :]
  mixed = jnp.where(box[..., None], gather(image, axis_name)[perm], image)
  return dict(image=mixed, lam=1 - jnp.mean(box, axis=(1, 2), dtype=jnp.float32), perm=perm)


def mix_labelled(
  rng: jax.Array,
  image: jax.Array,
  label: jax.Array,
  *,
  classes: int,
  mixup_alpha: float = 0.8,
  cutmix_alpha: float = 1.0,
  cutmix_prob: float = 0.5,
  label_smoothing: float = 0.1,
  axis_name: str | None = None,
) -> dict[str, jax.Array]:
  """Images and labels of a batch for fine-tuning: mixed by `mixup` or by `cutmix`, and smoothed.

      q = lam s(y) + (1 - lam) s(y[perm]),   s(y) = (1 - eps) onehot(y) + eps / classes

  One of the two is drawn for the batch, as in timm's `Mixup` (mode "batch"), which DeiT's and MAE's fine-tuning use. timm
  takes the batch in reverse order for partners; here they are a random permutation.

  Args:
    rng: one key, the same on all devices.
    image: [batch, height, width, channels] floats, the local part of the batch.
    label: integers [batch] in [0, classes).
    classes: their number.
    mixup_alpha, cutmix_alpha: see `mixup` and `cutmix`; 0 switches one off.
    cutmix_prob: how often it is `cutmix`, where both are on.
    label_smoothing: eps.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A dict of `image` [batch, height, width, channels] and `target` [batch, classes] float32.
  """
  choice_key, mixup_key, cutmix_key = jax.random.split(rng, 3)
  unmixed = dict(image=image, lam=jnp.ones(len(image)), perm=positions(len(image), axis_name))
  blended = mixup(mixup_key, image, alpha=mixup_alpha, axis_name=axis_name) if mixup_alpha else unmixed
  pasted = cutmix(cutmix_key, image, alpha=cutmix_alpha, axis_name=axis_name) if cutmix_alpha else blended
  share = float(bool(cutmix_alpha)) if not mixup_alpha else cutmix_prob
  paste = jax.random.bernoulli(choice_key, share)
  mixed = jax.tree.map(lambda a, b: jnp.where(paste, a, b), pasted, blended)
  smooth = lambda y: (1 - label_smoothing) * jax.nn.one_hot(y, classes) + label_smoothing / classes
  lam = mixed["lam"][:, None]
  target = lam * smooth(label) + (1 - lam) * smooth(gather(label, axis_name)[mixed["perm"]])
  return dict(image=mixed["image"], target=target)


def mix_pairs(
  rng: jax.Array, a: jax.Array, b: jax.Array, *, alpha: float = 1.0, axis_name: str | None = None
) -> dict[str, jax.Array]:
  """Blends the first view of each image with the second view of a partner: `lam * a + (1 - lam) * b[perm]`.

  The third input of Mixed Barlow Twins (Bandara, De Melo, Patel, arXiv 2312.02151; wgcban/mix-bt, main.py): lam ~
  Beta(alpha, alpha) is one number a batch, partners are a random permutation of it.

  Args:
    rng: one key, the same on all devices.
    a, b: [batch, ...] floats, two views of the same images, the local part of the batch.
    alpha: static, > 0; 1 in the paper, for which lam is uniform.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A dict of `image`, `lam` and `perm` as `mixup` returns them; `jssl.losses.mixed_barlow_twins_loss` reads the last
    two.

  Raises:
    ValueError: unless alpha is positive.
  """
  perm, lam = draw_mixture(rng, a.shape[0], alpha=alpha, axis_name=axis_name)
  return dict(image=_blend(a, gather(b, axis_name)[perm], lam), lam=lam, perm=perm)


def draw_mixture(
  rng: jax.Array, local_batch: int, *, alpha: float, per_example: bool = False, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
  """Partners and shares of this device's examples: `(perm [local_batch] int32, lam [local_batch] float32)`.

  Partners are a random permutation of the global batch, which may leave an example with itself.

  Raises:
    ValueError: unless alpha is positive.
  """
  if not alpha > 0:
    raise ValueError(f"the shares of a mixture are Beta(alpha, alpha) with alpha > 0, got {alpha}")
  perm_key, lam_key = jax.random.split(rng)
  perm = for_each_example(lambda n: jax.random.permutation(perm_key, n).astype(jnp.int32), local_batch, True, axis_name)
  shares = lambda n: jax.random.beta(lam_key, alpha, alpha, (n,), jnp.float32)
  return perm, for_each_example(shares, local_batch, per_example, axis_name)


def _blend(image: jax.Array, partner: jax.Array, lam: jax.Array) -> jax.Array:
  share = lam.reshape(-1, *[1] * (image.ndim - 1)).astype(image.dtype)
  return share * image + (1 - share) * partner


def for_each_example(
  draw: Callable[[int], jax.Array], local_batch: int, per_example: bool, axis_name: str | None
) -> jax.Array:
  """This device's share of `draw(global batch)`, or the one row of `draw(1)` for all: [local_batch, ...]."""
  if not per_example:
    return jnp.repeat(draw(1), local_batch, axis=0)
  return draw(global_size(local_batch, axis_name))[positions(local_batch, axis_name)]
