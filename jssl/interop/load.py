"""Public weights as networks of a config: `load` reads a file."""

from collections.abc import Mapping
import pathlib
import re
from typing import Any

import jax
import numpy as np

from jssl.errors import ConfigError, nearest
from jssl.interop import fit
from jssl.interop.big_vision import BIG_VISION
from jssl.interop.dino import DINO
from jssl.interop.dinov2 import DINOV2
from jssl.interop.dinov3 import DINOV3
from jssl.interop.files import Contents, flatten, read
from jssl.interop.formats import Format
from jssl.interop.huggingface import HUGGING_FACE
from jssl.interop.ibot import IBOT
from jssl.interop.ijepa import IJEPA
from jssl.interop.mae import MAE
from jssl.interop.moco_v3 import MOCO_V3
from jssl.interop.names import convert
from jssl.interop.pretrained import build, Pretrained
from jssl.interop.timm import TIMM
from jssl.interop.torchvision import TORCHVISION

FORMATS: dict[str, Format] = dict(
  hf=HUGGING_FACE,
  dino=DINO,
  dinov2=DINOV2,
  dinov3=DINOV3,
  ibot=IBOT,
  ijepa=IJEPA,
  mae=MAE,
  moco_v3=MOCO_V3,
  timm=TIMM,
  torchvision=TORCHVISION,
  big_vision=BIG_VISION,
)


def load(
  source: str | pathlib.Path | Mapping[str, Any],
  format: str | None = None,  # the field's word for it  # noqa: A002
  *,
  part: str | None = None,
  config: Mapping[str, Any] | None = None,
  num_heads: int | None = None,
) -> Pretrained:
  """Reads public weights: all names have a place, or this is an error that tells both sides' difference.

  Args:
    source: a file (safetensors, npz; torch's, with torch), a folder of the Hugging Face hub, or a state dict.
    format: a key of `FORMATS`; None where the names or the `config.json` tell it beyond doubt.
    part: which network, where a file holds several: DINO's "student" or "teacher", MAE's "encoder" or "decoder".
    config: what `config.json` beside a file says, for a state dict of "hf" (`model.config.to_dict()`).
    num_heads: of the attention, where neither the file nor the usual heads of its width tell it.

  Returns:
    the network; `load(...).module.apply(load(...).variables, images)` for one.

  Raises:
    ConfigError: the file cannot be read or is refused, the format or the part must be named, or names or shapes are not
      those of the format.
  """
  if isinstance(source, Mapping):
    where, contents = "the state dict", Contents(flatten(source), config or {}, {})
  else:
    where, contents = str(source), read(source)
    contents = contents if config is None else contents._replace(config=config)
  name = format or _recognise(where, contents)
  if name not in FORMATS:
    raise ConfigError(f"there is no format '{name}' of weights; {nearest(name, FORMATS)}")
  try:
    return _load(f"{name}:{where}", FORMATS[name], contents, part, num_heads)
  except ConfigError as error:
    message, label = str(error), f"{name}:{where}"
    raise ConfigError(message if message.startswith(label) else f"{label}: {message}") from error


def _recognise(where: str, contents: Contents) -> str:
  found = [name for name, known in FORMATS.items() if known.recognised(contents)]
  if len(found) != 1:
    among = "is of no format" if not found else f"could be {' or '.join(found)}"
    raise ConfigError(f"{where} {among} that is told by its names: give `format`, one of {', '.join(FORMATS)}")
  return found[0]


def _load(source: str, form: Format, contents: Contents, part: str | None, num_heads: int | None) -> Pretrained:
  found, left, extras = _sort(form, contents)
  if part is None and len(found) == 1:
    (part,) = found
  if part not in found:
    asked = f"there is no network '{part}'" if part else "which network is meant is not said"
    raise ConfigError(f"{asked}; {nearest(part or '', found)}" if found else "there is no network of this format")
  described = form.parts[part].describe(found[part], contents, num_heads)
  try:
    module = build(described.network)
    like = jax.eval_shape(module.init, jax.random.key(0), *described.inputs)
  except (TypeError, ValueError) as error:
    raise ConfigError(f"its numbers make no network: {error}") from error
  variables = convert(source, described.weights, like, described.rules)
  network, variables = fit.fix_positions(described.network, module, variables)
  mean, std = form.colours(contents) or (None, None)
  label = source if len(found) == 1 else f"{source}:{part}"
  return Pretrained(label, network, variables, mean, std, extras, tuple(left), described.notes)


def _sort(form: Format, contents: Contents) -> tuple[dict[str, dict[str, np.ndarray]], list[str], dict[str, np.ndarray]]:
  """Arrays by part, names that stay behind, and extras.

  Raises:
    ConfigError: a name belongs nowhere.
  """
  parts, left, extras, strangers = {}, [], {}, []
  for name, array in contents.weights.items():
    extra = next((key for key, pattern in form.extras.items() if re.fullmatch(pattern, name)), None)
    place = next(((key, m[1]) for key, p in form.parts.items() if (m := re.fullmatch(p.names, name))), None)
    if extra is not None:
      extras[extra] = array
    elif re.fullmatch(form.other, name):
      left.append(name)
    elif place is not None:
      parts.setdefault(place[0], {})[place[1]] = array
    else:
      strangers.append(name)
  if strangers:
    more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
    raise ConfigError(f"no place is known for {', '.join(strangers[:5])}{more}")
  return parts, left, extras
