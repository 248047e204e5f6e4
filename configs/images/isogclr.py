"""iSogCLR: SogCLR in which each image learns a temperature of its own.

Qiu, Hu, Yuan, Zhou, Zhang, Yang, "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with
Automatic Temperature Individualization", arXiv 2305.11965; code zhqiu/contrastive-learning-iSogCLR (unimodal_exps).

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 128, 400 epochs: the numbers of the authors' example, which is for
               CIFAR-100; `configs/images/sogclr.py` says where network and optimizer depart from their code

The paper trains on ImageNet-100, on long-tailed sets and on pairs of images and captions, but not on all of ImageNet:
there is no preset for it. The mean of the batch's temperatures is logged as `con/temperature`; the tables of all images
are in the state, as `memory["con"]`. `isogclr_loss` says where it departs from paper and code.
"""

from jssl.configs.images import sogclr
from jssl.errors import UnknownPresetError


def get_config(preset: str = "demo"):
  if preset == "imagenet":
    raise UnknownPresetError(f"'{preset}'; there are demo, cifar10")
  config = sogclr.get_config(preset)
  config.losses.con = dict(
    fn="isogclr_loss",
    temperature=0.1,
    gamma=0.8,
    rho=0.4,
    eta=0.03,
    beta=0.5,
    temperature_range=(0.05, 1.0),
    reads=config.losses.con.reads,
  )
  return config
