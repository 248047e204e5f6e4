"""Fine-tuning: the pretrained backbone and a new classifier, all of it trained with labels.

    small      our numbers, for images of 28 to 64 px and a CPU: batches of 64, AdamW 1e-3, layer decay 0.75, drop path 0.1,
               crops of at least half of the image, nothing mixed, smoothing 0.1; 1000 steps
    imagenet   MAE's ViT-B (He et al., arXiv 2111.06377, table 9; facebookresearch/mae, FINETUNE.md): batch 1024, 100 epochs,
               lr 5e-4 for 256 examples, layer decay 0.65, drop path 0.1, RandAugment (9, 0.5), mixup 0.8, CutMix 1.0,
               smoothing 0.1. Their random erasing (0.25) is left out.

`two_part=True` reads the class token and the mean of the patches side by side, as SiT and GMML do (Atito et al., arXiv
2104.03602 and 2205.14986), instead of what the network calls its features. A moving average of the weights is kept beside
them, as network `average`.
"""

from jssl.configs import common


def get_config(run, preset: str = "small", *, two_part: bool = False):
  """The config of a run that starts from `run`, a `jssl.transfer.Pretrained`."""
  p = common.pick(
    preset,
    small=dict(scale=(0.5, 1.0), mixup=0.0, cutmix=0.0, layer_decay=0.75, drop_path=0.1, average=0.99),
    imagenet=dict(scale=(0.08, 1.0), mixup=0.8, cutmix=1.0, layer_decay=0.65, drop_path=0.1, average=0.9999),
  )
  config = run.base()
  statistics = dict(mean=run.view.mean, std=run.view.std)
  crop = dict(fn="augment", reads=run.image, size=run.view.size, scale=p.scale, flip=run.flip)
  if preset == "imagenet":
    config.views.update(
      crop=dict(crop, mean=0.0, std=1.0),
      rand=dict(fn="rand_augment", reads=("crop",), magnitude=9.0, fill=run.view.mean),
      shown=dict(fn="color_view", reads=("rand",), **statistics),
    )
  else:
    config.views.update(shown=dict(crop, **statistics))
  config.views.mixed = dict(
    fn="mix_labelled",
    scope="batch",
    reads=("shown", "label"),
    classes=run.classes,
    mixup_alpha=p.mixup,
    cutmix_alpha=p.cutmix,
    label_smoothing=0.1,
  )
  reads = ("cls", "mean") if two_part else (run.feature,)
  classes = dict(fn="linear_head", output=run.classes, reads=reads, init="mae_classifier")
  config.networks.classifier = run.network(heads=dict(classes=classes), drop_path=p.drop_path)
  config.networks.average = dict(ema="classifier", decay=p.average)
  config.passes.c = dict(net="classifier", reads=("mixed/image",))
  config.losses.ce = dict(fn="soft_cross_entropy_loss", reads=("c/classes", "mixed/target"))
  # `--config.evaluation.outputs.logits=average/classes` asks the moving average.
  config.evaluation.passes = dict(c=dict(net="classifier", reads=("v",)), average=dict(net="average", reads=("v",)))
  config.evaluation.outputs = dict(features=f"c/{run.feature}", logits="c/classes")

  if preset == "imagenet":
    common.adamw_run(config, batch_size=1024, epochs=100, lr=5e-4, weight_decay=0.05, warmup_epochs=5, end_lr=1e-6)
  else:
    common.demo_run(config, steps=1000, lr=1e-3)
  config.optim.layer_decay = p.layer_decay if run.is_transformer else None
  return config
