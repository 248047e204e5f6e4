"""Context encoder, whole: fill one large hole, and let a discriminator not tell what fills it from what was there.

Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by Inpainting", arXiv 1604.07379; code
pathak22/context-encoder, train.lua. `inpainting` with the adversarial loss beside the squared error, 0.001 to 0.999.

    demo       `inpainting`'s, width 96, crops of 32 px, patch 4, a discriminator of two convolutions, on a CPU
    cifar10    our choice: native 32 px, patch 4
    imagenet   ViT-S/16, 224 px, the middle quarter, the code's discriminator; the rest is `inpainting`'s

The discriminator sees what is in the hole and nothing else: with the context it would learn the seam, says the paper
(section 3.2). Its gradient goes through it into the student for one loss and into it alone for the other two. Its rate is a
tenth of the student's, its first moment's 0.5, as in the code, where it moves before the generator; here both move at once.
"""

from jssl.configs.images import inpainting

DISCRIMINATOR = dict(demo=dict(width=32, depth=2), cifar10=dict(width=64, depth=2), imagenet=dict(width=64, depth=4))


def get_config(preset: str = "demo"):
  config = inpainting.get_config(preset)
  hole, patch = config.masking.m, config.networks.student.patch_size
  inside = dict(fn="in_hole", patch=patch, side=hole.side)
  config.masking.update(filled=dict(inside, reads=("s/pixels", "m/mask")), was=dict(inside, reads=("y", "m/mask")))
  config.networks.discriminator = dict(fn="discriminator", **DISCRIMINATOR[preset])
  config.passes.update(
    judged=dict(net="discriminator", reads=("filled",), gradient="inputs"),
    told=dict(net="discriminator", reads=("filled",), gradient="params"),
    seen=dict(net="discriminator", reads=("was",)),
  )
  config.losses.rec.weight = 0.999
  config.losses.update(
    fools=dict(fn="adversarial_loss", weight=0.001, real=True, reads=("judged/logits",)),
    sees_filled=dict(fn="adversarial_loss", real=False, reads=("told/logits",)),
    sees_image=dict(fn="adversarial_loss", real=True, reads=("seen/logits",)),
  )
  config.evaluation.network = "student"
  config.optim.groups = dict(
    discriminator=dict(
      params="^discriminator/", lr=2e-4, lr_scale=None, lr_schedule="constant", end_lr=None, b1=0.5, weight_decay=0.0
    )
  )
  return config
