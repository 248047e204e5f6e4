"""Against torch itself: interpolated positions, and a ResNet that trains. Whole models are in test_huggingface.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import resnet
from jssl.models.positions import interpolate_positions

torch = pytest.importorskip("torch")


def nchw(images):
  return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def torch_interpolation(table, source, target, *, offset, antialias):
  """As DINO's interpolate_pos_encoding and DINOv2's (with registers: no offset, antialias) call torch."""
  grid = torch.from_numpy(table.reshape(1, *source, -1)).permute(0, 3, 1, 2)
  arguments = dict(mode="bicubic", antialias=antialias)
  if offset:
    arguments["scale_factor"] = [(new + offset) / old for new, old in zip(target, source, strict=True)]
  else:
    arguments["size"] = target
  return torch.nn.functional.interpolate(grid, **arguments).permute(0, 2, 3, 1).reshape(1, -1, table.shape[-1]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("source, target", [((14, 14), (6, 6)), ((7, 7), (16, 5)), ((8, 4), (8, 4)), ((8, 8), (9, 9))])
@pytest.mark.parametrize("offset, antialias", [(0.1, False), (0.0, True)])
def test_position_interpolation(source, target, offset, antialias):
  table = np.random.default_rng(3).normal(size=(1, source[0] * source[1], 3)).astype(np.float32)
  found = interpolate_positions(jnp.asarray(table), source, target, offset=offset, antialias=antialias)
  wanted = table if source == target else torch_interpolation(table, source, target, offset=offset, antialias=antialias)
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def torch_resnet18(variables, images):
  """torchvision's forward pass in training; returns features and the running statistics of every BatchNorm."""
  functional, statistics = torch.nn.functional, {}

  def convolve(x, at, stride):
    kernel = at["kernel"].transpose(3, 2, 0, 1)
    return functional.conv2d(x, torch.from_numpy(np.ascontiguousarray(kernel)), stride=stride, padding=kernel.shape[-1] // 2)

  def normalise(x, path):
    at, saved = variables["params"], variables["batch_stats"]
    for name in path:
      at, saved = at[name], saved[name]
    mean, var = (torch.from_numpy(saved[name].copy()) for name in ("mean", "var"))
    y = functional.batch_norm(
      x, mean, var, torch.from_numpy(at["scale"]), torch.from_numpy(at["bias"]), True, momentum=0.1, eps=1e-5
    )
    statistics[path] = mean.numpy(), var.numpy(), saved["var"], x.numel() // x.shape[1]
    return y

  def block(x, name, stride):
    at = variables["params"][name]
    y = functional.relu(normalise(convolve(x, at["conv1"], stride), (name, "bn1")))
    y = normalise(convolve(y, at["conv2"], 1), (name, "bn2"))
    if "downsample_0" in at:
      x = normalise(convolve(x, at["downsample_0"], stride), (name, "downsample_1"))
    return functional.relu(x + y)

  x = functional.relu(normalise(convolve(nchw(images), variables["params"]["conv1"], 2), ("bn1",)))
  x = functional.max_pool2d(x, 3, 2, 1)
  for stage in range(4):
    for i in range(2):
      x = block(x, f"layer{stage + 1}_{i}", 2 if stage and not i else 1)
  return x.mean(dim=(2, 3)).numpy(), statistics


def test_a_resnet_that_trains():
  """Odd sizes, so that the padding matters. torch's running variance is unbiased, ours is not: n / (n - 1)."""
  module = resnet(depth=18, width=4)
  images = np.random.default_rng(4).normal(size=(4, 67, 45, 3)).astype(np.float32)
  shapes, rng = jax.eval_shape(module.init, jax.random.key(0), images), np.random.default_rng(5)
  # Kernels at He's scale; scales and variances around 1, means and biases around 0.
  variables = jax.tree_util.tree_map_with_path(
    lambda path, leaf: (
      rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
      if leaf.ndim == 4
      else (path[-1].key in ("scale", "var")) + 0.1 * rng.normal(size=leaf.shape)
    ).astype(np.float32),
    shapes,
  )
  wanted, statistics = torch_resnet18(variables, images)
  (features, _), updates = jax.jit(lambda v: module.apply(v, images, train=True, mutable=["batch_stats"]))(variables)
  np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-4)
  for path, (mean, var, old, count) in statistics.items():
    found = updates["batch_stats"]
    for name in path:
      found = found[name]
    np.testing.assert_allclose(found["mean"], mean, atol=1e-4)
    biased = 0.9 * old + (var - 0.9 * old) * (count - 1) / count
    np.testing.assert_allclose(found["var"], biased, rtol=1e-4, atol=1e-5)
