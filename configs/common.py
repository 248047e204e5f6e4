"""Pieces that configs share: the data of a preset, views, and several passes or masks spelled once."""

from collections.abc import Callable, Mapping, Sequence
import types

import ml_collections

from jssl.config import default_config
from jssl.errors import UnknownPresetError
from jssl.views import CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD

IMAGE = ("image", "extent=extent")
# Colours of BYOL, MoCo v3, Barlow Twins, DINO, SiT: the order and the probabilities are those of jssl.views.augment.
COLOUR = dict(jitter=(0.4, 0.4, 0.2, 0.1), jitter_prob=0.8, grayscale=0.2)
# Those of SimCLR at strength 1, and of MoCo v2, DenseCL, SupCon and iSogCLR.
SIMCLR_COLOUR = COLOUR | dict(jitter=(0.8, 0.8, 0.8, 0.2))
MOCO_COLOUR = COLOUR | dict(jitter=(0.4, 0.4, 0.4, 0.1))

PRESETS = ("demo", "cifar10", "imagenet")
# Backbones of the demos. They start from Xavier's initialisation whatever their method's own is: N(0, 0.02), made for
# widths of 384 and more, leaves so narrow a ViT at chance for a whole demo even when it is trained with labels.
TINY = dict(width=64, depth=3, num_heads=2, init="mae")
SMALL = dict(width=96, depth=4, num_heads=3, init="mae")
# A head of DINO, iBOT, MC-SSL or MMC for them; so narrow, N(0, 0.02) would shrink what it is given a hundredfold.
TINY_HEAD = dict(hidden=128, bottleneck=64, init="mae")
# What methods without masks train, and on how many pixels. Sixteen patches make a step four times cheaper than the 64 of
# the masked methods' demos, and LayerScale lets the class token learn within a demo; see experiments/mmc_scenes.
BACKBONES = dict(
  demo=dict(fn="vit", image_size=32, patch_size=8, layer_scale=0.01, **SMALL),
  cifar10=dict(fn="resnet", depth=18, stem="cifar"),
  imagenet=dict(fn="resnet", depth=50),
)
# The same where several crops or a teacher would make a demo long.
SMALL_BACKBONES = BACKBONES | dict(demo=BACKBONES["demo"] | TINY)
SIZES = dict(demo=32, cifar10=32, imagenet=224)


def base(preset: str) -> ml_collections.ConfigDict:
  """The data, the evaluations and the log intervals of a preset.

  `demo`: the embedded scenes, for a CPU. `cifar10`: one GPU. `imagenet`: the paper's setting; the data is
  tensorflow-datasets' `imagenet2012`, or `--config.data.name=folder:/path/to/train`.

  Raises:
    UnknownPresetError: for another preset.
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
    evaluation.update(dict(size=224, resize_to=256))  # the field's view, whatever the method's crops
  else:
    raise UnknownPresetError(f"'{preset}'; there are {', '.join(PRESETS)}")
  return config


def pick(preset: str, **presets: Mapping) -> types.SimpleNamespace:
  """The numbers of one preset as fields: `p = pick(preset, demo=dict(size=32), imagenet=dict(size=224))`, then `p.size`.

  Raises:
    UnknownPresetError: there is no such preset.
    ValueError: a preset has other fields than the others have.
  """
  if preset not in presets:
    raise UnknownPresetError(f"'{preset}'; there are {', '.join(presets)}")
  for name, fields in presets.items():
    if odd := set(fields) ^ set(presets[preset]):
      raise ValueError(f"presets '{name}' and '{preset}' do not have the same fields: {', '.join(sorted(odd))}")
  return types.SimpleNamespace(**presets[preset])


def colour_statistics(preset: str) -> dict:
  """Mean and standard deviation by which a preset's views are normalised."""
  if preset == "cifar10":
    return dict(mean=CIFAR_MEAN, std=CIFAR_STD)
  return dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)


def view(preset: str, **numbers) -> dict:
  """One random view of the image, see `jssl.views.augment`."""
  return dict(fn="augment", reads=IMAGE, **colour_statistics(preset) | numbers)


def symmetric_pair(preset: str, **numbers) -> dict:
  """Two views `a` and `b` of the same numbers, see `jssl.views.augment`."""
  return {name: view(preset, **numbers) for name in ("a", "b")}


def asymmetric_pair(preset: str, *, size: int, scale: tuple[float, float], blur: bool = True, **numbers) -> dict:
  """BYOL's two views `a` and `b`: the first blurred, the second rarely, but sometimes solarised.

  Args:
    blur: without it (32-px images) only the solarisation tells the two apart.
    **numbers: of both views.
  """
  numbers = dict(size=size, scale=scale, **COLOUR) | numbers
  return dict(
    a=view(preset, **numbers, blur=1.0 if blur else 0.0), b=view(preset, **numbers, blur=0.1 if blur else 0.0, solarize=0.2)
  )


def multi_crop(
  preset: str, *, sizes: tuple[int, int], global_scale, local_scale, local_crops: int, blur: bool = True
) -> dict:
  """DINO's views: the asymmetric pair as `a` and `b`, and small ones as `l1`, `l2`, ..."""
  views = asymmetric_pair(preset, size=sizes[0], scale=global_scale, blur=blur)
  local = view(preset, size=sizes[1], scale=local_scale, **COLOUR, blur=0.5 if blur else 0.0)
  return views | {f"l{i + 1}": dict(local) for i in range(local_crops)}


def swav_crops(preset: str, *, size: int, scale, small_size: int = 96, small_scale=None, small_crops: int = 0, **numbers):
  """Views of SwAV and DeepCluster-v2: large ones `a` and `b`, small ones `l1`, `l2`, ..., all with SimCLR's colours."""
  numbers = dict(interpolation="bilinear", **SIMCLR_COLOUR, blur=0.5) | numbers
  small = {f"l{i + 1}": view(preset, size=small_size, scale=small_scale, **numbers) for i in range(small_crops)}
  return symmetric_pair(preset, size=size, scale=scale, **numbers) | small


# The deviation of red is 0.228 in SwAV's code, where others write 0.229.
SWAV_IMAGENET = dict(size=224, scale=(0.14, 1.0), small_scale=(0.05, 0.14), small_crops=6, std=(0.228, 0.224, 0.225))

# The demo of methods that compare whole images shows single objects. A scene holds several; every view is therefore a part
# of one crop, about as large as an object, which all views of an image share.
OBJECT = dict(object=dict(fn="augment", reads=IMAGE, size=32, scale=(0.2, 0.5), flip=0.0, mean=0.0, std=1.0))


def object_view(*, size: int = 32, scale: tuple[float, float] = (0.5, 1.0), **numbers) -> dict:
  """One random view of the object crop, see `jssl.views.augment`."""
  return dict(fn="augment", reads=("object",), size=size, scale=scale, **colour_statistics("demo"), **numbers)


def object_pair(**numbers) -> dict:
  """The object crop and two views of it, `a` and `b`, of the same numbers."""
  return OBJECT | {name: object_view(**numbers) for name in ("a", "b")}


def asymmetric_object_pair(**numbers) -> dict:
  """The object crop and two views of it, `a` and `b`, of which the second may be solarised."""
  numbers = dict(any_hue(COLOUR), blur=0.0) | numbers
  return OBJECT | dict(a=object_view(**numbers), b=object_view(**numbers, solarize=0.2))


def small_object_views(names: Sequence[str], **numbers) -> dict:
  """Small crops of the object crop."""
  return {name: object_view(size=16, scale=(0.25, 0.5), **numbers) for name in names}


def any_hue(colour: Mapping) -> dict:
  """Colours of an object's views: any hue, and three of ten are grey.

  Tints tell the crops apart before shapes do. Without colours at all, these small networks do not begin to learn in so few
  steps.
  """
  return dict(colour, jitter=(*colour["jitter"][:3], 0.5), grayscale=0.3)


def passes(
  prefix: str,
  views: Sequence[str],
  net: str,
  *,
  join: str | None = None,
  reads: Callable[[str], tuple] = lambda view: (view,),
) -> dict:
  """A pass `<prefix>_<view>` of one network for each view; with `join`, all in one forward."""
  options = dict(join=join) if join else {}
  return {f"{prefix}_{v}": dict(net=net, reads=reads(v), **options) for v in views}


def outputs(prefix: str, views: Sequence[str], name: str) -> tuple[str, ...]:
  """What `passes` wrote: `("s_a/z", "s_b/z")`."""
  return tuple(f"{prefix}_{v}/{name}" for v in views)


def gmml_masks(
  views: Sequence[str], *, area: float, fill: str, replace_area: float = 0.3, replace_prob: float = 0.5, align: int = 1
) -> dict:
  """GMML's corruption of each view: blocks are dropped, or, for half of the images, replaced by another image's.

  Writes `hidden_<view>/image` and `hidden_<view>/mask`.
  """
  masks = {}
  for v in views:
    masks[f"drop_{v}"] = dict(fn="gmml_corrupt", reads=(v,), area=area, fill=fill, align=align)
    masks[f"hidden_{v}"] = dict(
      fn="alien_replace",
      scope="batch",
      reads=(v, f"drop_{v}/image", f"drop_{v}/mask"),
      area=replace_area,
      prob=replace_prob,
      align=align,
    )
  return masks


def gmml_reconstruction(
  views: Sequence[str], *, patch: int, prefix: str = "s", weight: float = 1.0, fn: str = "masked_l1_loss"
) -> dict:
  """Targets and the loss that go with `gmml_masks`: the clean pixels of what was hidden, of all views together."""
  targets = {f"pixels_{v}": dict(fn="patch_pixels", reads=(v,), patch=patch) for v in views}
  targets |= {f"where_{v}": dict(fn="patchify_mask", reads=(f"hidden_{v}/mask",), patch=patch) for v in views}
  loss = dict(
    fn=fn,
    weight=weight,
    reads=(outputs(prefix, views, "pixels"), tuple(f"pixels_{v}" for v in views), tuple(f"where_{v}" for v in views)),
  )
  return dict(targets=targets, losses=dict(rec=loss))


# Parameters that are one tensor in the authors' code, told apart by what this finds in their paths.
JOINT = "/(query|key|value)/|/(cls_position|pos_embedding)$"


def dino_optim(config, preset: str, *, lr: float = 5e-4, weight_decay, warmup: dict, end_lr: float = 1e-6) -> None:
  """AdamW as DINO, iBOT, GMML, SiT and MC-SSL use it: lr x batch / 256, every gradient clipped by itself.

  Query, key and value are one tensor there, and the position of the class token is a row of the table of positions; they are
  clipped together, in the demos each by itself.
  """
  config.optim.update(dict(name="adamw", lr=lr, lr_scale="linear", end_lr=end_lr, **warmup))
  with config.optim.ignore_type():
    config.optim.weight_decay = weight_decay
    config.optim.clip = dict(per_tensor=3.0) if preset == "demo" else dict(per_tensor=3.0, joint=JOINT)


def mae_run(config, preset: str) -> None:
  """MAE's run: on ImageNet 1600 epochs at batch 4096, and ours for the other presets."""
  config.optim.update(dict(name="adamw", b2=0.95, weight_decay=0.05, lr_scale="linear"))
  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    config.optim.update(dict(lr=6e-3, warmup_fraction=0.1))
  elif preset == "cifar10":
    config.update(dict(batch_size=512, total_epochs=400.0))
    config.optim.update(dict(lr=2.5e-4, warmup_epochs=10))
  else:
    config.update(dict(batch_size=4096, total_epochs=1600.0))
    config.optim.update(dict(lr=1.5e-4, warmup_epochs=40))


def beit_run(config, preset: str, *, lr: float) -> None:
  """BEiT's and data2vec's run on ImageNet, 800 epochs at batch 2048 with a peak `lr` that no rule scales, or ours."""
  if preset == "demo":
    demo_run(config)
    return
  large = preset == "imagenet"
  config.update(dict(batch_size=2048 if large else 512, total_epochs=800.0 if large else 400.0))
  config.optim.update(dict(name="adamw", lr=lr if large else 5e-4, end_lr=1e-5, warmup_epochs=10, weight_decay=0.05))
  config.optim.no_decay = ("/cls$",)
  with config.optim.ignore_type():
    config.optim.clip = dict(global_norm=3.0)


def demo_run(config, *, steps: int = 1000, lr: float = 1e-3, weight_decay: float = 0.05) -> None:
  """AdamW on batches of 64, with a tenth of the steps to warm up."""
  config.update(dict(batch_size=64, total_steps=steps))
  config.optim.update(dict(name="adamw", lr=lr, weight_decay=weight_decay, warmup_fraction=0.1))


def object_run(config) -> None:
  """The demo of methods that compare whole images: 2000 cheap steps, see `OBJECT`."""
  demo_run(config, steps=2000, lr=2e-3)


def solo_learn_run(config, *, name: str, lr: float, weight_decay: float) -> None:
  """1000 epochs on CIFAR at batch 256 as in vturrisi/solo-learn, scripts/pretrain/cifar: `name` is "lars" or "sgd"."""
  config.update(dict(batch_size=256, total_epochs=1000.0))
  config.optim.update(
    dict(name=name, lr=lr, lr_scale="linear", weight_decay=weight_decay, warmup_epochs=10, warmup_start_lr=3e-5)
  )
  if name == "lars":
    config.optim.update(dict(eta=0.02, lars_clip=True))


def lars_run(config, *, batch_size: int, epochs: float, lr: float, weight_decay: float, **numbers) -> None:
  """LARS with ten epochs of warm-up and a learning rate for 256 examples, as SimCLR introduced it."""
  config.update(dict(batch_size=batch_size, total_epochs=float(epochs)))
  optim = dict(name="lars", lr=lr, lr_scale="linear", weight_decay=weight_decay, warmup_epochs=10)
  config.optim.update(optim | numbers)


def larc_run(config) -> None:
  """SwAV's and DeepCluster-v2's run on ImageNet: LARC on every parameter, BatchNorm's and biases too."""
  lars_run(
    config,
    batch_size=4096,
    epochs=800,
    lr=0.3,
    weight_decay=1e-6,
    name="larc",
    decay=(".",),
    warmup_start_lr=0.3,
    end_lr_fraction=1e-3,
  )


def adamw_run(config, *, batch_size: int, epochs: float, lr: float = 5e-4, weight_decay: float = 0.05, **numbers) -> None:
  """AdamW with ten epochs of warm-up and a learning rate for 256 examples."""
  config.update(dict(batch_size=batch_size, total_epochs=float(epochs)))
  optim = dict(name="adamw", lr=lr, lr_scale="linear", weight_decay=weight_decay, warmup_epochs=10)
  config.optim.update(optim | numbers)


def pretext_run(config, preset: str, *, batch_size: int, epochs: int) -> None:
  """Pretext tasks on a vision transformer, our choice: 400 epochs at batch 512 on CIFAR-10, on ImageNet as many as asked."""
  if preset == "demo":
    demo_run(config)
  elif preset == "cifar10":
    adamw_run(config, batch_size=512, epochs=400)
  else:
    adamw_run(config, batch_size=batch_size, epochs=epochs)


def online_probe(config, *, features: str, classes: int, labels: str = "label", lr: float = 1e-2) -> None:
  """A linear classifier beside the method, whose weights do not know of it: `online_probe/accuracy` is logged.

  It is the accuracy on what is trained on, through the views of training, and so for watching alone. The cross-entropy is
  part of the logged loss. BatchNorm without affine parameters stands before the layer, and AdamW without decay moves it.

  Args:
    config: of the method, changed in place.
    features: that are classified, `[batch, dim]`, such as `"s_a/features"`.
    classes: number of labels.
    labels: their name in the data, integers `[batch]`.
    lr: the peak of its rate; warm-up and end are those of the method.
  """
  config.networks.probe = dict(fn="probe_head", output=classes)
  config.passes.probe = dict(net="probe", reads=(features,), gradient="params")
  config.losses.online_probe = dict(fn="softmax_cross_entropy_loss", reads=("probe/features", labels))
  own = dict(params="^probe/", name="adamw", lr=lr, lr_scale=None, weight_decay=0.0, clip=None)
  config.optim.groups = {**config.optim.groups, "probe": own}
