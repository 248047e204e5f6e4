"""Linear classification: the pretrained network stays as it is, and one linear layer on its features is trained with views.

    small      our numbers, for a CPU: batches of 64, AdamW 1e-2, crops of at least half of the image; 1000 steps
    mae        MAE's (He et al., arXiv 2111.06377, table 10; facebookresearch/mae, main_linprobe.py): batch 16384, 90 epochs,
               LARS with lr 0.1 for 256 examples, no weight decay, BatchNorm without affine parameters before the layer

What `python -m jssl.evaluate --protocols linear` trains, on features that are computed once, is faster and has no views.
"""

from jssl.configs import common


def get_config(run, preset: str = "small"):
  """The config of a run that starts from `run`, a `jssl.transfer.Pretrained`."""
  p = common.pick(preset, small=dict(scale=(0.5, 1.0)), mae=dict(scale=(0.08, 1.0)))
  config = run.base()
  config.views.shown = dict(
    fn="augment", reads=run.image, size=run.view.size, scale=p.scale, flip=run.flip, mean=run.view.mean, std=run.view.std
  )
  config.networks.backbone = run.network(frozen=True)
  config.networks.classifier = dict(fn="probe_head", output=run.classes)
  config.passes = dict(f=dict(net="backbone", reads=("shown",)), c=dict(net="classifier", reads=(f"f/{run.feature}",)))
  config.losses.ce = dict(fn="softmax_cross_entropy_loss", reads=("c/features", "label"))
  config.evaluation.passes = dict(
    f=dict(net="backbone", reads=("v",)), c=dict(net="classifier", reads=(f"f/{run.feature}",))
  )
  config.evaluation.outputs = dict(features=f"f/{run.feature}", logits="c/features")

  if preset == "mae":
    common.lars_run(config, batch_size=16384, epochs=90, lr=0.1, weight_decay=0.0)
  else:
    common.demo_run(config, steps=1000, lr=1e-2, weight_decay=0.0)
  return config
