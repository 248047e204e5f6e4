"""Weights for a network that has its positions in another form, or other channels, than the one that they were made for."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jssl.arrays import by
from jssl.errors import ConfigError
from jssl.models import Network
from jssl.models.positions import interpolate_positions, sincos
from jssl.models.vit_module import ViT

# Numbers that no array's shape tells, with which the same weights are another function: always, and a little.
_REFUSED = ("num_heads", "gelu", "rope_theta")
_TOLD = ("layer_norm_eps", "position_offset", "position_antialias", "rope_dtype")
CHANNELS = ("sum", "repeat", "mean")


def fix_positions(
  network: dict[str, Any], module: Network, variables: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Takes positions that are MAE's fixed ones, with zeros for the class token, out of variables; the entry says so."""
  params = variables["params"]["backbone"]
  if network.get("position") != "learned" or np.any(params.get("cls_position", 0)) or network["width"] % 4:
    return network, variables
  if not np.allclose(params["pos_embedding"][0], sincos(_native(module.backbone), network["width"]), atol=1e-5):
    return network, variables
  params = {name: x for name, x in params.items() if name not in ("pos_embedding", "cls_position")}
  network = network | dict(position="sincos2d", cls_position=False)
  return network, variables | dict(params=variables["params"] | dict(backbone=params))


def fit(source: str, theirs: Network, variables: dict[str, Any], ours: Network) -> dict[str, Any]:
  """See `Pretrained.fitted`; what differs between networks in other things than positions stays for the caller to find.

  Positions of another grid are resized as the source resizes them. A class token takes its position into it where `ours`
  has no place for one, and has zeros for one where only `ours` has.
  """
  for name in _REFUSED:
    want, have = _number(theirs, name), _number(ours, name)
    if None not in (want, have) and want != have:
      raise ConfigError(f"{source} was trained with {name}={want!r}, not {have!r}: write {name}={want!r}")
  a, b = theirs.backbone, ours.backbone
  if not (isinstance(a, ViT) and isinstance(b, ViT)):
    return variables
  if "rope" in (a.position, b.position) and a.position != b.position:
    raise ConfigError(f"{source} has position='{a.position}', not '{b.position}': write position='{a.position}'")
  params = dict(variables["params"]["backbone"])
  table, grid = params.pop("pos_embedding", None), _native(a)
  fixed = a.position in ("sincos", "sincos2d")
  if fixed:
    table = jnp.asarray(sincos(grid, a.width))[None]
  if b.position in ("sincos", "sincos2d"):
    if not fixed:
      raise ConfigError(
        f"{source} has learned positions, and not those of position='{b.position}': write position='learned'"
      )
  elif b.position == "learned" and table is not None and len(grid) == len(b.patch_size):
    table = interpolate_positions(table, grid, _native(b), offset=a.position_offset, antialias=a.position_antialias)
    params["pos_embedding"] = table
  elif not fixed and table is not None:
    params["pos_embedding"] = table
  if a.cls_position and not b.cls_position:
    params["cls"] = params["cls"] + params.pop("cls_position")
  elif b.cls_position and not a.cls_position and a.cls_token:
    params["cls_position"] = jnp.zeros_like(params["cls"])
  return variables | dict(params=variables["params"] | dict(backbone=params))


def told_differences(theirs: Network, ours: Network) -> tuple[str, ...]:
  """Numbers in which networks differ a little, and by how much: a sentence each."""
  pairs = {name: (_number(theirs, name), _number(ours, name)) for name in _TOLD}
  found = [f"{name}={b!r} here, {a!r} there" for name, (a, b) in pairs.items() if None not in (a, b) and a != b]
  a, b = theirs.backbone, ours.backbone
  if isinstance(a, ViT) and isinstance(b, ViT) and "learned" in (a.position, b.position) and _native(a) != _native(b):
    found.append(f"positions resized from {by(_native(a))} to {by(_native(b))} patches")
  return tuple(found)


def adapt_channels(kernel: Any, channels: int, rule: str) -> Any:
  """The kernel of a first convolution for images of another number of channels.

  Args:
    kernel: `[height, width, inputs, outputs]`.
    channels: wanted.
    rule: "sum": one channel, which gives what it gave in all channels at once; "repeat": the kernels of the source in turn,
      times inputs / channels (timm); "mean": their mean for each channel (TSN, Wang et al. 2016, arXiv 1608.00859).

  Returns:
    `[height, width, channels, outputs]`.

  Raises:
    ValueError: "sum" for more than one channel.

  Example:

    >>> adapt_channels(np.arange(3.0).reshape(1, 1, 3, 1), 2, "repeat").ravel()
    array([0. , 1.5])
  """
  inputs = kernel.shape[2]
  if rule == "sum":
    if channels != 1:
      raise ValueError(f"channels='sum' makes one channel, not {channels}: write 'repeat' or 'mean'")
    return kernel.sum(axis=2, keepdims=True)
  if rule == "mean":
    return kernel.mean(axis=2, keepdims=True).repeat(channels, axis=2)
  return kernel[:, :, np.arange(channels) % inputs] * np.float32(inputs / channels)


def _native(vit: ViT) -> tuple[int, ...]:
  """The grid of patches of the images that a ViT is made for."""
  return vit.grid((*vit.image_size, 1))


def _number(network: Network, name: str) -> Any:
  """A number of a backbone, or of its first block; None where it has none of this name."""
  backbone = network.backbone
  if name.startswith("rope_"):
    return getattr(getattr(backbone, "rope", None), name.removeprefix("rope_"), None)
  block = getattr(backbone, "block", None) or next(iter(getattr(backbone, "blocks", ())), None)
  return getattr(backbone, name, getattr(block, name, None))
