"""A tokenizer for BEiT and BEiT v2: codes that stand for the patches of a ViT.

van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", arXiv 1711.00937, with the normalised
entries of few dimensions of Yu et al., "Vector-quantized Image Modeling with Improved VQGAN", arXiv 2110.04627, and
transformers for its encoder and decoder as there. Nothing in it is BEiT's own, whose tokenizer is that of DALL-E.

    tokenizer:demo              a VQ-VAE: what is decoded are the pixels of the patches
    tokenizer:demo@runs/dino    VQ-KD: the tokens of a frozen teacher, of a run of `dino` with the same preset

VQ-KD is BEiT v2's: Peng, Dong, Bao, Ye, Wei, arXiv 2208.06366; code microsoft/unilm, beit2. Its codebook follows the patches
by a moving average, and its loss is the cosine with the teacher's tokens. The authors' views keep 8 % of the image and more,
ours 20 %; their encoder has a class token, ours none, and their decoder's last layer is two with a tanh.

    demo       width 64, 256 codes, crops of 32 px, patch 4, on a CPU
    cifar10    native 32 px, patch 4, 512 codes
    imagenet   width 384, 8192 codes, 224 px, patch 16; of VQ-KD the paper's numbers, a ViT-B and three blocks of its width

All other numbers are our choice. Entries of the VQ-VAE that no patch is nearest to are dead: a codebook that learns from its
own patches alone leaves most of them so. The loss `usage` pulls them in, by asking that on average over a batch all entries
be about as near; its metric `used` says how many are in use.
"""

from jssl.configs import common
from jssl.configs.images import dino

DIM = 32


def network(preset: str, *, distilled: bool = False) -> dict:
  """The encoder and its quantiser, which `configs/images/beit.py` loads, and `beit_v2.py` one that was distilled."""
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, codes=256, net=dict(width=64, depth=2, num_heads=2)),
    cifar10=dict(size=32, patch=4, codes=512, net=dict(width=192, depth=4, num_heads=3)),
    imagenet=dict(size=224, patch=16, codes=8192, net=dict(width=384, depth=6, num_heads=6)),
  )
  if distilled and preset == "imagenet":
    p.net = dict(width=768, depth=12, num_heads=12)
  moving = dict(hidden=p.net["width"], decay=0.99) if distilled else {}
  return dict(
    fn="vit",
    image_size=p.size,
    patch_size=p.patch,
    cls_token=False,
    **p.net,
    heads=dict(vq=dict(fn="vector_quantizer", reads=("patch_tokens",), codes=p.codes, dim=DIM, **moving)),
  )


def get_config(arg: str = "demo"):
  preset, _, workdir = arg.partition("@")
  return distilled_from(preset, workdir) if workdir else of_pixels(preset)


def distilled_from(preset: str, workdir: str):
  """VQ-KD: the teacher's tokens, out of codes."""
  config = common.base(preset)
  encoder, teacher = network(preset, distilled=True), dino.get_config(preset).networks.student
  p = common.pick(
    preset,
    demo=dict(decoder=dict(width=64, depth=1, num_heads=2), teacher_width=common.SMALL["width"]),
    cifar10=dict(decoder=dict(width=192, depth=1, num_heads=3), teacher_width=192),
    imagenet=dict(decoder=dict(width=768, depth=3, num_heads=12), teacher_width=384),
  )
  config.views = dict(v=common.view(preset, size=encoder["image_size"], scale=(0.2, 1.0)))
  config.networks = dict(
    tokenizer=encoder,
    decoder=dict(fn="mae_decoder", patch_size=encoder["patch_size"], prefix=0, output=p.teacher_width, **p.decoder),
    teacher=dict(teacher, frozen=True, load=f"{workdir}:teacher"),
  )
  config.passes = dict(
    t=dict(net="tokenizer", reads=("v",)),
    d=dict(net="decoder", reads=("t/vq/quantized",)),
    k=dict(net="teacher", reads=("v",)),
  )
  config.targets = dict(y=dict(fn="same", reads=("k/patch_tokens",)))
  config.losses = dict(
    distil=dict(fn="negative_cosine_loss", reads=("d/pixels", "y")),
    # The codebook has no gradient; the code's distance is a mean over the dimensions, too.
    vq=dict(fn="quantization_loss", reads=("t/vq/latents", "t/vq/entries"), commitment=1.0, weight=1 / DIM),
  )
  config.evaluation.network = "tokenizer"

  if preset == "demo":
    common.demo_run(config, weight_decay=1e-4)
  else:
    config.update(dict(batch_size=512, total_epochs=100.0 if preset == "imagenet" else 200.0))
    config.optim.update(dict(name="adamw", lr=1e-4, lr_scale="linear", end_lr=1e-5, weight_decay=1e-4, warmup_epochs=10))
  config.optim.b2 = 0.99
  return config


def of_pixels(preset: str):
  """A VQ-VAE."""
  config = common.base(preset)
  encoder = network(preset)
  patch = encoder["patch_size"]
  p = common.pick(
    preset,
    demo=dict(decoder=dict(width=64, depth=1, num_heads=2), run={}, warmup=None),
    cifar10=dict(decoder=dict(width=192, depth=2, num_heads=3), run=dict(batch_size=256, total_epochs=200.0), warmup=10),
    imagenet=dict(decoder=dict(width=384, depth=3, num_heads=6), run=dict(batch_size=1024, total_epochs=100.0), warmup=5),
  )
  config.views = dict(v=common.view(preset, size=encoder["image_size"], scale=(0.2, 1.0)))
  config.networks = dict(tokenizer=encoder, decoder=dict(fn="mae_decoder", patch_size=patch, prefix=0, **p.decoder))
  config.passes = dict(t=dict(net="tokenizer", reads=("v",)), d=dict(net="decoder", reads=("t/vq/quantized",)))
  config.targets = dict(y=dict(fn="patch_pixels", reads=("v",), patch=patch))
  config.losses = dict(
    rec=dict(fn="masked_mse_loss", reads=("d/pixels", "y")),
    vq=dict(fn="quantization_loss", reads=("t/vq/latents", "t/vq/entries"), commitment=0.25, weight=1.0),
    usage=dict(fn="mean_entropy_loss", reads=("t/vq/cosines",), temp=0.05, weight=0.1),
  )

  if preset == "demo":
    common.demo_run(config)
  else:
    config.update(p.run)
    config.optim.update(dict(name="adamw", lr=2e-4, lr_scale="linear", weight_decay=0.05, warmup_epochs=p.warmup))
  return config
