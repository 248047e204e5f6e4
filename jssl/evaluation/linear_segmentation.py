"""Linear segmentation: one linear layer gives each patch its classes' logits, which are upsampled to the pixels.

As in the linear evaluation of iBOT and DINOv2 (facebookresearch/dinov2, dinov2/eval/segmentation/models/decode_heads/
linear_head.py): features of the last block, BatchNorm without parameters (here the mean and standard deviation of the part
that is fitted on), a linear layer, bilinear upsampling to the image, softmax cross-entropy over its pixels. Ours are, since
images are few and small: no augmentation, one scale, Adam with a cosine decay of the rate to 0, and the rate that has the
highest mIoU on held-out images of the TRAINING split (ties: the smallest). Test images choose nothing. mIoU is over all
classes, background included, of all pixels of the data set together.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.evaluation.prompt_segmentation import upsample
from jssl.evaluation.scenes import check_scene_features
from jssl.evaluation.segmentation import confusion_matrix, predict_pixels, segmentation_scores
from jssl.evaluation.selection import standardized


def pixel_loss(params: dict, features: jax.Array, pixels: jax.Array, grid: tuple[int, int]) -> jax.Array:
  """Mean cross-entropy of the upsampled logits over the pixels that have a class.

  Args:
    params: `kernel [dim, classes]` and `bias [classes]`.
    features: patches `[batch, h * w, dim]`.
    pixels: classes `[batch, H, W]`, -1 where there is none.
    grid: (h, w).
  """
  logits = jnp.swapaxes(features @ params["kernel"] + params["bias"], 1, 2)
  maps = upsample(logits.reshape(*logits.shape[:2], *grid), (pixels.shape[1], pixels.shape[2]))
  known = pixels >= 0
  each = optax.softmax_cross_entropy_with_integer_labels(jnp.moveaxis(maps, 1, -1), jnp.where(known, pixels, 0))
  return jnp.sum(each * known) / jnp.maximum(known.sum(), 1)


@functools.partial(jax.jit, static_argnames=("grid", "num_classes"))
def _fit(learning_rates, order, features, pixels, *, grid, num_classes):
  """A layer for each learning rate `[rates]`, by Adam on the batches `order [steps, batch]` of the images."""

  def fit(rate):
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, len(order)))
    params = dict(kernel=jnp.zeros((features.shape[-1], num_classes)), bias=jnp.zeros(num_classes))

    def step(carry, index):
      params, state = carry
      gradient = jax.grad(pixel_loss)(params, features[index], pixels[index], grid)
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), order)[0][0]

  return jax.vmap(fit)(learning_rates)


@jax.jit
def _logits(kernel, bias, features):
  return features @ kernel + bias


def linear_segmentation(
  train: np.ndarray,
  train_pixels: np.ndarray,
  test: np.ndarray,
  test_pixels: np.ndarray,
  *,
  grid: tuple[int, int],
  num_classes: int,
  learning_rates: Sequence[float] = (0.001, 0.003, 0.01, 0.03),
  steps: int = 300,
  batch_size: int = 16,
  held_out: float = 0.2,
  seed: int = 0,
  chunk: int = 16,
) -> dict:
  """Test mIoU of the linear layer whose learning rate is best on held-out images of the training split.

  Args:
    train: patches `[n, h * w, dim]`.
    train_pixels: classes `[n, H, W]` in [0, num_classes), -1 where there is none.
    test: patches `[m, h * w, dim]`.
    test_pixels: `[m, H, W]`.
    grid: patches (h, w).
    num_classes: number of classes, the background's included.
    learning_rates: the grid.
    steps: of Adam.
    batch_size: images a step (at most the number that is fitted on).
    held_out: share of the training images on which the rate is chosen.
    seed: of the split and of the order of the images.
    chunk: test images handled at once.

  Returns:
    `metrics`: `miou` and `pixel_accuracy` of the test images, `held_out_miou`, the chosen `lr`; and the `parameters`.

  Raises:
    ValueError: if shapes disagree, or either part of the split is empty.
  """
  check_scene_features(train, train_pixels, grid)
  check_scene_features(test, test_pixels, grid)
  count = round(held_out * len(train))
  if not 0 < count < len(train):
    raise ValueError(f"held_out={held_out} of {len(train)} images is {count}; both parts of the split need some.")
  rng = np.random.default_rng(seed)
  choose, fit = np.split(rng.permutation(len(train)), [count])
  train, test = np.asarray(train, np.float32), np.asarray(test, np.float32)
  train, test = standardized(train[fit], train, test)
  batch_size = min(batch_size, len(fit))
  epochs = -(-steps * batch_size // len(fit))
  order = np.concatenate([rng.permutation(len(fit)) for _ in range(epochs)])[: steps * batch_size].reshape(steps, batch_size)
  rates = tuple(sorted(map(float, learning_rates)))
  numbers = dict(grid=tuple(grid), num_classes=num_classes)
  layers = _fit(jnp.array(rates), order, train[fit], train_pixels[fit].astype(np.int32), **numbers)

  def scores(rate, features, pixels):
    layer = functools.partial(_logits, layers["kernel"][rate], layers["bias"][rate])
    predicted = predict_pixels(layer, features, grid=grid, size=pixels.shape[1:], chunk=chunk)
    return segmentation_scores(confusion_matrix(pixels, predicted, num_classes))

  chosen_by = [scores(rate, train[choose], train_pixels[choose])["miou"] for rate in range(len(rates))]
  best = int(np.argmax(chosen_by))
  return dict(
    metrics=scores(best, test, test_pixels) | dict(held_out_miou=chosen_by[best], lr=rates[best]),
    parameters=dict(
      learning_rates=rates,
      steps=steps,
      batch_size=batch_size,
      optimizer="adam",
      schedule="cosine",
      standardize=True,
      fitted_on=len(fit),
      chosen_on=count,
      tested_on=len(test),
      seed=seed,
    ),
  )
