"""EfficientTrain: a curriculum around any method, from low frequencies and weak augmentation to whole images.

Wang, Yue, Lu, Liu, Zhong, Song, Huang, "EfficientTrain: Exploring Generalized Curriculum Learning for Training Visual
Backbones", arXiv 2211.09703; code LeapLabTH/EfficientTrain. A preset is that of MAE, or names another method before it:

    demo, cifar10, imagenet      MAE; imagenet for 1600 epochs: 83.6 % fine-tuned in the paper, 83.5 % without the
                                 curriculum, in 1 / 1.52 of the time
    simclr/demo, dino/imagenet   any other method; joint-embedding ones, where the paper has none, are our choice

Five equal stages. In each step an augmented view of the full size is cropped in the Fourier domain to 160, 160, 160,
192, 224 of 224 pixels, which is all that masks, targets and networks see; methods whose views have colours get
RandAugment of strength 1, 3, 5, 7, 9 before. One learning-rate curve and one batch size span all stages, and
evaluation is at the full size. A step costs 0.65 of one at the full size on average; `--explain` counts each stage.

Learned positions stay a table of the full grid, which the network interpolates (bicubic, as DINO) to the grid of the
stage: no parameter changes its shape, and neither do the optimizer's moments. The authors' code resizes the embedding
itself and both of Adam's moments (bilinear) when a stage begins. Fixed positions are computed for the grid at hand.
Only views of the largest size are cropped; small crops stay as they are. Of the MAE variant no code was published.
"""

import math

from jssl.config import load_config
from jssl.schedules import step

STARTS = (0.2, 0.4, 0.6, 0.8)
SIDES = (160, 160, 160, 192, 224)
MAGNITUDES = (1, 3, 5, 7, 9)


def get_config(preset: str = "demo"):
  method, _, preset = preset.rpartition("/")
  config = load_config(f"{method or 'mae'}:{preset}")
  curriculum(config)
  return config


def curriculum(config, *, sides: tuple[int, ...] = SIDES, magnitudes: tuple[float, ...] = MAGNITUDES) -> None:
  """Makes a config's largest views grow, in place.

  Args:
    config: of a method whose views are drawn by `augment`.
    sides: of the five stages' Fourier crops, for views of the last one's size; for others they are scaled, and rounded
      to what patches, and masks' cells of patches, divide.
    magnitudes: RandAugment's, for views with colour jitter.
  """
  full = max(view.get("size", 0) for view in config.views.values())
  multiple = math.lcm(2, *_patches(config)) * math.lcm(*(mask.get("cell", 1) for mask in config.masking.values()))
  sides = [multiple * round(side / sides[-1] * full / multiple) for side in sides]
  parts = {read for view in config.views.values() if view.fn == "augment" for read in view.reads}
  growing = [name for name, view in config.views.items() if view.fn == "augment" and view.size == full and name not in parts]
  for key in ("size", "mean", "std"):
    if config.evaluation[key] is None:
      config.evaluation[key] = config.views[growing[0]][key]
  views = {}
  for name, view in config.views.items():
    views |= _growing(name, dict(view), sides[0], magnitudes) if name in growing else {name: view}
  config.views = views
  for i, start in enumerate(STARTS):
    if sides[i + 1] != sides[i]:
      override = dict(views={name: dict(size=sides[i + 1]) for name in growing})
      config.phases[f"side_{sides[i + 1]}"] = dict(start_fraction=start, override=override)


def _growing(name: str, view: dict, side: int, magnitudes) -> dict:
  """The entries of one view: augmented at the full size, then cropped in the Fourier domain."""
  full, entries = f"full_{name}", {}
  statistics = {key: view[key] for key in ("mean", "std")}
  if view.get("jitter"):
    crop, rand = f"crop_{name}", f"rand_{name}"
    entries[crop] = view | dict(mean=0.0, std=1.0)
    entries[rand] = dict(
      fn="rand_augment", reads=(crop,), fill=view["mean"], magnitude=step(magnitudes, boundaries_fraction=STARTS)
    )
    entries[full] = dict(fn="color_view", reads=(rand,), **statistics)
  else:
    entries[full] = view
  return entries | {name: dict(fn="low_frequency_crop", reads=(full,), size=side)}


def _patches(config) -> list[int]:
  """Sides of the patches of the config's networks."""
  found = (net.get("patch_size") or net.get("variant", "").rpartition("/")[2] for net in config.networks.values())
  return [int(patch) for patch in found if str(patch).isdigit()]
