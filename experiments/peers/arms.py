"""What is trained on both sides: jssl's config of each method, in the forms that lightly's components have."""

from typing import Any

from experiments.regimes import REGIMES
from jssl.configs import common
from jssl.optim import default_optim_config

REGIME = REGIMES["fashion_mnist_shifted"]
STEPS, SIZE = 300, 32
# The regime's network, whose convolutions show patches what masks would hide; and one that masks can be laid on.
WHOLE, MASKED = REGIME.net, dict(common.TINY, patch_size=4)
# Positions at other grids, those of small crops, as timm interpolates them.
AS_TIMM = dict(drop_path=0.0, position_offset=0.0, position_antialias=True)


def _head(network: str = "student", name: str = "z", **numbers) -> dict[str, Any]:
  return {network: dict(heads={name: numbers})}


# Method -> its network, and what lightly's heads and losses have otherwise than jssl's demo: no bias before a BatchNorm and
# one in the last layer, losses in units of their own. None of it is a number of the method.
METHODS: dict[str, tuple[dict, dict]] = dict(
  simclr=(WHOLE, {}),
  moco_v2=(WHOLE, {}),
  byol=(WHOLE, dict(networks=_head(bias=False) | dict(predictor=dict(bias=False)), losses=dict(byol=dict(scale=0.5)))),
  simsiam=(WHOLE, {}),
  barlow_twins=(WHOLE, dict(networks=_head(last_bias=True), losses=dict(bt=dict(scale=1.0)))),
  vicreg=(WHOLE, dict(networks=_head(bias=False, last_bias=True))),
  swav=(WHOLE, dict(networks=_head(bias=False))),
  dino=(WHOLE, {}),
  mae=(MASKED, {}),
  simmim=(MASKED, {}),
  ibot=(MASKED, {}),
  ijepa=(MASKED, dict(optim=dict(decay=("^predictor/.*mask_token$",)))),  # which has three axes there
  msn=(MASKED, dict(networks=_head(bias=False), targets=dict(y=dict(iterations=3)))),  # which lightly is told
)


def arms(steps: int = STEPS) -> dict[str, Any]:
  """Method -> config: its demo on the regime, with one optimizer for all."""
  found = {}
  for name, (net, changes) in METHODS.items():
    config = REGIME.method(name)
    _without_queues(config)
    config.optim = default_optim_config() | dict(name="adamw", lr=REGIME.lr, weight_decay=0.05, warmup_fraction=0.1)
    config.update(dict(total_steps=steps, log_every_steps=min(50, steps), checkpoint_every_steps=steps))
    config.evaluation.size = SIZE
    with config.unlocked():
      for network in config.networks.values():
        if network.get("fn") == "vit":
          network.update(net | AS_TIMM)
      config.update(changes)
    found[name] = config
  return found


def _without_queues(config) -> None:
  """Takes out SwAV's queue of embeddings, which lightly leaves to its user."""
  queues = {name for name, target in config.targets.items() if target.fn == "feature_queue"}
  if not queues:
    return
  readers = {name for name, entry in config.passes.items() if any(read.partition("/")[0] in queues for read in entry.reads)}
  config.passes = {name: entry for name, entry in config.passes.items() if name not in readers}
  config.targets = {name: entry for name, entry in config.targets.items() if name not in queues}
  for target in config.targets.values():
    target.reads = target.reads[:1]
