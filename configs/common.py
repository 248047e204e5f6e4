"""Pieces that configs share: the data of a preset, views, and several passes or masks spelled once."""

from collections.abc import Callable, Sequence

import ml_collections

from jssl.config import default_config
from jssl.views import CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD

IMAGE = ("image", "extent=extent")
# Colours of BYOL, MoCo v3, Barlow Twins, DINO, SiT: the order and the probabilities are those of jssl.views.augment.
COLOUR = dict(jitter=(0.4, 0.4, 0.2, 0.1), jitter_prob=0.8, grayscale=0.2)

PRESETS = ("demo", "cifar10", "imagenet")


def base(preset: str) -> ml_collections.ConfigDict:
  """The data, the evaluations and the log intervals of a preset.

  `demo`: the embedded scenes, for a CPU. `cifar10`: one GPU. `imagenet`: the paper's setting; the data is
  tensorflow-datasets' `imagenet2012`, or `--config.data.name=folder:/path/to/train`.

  Raises:
    KeyError: for another preset.
  """
  config = default_config()
  evaluation = config.evaluation
  if preset == "demo":
    config.update(dict(log_every_steps=50, checkpoint_every_steps=500))
    evaluation.size = 64  # at the images' own size; crops of 32 px show about as much of the objects
    evaluation.protocols = ("knn", "linear", "prompt_segmentation", "object_similarity", "rankme")
  elif preset == "cifar10":
    config.update(dict(log_every_steps=100, checkpoint_every_steps=2000, dtype="bfloat16"))
    config.data.name = "tfds:cifar10"
    evaluation.update(dict(train=dict(name="tfds:cifar10"), test=dict(name="tfds:cifar10")))
  elif preset == "imagenet":
    config.update(dict(log_every_steps=100, checkpoint_every_steps=5000, dtype="bfloat16"))
    config.data.name = "tfds:imagenet2012"
    evaluation.update(dict(train=dict(name="tfds:imagenet2012"), test=dict(name="tfds:imagenet2012", split="validation")))
  else:
    raise KeyError(f"'{preset}'; there are {', '.join(PRESETS)}")
  return config


def colour_statistics(preset: str) -> dict:
  """Mean and standard deviation by which a preset's views are normalised."""
  if preset == "cifar10":
    return dict(mean=CIFAR_MEAN, std=CIFAR_STD)
  return dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)


def view(preset: str, **numbers) -> dict:
  """One random view of the image, see `jssl.views.augment`."""
  return dict(fn="augment", reads=IMAGE, **colour_statistics(preset), **numbers)


def asymmetric_pair(preset: str, *, size: int, scale: tuple[float, float], blur: bool = True) -> dict:
  """BYOL's two views `a` and `b`: the first blurred, the second rarely, but sometimes solarised.

  Args:
    blur: without it (32-px images) only the solarisation tells the two apart.
  """
  numbers = dict(size=size, scale=scale, **COLOUR)
  return dict(a=view(preset, **numbers, blur=1.0 if blur else 0.0),
              b=view(preset, **numbers, blur=0.1 if blur else 0.0, solarize=0.2))


def multi_crop(preset: str, *, sizes: tuple[int, int], global_scale, local_scale, local_crops: int,
               blur: bool = True) -> dict:
  """DINO's views: the asymmetric pair as `a` and `b`, and small ones as `l1`, `l2`, ..."""
  views = asymmetric_pair(preset, size=sizes[0], scale=global_scale, blur=blur)
  local = view(preset, size=sizes[1], scale=local_scale, **COLOUR, blur=0.5 if blur else 0.0)
  return views | {f"l{i + 1}": dict(local) for i in range(local_crops)}


def passes(prefix: str, views: Sequence[str], net: str, *, join: str | None = None,
           reads: Callable[[str], tuple] = lambda view: (view,)) -> dict:
  """A pass `<prefix>_<view>` of one network for each view; with `join`, all in one forward."""
  options = dict(join=join) if join else {}
  return {f"{prefix}_{v}": dict(net=net, reads=reads(v), **options) for v in views}


def outputs(prefix: str, views: Sequence[str], name: str) -> tuple[str, ...]:
  """What `passes` wrote: `("s_a/z", "s_b/z")`."""
  return tuple(f"{prefix}_{v}/{name}" for v in views)


def gmml_masks(views: Sequence[str], *, area: float, fill: str, replace_area: float = 0.3, replace_prob: float = 0.5,
               align: int = 1) -> dict:
  """GMML's corruption of each view: blocks are dropped, or, for half of the images, replaced by another image's.

  Writes `hidden_<view>/image` and `hidden_<view>/mask`.
  """
  masks = {}
  for v in views:
    masks[f"drop_{v}"] = dict(fn="gmml_corrupt", reads=(v,), area=area, fill=fill, align=align)
    masks[f"hidden_{v}"] = dict(fn="alien_replace", scope="batch", reads=(v, f"drop_{v}/image", f"drop_{v}/mask"),
                                area=replace_area, prob=replace_prob, align=align)
  return masks


def gmml_reconstruction(views: Sequence[str], *, patch: int, prefix: str = "s", weight: float = 1.0) -> dict:
  """Targets and the loss that go with `gmml_masks`: the clean pixels of what was hidden, of all views together."""
  targets = {f"pixels_{v}": dict(fn="patch_pixels", reads=(v,), patch=patch) for v in views}
  targets |= {f"where_{v}": dict(fn="patchify_mask", reads=(f"hidden_{v}/mask",), patch=patch) for v in views}
  loss = dict(fn="masked_l1_loss", weight=weight, reads=(
      outputs(prefix, views, "pixels"), tuple(f"pixels_{v}" for v in views), tuple(f"where_{v}" for v in views)))
  return dict(targets=targets, losses=dict(rec=loss))


def dino_optim(config, *, lr: float = 5e-4, weight_decay, warmup: dict, end_lr: float = 1e-6) -> None:
  """AdamW as DINO, iBOT, GMML, SiT and MC-SSL use it: lr x batch / 256, every gradient clipped by itself."""
  config.optim.update(dict(name="adamw", lr=lr, lr_scale="linear", end_lr=end_lr, **warmup))
  with config.optim.ignore_type():
    config.optim.weight_decay = weight_decay
    config.optim.clip = dict(per_tensor=3.0)
