"""Numbers of a model of transformers, as its `config.json` tells them."""

from typing import Any

from jssl.errors import ConfigError
from jssl.interop.formats import image_input

GELU = dict(gelu="exact", gelu_pytorch_tanh="tanh", gelu_new="tanh")


def number(config, name: str) -> Any:
  """An entry that there must be.

  Raises:
    ConfigError: there is none.
  """
  if name not in config:
    raise ConfigError(f"config.json has no {name}")
  return config[name]


def size(value: int | list[int]) -> int | tuple[int, ...]:
  """One side of a square, or the sides."""
  return value if isinstance(value, int) else tuple(value)


def sides(value: tuple[int, ...]) -> int | list[int]:
  """The inverse of `size`."""
  return value[0] if len(set(value)) == 1 else list(value)


def activation(config) -> dict[str, Any]:
  """The numbers of `vit` that say its GELU and the epsilon of its LayerNorms.

  Raises:
    ConfigError: another activation, or no such entries.
  """
  act = number(config, "hidden_act")
  if act not in GELU:
    raise ConfigError(f"hidden_act='{act}' is none of {', '.join(GELU)}")
  return dict(gelu=GELU[act], layer_norm_eps=float(number(config, "layer_norm_eps")))


def image(config):
  """The input of a network that sees one image."""
  return image_input(size(config.get("image_size", 224)), config.get("num_channels", 3))
