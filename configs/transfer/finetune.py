"""Fine-tuning: the pretrained backbone and a new classifier, all of it trained with labels.

    small    our numbers, for images of 28 to 64 px and a CPU: batches of 64, AdamW 1e-3, layer decay 0.75, drop path 0.1,
             crops of at least half of the image, nothing mixed, smoothing 0.1; 1000 steps
    mae      MAE's ViT-B (He et al., arXiv 2111.06377, table 9; facebookresearch/mae, FINETUNE.md, main_finetune.py): a new
             LayerNorm on the mean of the patches, layer decay 0.65, lr 5e-4 for 256 examples, 100 epochs. Their fixed
             positions become parameters, ours stay fixed.
    beit     BEiT's ViT-B (Bao et al., arXiv 2106.08254; microsoft/unilm, beit/get_started_for_image_classification.md,
             run_class_finetuning.py): as MAE's, with lr 4e-3 for 1024 examples and 20 epochs of warm-up. They give each
             block a copy of the relative positions' table, ours keep the shared one.
    deit     DeiT's (Touvron et al., arXiv 2012.12877; facebookresearch/deit, main.py), which trains from random weights as
             well: the class token, all layers at one rate, 300 epochs, a moving average of the weights with 0.99996. Their
             repeated augmentation, three views of an image an epoch, is left out.
    sit      SiT's (Atito et al., arXiv 2104.03602; Sara-Ahmed/SiT, main.py) for small sets: DeiT's with batches of 480 and
             501 epochs, and a classifier that reads the class token beside the mean of the patches.

The last four show RandAugment (9, 0.5), random erasing (0.25), mixup 0.8 or CutMix 1.0, and smooth labels by 0.1; DeiT's
and SiT's rates change with the epoch there, with the step here. `two_part=True` gives any of them SiT's classifier. A moving
average of the weights is kept beside them, as network `average`; MAE and BEiT have none.
"""

from jssl.configs import common


def get_config(run, preset: str = "small", *, two_part: bool = False):
  """The config of a run that starts from `run`, a `jssl.transfer.Pretrained`."""
  strong = dict(strong=True, scale=(0.08, 1.0), mixup=0.8, cutmix=1.0, drop_path=0.1)
  masked = dict(**strong, fc_norm=True, init="mae_classifier", layer_decay=0.65, average=0.9999)
  token = dict(**strong, fc_norm=False, init="dino", layer_decay=None, average=0.99996)
  p = common.pick(
    preset,
    small=dict(
      strong=False,
      scale=(0.5, 1.0),
      mixup=0.0,
      cutmix=0.0,
      drop_path=0.1,
      fc_norm=False,
      init="mae_classifier",
      layer_decay=0.75,
      average=0.99,
      run=None,
    ),
    mae=dict(**masked, run=dict(batch_size=1024, epochs=100, lr=5e-4, warmup_epochs=5, end_lr=1e-6)),
    beit=dict(**masked, run=dict(batch_size=1024, epochs=100, lr=1e-3, warmup_epochs=20, end_lr=1e-6)),
    deit=dict(**token, run=dict(batch_size=1024, epochs=300, lr=2.5e-4, warmup_epochs=5, warmup_start_lr=1e-6, end_lr=1e-5)),
    sit=dict(**token, run=dict(batch_size=480, epochs=501, lr=2.5e-4, warmup_epochs=5, warmup_start_lr=1e-6, end_lr=5e-6)),
  )
  config = run.base()
  statistics = dict(mean=run.view.mean, std=run.view.std)
  crop = dict(fn="augment", reads=run.image, size=run.view.size, scale=p.scale, flip=run.flip)
  if p.strong:
    config.views.update(
      crop=dict(crop, mean=0.0, std=1.0),
      rand=dict(fn="rand_augment", reads=("crop",), magnitude=9.0, fill=run.view.mean),
      normal=dict(fn="color_view", reads=("rand",), **statistics),
      shown=dict(fn="random_erasing", reads=("normal",)),
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
  feature = "features" if p.fc_norm else run.feature
  if two_part or preset == "sit":
    mlp = dict(layers=2, hidden=run.width, activation="gelu", batch_norm=False, init=p.init)
    classes = dict(fn="mlp_head", output=run.classes, reads=("cls", "mean"), **mlp)
  else:
    classes = dict(fn="linear_head", output=run.classes, reads=(feature,), init=p.init)
  numbers = dict(drop_path=p.drop_path) | (dict(fc_norm=True) if p.fc_norm else {})
  config.networks.classifier = run.network(heads=dict(classes=classes), **numbers)
  config.networks.average = dict(ema="classifier", decay=p.average)
  config.passes.c = dict(net="classifier", reads=("mixed/image",))
  config.losses.ce = dict(fn="soft_cross_entropy_loss", reads=("c/classes", "mixed/target"))
  # `--config.evaluation.outputs.logits=average/classes` asks the moving average.
  config.evaluation.passes = dict(c=dict(net="classifier", reads=("v",)), average=dict(net="average", reads=("v",)))
  config.evaluation.outputs = dict(features=f"c/{feature}", logits="c/classes")

  if p.run:
    common.adamw_run(config, **p.run)
    config.optim.no_decay = run.undecayed
  else:
    common.demo_run(config, steps=1000, lr=1e-3)
  config.optim.layer_decay = p.layer_decay if run.is_transformer else None
  return config
