"""The control of MMC's demo that knows the answers: its network, views and steps, trained with labels.

    python -m jssl.train --config experiments/mmc_scenes/with_labels.py:mae --workdir runs/with_labels_mae
    python -m jssl.evaluate --workdir runs/with_labels_mae --protocols knn --baselines

If its class token does not tell digits apart either, the fault is not the method's. The argument is the network's
initialisation: "mae" (Xavier) as in the demo, or "dino" (N(0, 0.02)).
"""

from jssl.configs.images import mmc


def get_config(init: str = "mae"):
  config = mmc.get_config("demo")
  config.data.name = "objects"
  config.views = dict(a=config.views.a)
  net = config.networks.student.to_dict() | dict(
    init=init, heads=dict(digit=dict(fn="linear_head", reads=("cls",), output=10))
  )
  config.networks = dict(student=net)
  config.evaluation.protocols = ("knn",)
  config.passes = dict(s=dict(net="student", reads=("a",)))
  config.losses = dict(digit=dict(fn="softmax_cross_entropy_loss", reads=("s/digit", "label")))
  for stage in ("masking", "targets"):
    config[stage] = {}
  return config
