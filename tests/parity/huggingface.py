"""Models of Hugging Face's transformers with random weights, and what jssl makes of the folders they are saved to."""

import jax
import numpy as np
import torch

from jssl import interop

IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)


def fill(model):
  """Weights large enough that every part of a model matters; returns the model."""
  generator = torch.Generator().manual_seed(0)
  draw = lambda array: 0.3 * torch.randn(array.shape, generator=generator)
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.requires_grad:
        parameter.copy_(draw(parameter))
    for name, array in model.named_buffers():
      if name.endswith(("running_mean", "running_var")):
        array.copy_(draw(array).abs() + 0.5)
  return model.eval()


def theirs(model, images, **arrays):
  nchw = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
  with torch.no_grad():
    return model(nchw, **{name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in arrays.items()})


def ours(folder, images=IMAGES, part=None, **arrays):
  """What we make of the images: the network's numbers are those that the folder's config tells."""
  found = interop.load(folder, part=part)
  return jax.jit(lambda variables, arrays: found.module.apply(variables, images, **arrays))(found.variables, arrays)


def assert_close(found, wanted, atol=1e-5):
  np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=atol)


def flat(feature_map):
  """`[batch, dim, rows, columns]` as `[batch, rows * columns, dim]`."""
  return feature_map.flatten(2).transpose(1, 2)
