"""FLOPs of a train step's matrix products and convolutions, 2 for a multiplication and addition, the same for all sides.

A product costs three times its forward pass when it is trained, and twice where its input has no gradient. What is
recomputed in the backward pass does not count, nor does what is not a product.
"""

from collections.abc import Mapping
from typing import Any

RESNET_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def step_flops(method: str, *, batch_size: int, views: Mapping[str, int], networks: Mapping[str, Any]) -> float:
  """FLOPs of one step.

  Args:
    method: name of the config.
    batch_size: images.
    views: name -> side in pixels; of equal size come first the two that the teacher sees.
    networks: the numbers of `steps.CASES`.
  """
  first, trained, teacher = _METHODS[method](batch_size, list(views.values()), networks)
  return 2.0 * (2 * first + 3 * trained + teacher)


def _transformer(images, tokens, net):
  return net["depth"] * images * tokens * (12 * net["width"] ** 2 + 2 * tokens * net["width"])


def _vit(images, size, net, kept=None):
  """Products of the patch embedding, of the blocks, and the number of patches."""
  patches = (size // net["patch_size"]) ** 2
  embedding = images * patches * 3 * net["patch_size"] ** 2 * net["width"]
  return embedding, _transformer(images, 1 + (patches if kept is None else kept), net), patches


def _dino_head(net, head):
  """Products of a row of the MLP, and of its comparison with the prototypes."""
  mlp = net["width"] * head["hidden"] + head["hidden"] ** 2 + head["hidden"] * head["bottleneck"]
  return mlp, head["bottleneck"] * head["prototypes"]


def _mae(batch, sizes, networks):
  net, decoder = networks["encoder"], networks["decoder"]
  kept = int((sizes[0] // net["patch_size"]) ** 2 * 0.25)
  first, blocks, patches = _vit(batch, sizes[0], net, kept)
  ends = batch * decoder["width"] * ((1 + kept) * net["width"] + patches * 3 * net["patch_size"] ** 2)
  return first, blocks + _transformer(batch, 1 + patches, decoder) + ends, 0


def _simmim(batch, sizes, networks):
  first, blocks, _ = _vit(batch, sizes[0], networks["encoder"])
  return first, blocks + first, 0  # the head has the embedding's shape


def _dino(batch, sizes, networks):
  net = networks["student"]
  head = batch * sum(_dino_head(net, net["heads"]["logits"]))
  first = trained = teacher = 0
  for i, size in enumerate(sizes):
    embedding, blocks, _ = _vit(batch, size, net)
    first, trained = first + embedding, trained + blocks + head
    teacher += embedding + blocks + head if i < 2 else 0
  return first, trained, teacher


def _ibot(batch, sizes, networks):
  net = networks["student"]
  first, blocks, patches = _vit(2 * batch, sizes[0], net)
  head = 2 * batch * (1 + patches) * sum(_dino_head(net, net["heads"]["head"]))
  return first, blocks + head, first + blocks + head


def _mmc(batch, sizes, networks):
  net = networks["student"]
  first, blocks, patches = _vit(2 * batch, sizes[0], net)
  mlp, prototypes = _dino_head(net, net["heads"]["trunk"])
  head = 2 * batch * ((1 + patches) * mlp + patches * prototypes)
  pixels = 2 * batch * patches * (3 * net["width"] ** 2 + net["width"] * 3 * net["patch_size"] ** 2)
  return first, blocks + head + pixels, first + blocks + head


def _resnet(images, size, net):
  """Products of the first convolution and of the others, and the width of the features."""
  imagenet, bottleneck = net.get("stem", "imagenet") == "imagenet", net["depth"] >= 50
  side = -(-size // 2) if imagenet else size
  first, rest, inputs = side**2 * 3 * 64 * (49 if imagenet else 9), 0, 64
  side = -(-side // 2) if imagenet else side
  for stage, blocks in enumerate(RESNET_BLOCKS[net["depth"]]):
    width = 64 * 2**stage
    outputs = width * (4 if bottleneck else 1)
    for i in range(blocks):
      before, side = side, -(-side // 2) if stage and not i else side
      rest += (
        before**2 * inputs * width + side**2 * width * (9 * width + outputs)
        if bottleneck
        else side**2 * 9 * width * (inputs + outputs)
      )
      rest += side**2 * inputs * outputs if inputs != outputs or before != side else 0
      inputs = outputs
  return images * first, images * rest, inputs


def _barlow_twins(batch, sizes, networks):
  net = networks["student"]
  hidden, output = (net["heads"]["z"][key] for key in ("hidden", "output"))
  first, rest, width = _resnet(2 * batch, sizes[0], net)
  head = 2 * batch * (width * hidden + hidden**2 + hidden * output)
  return first, rest + head + batch * output**2, 0


def _simclr(batch, sizes, networks):
  net = networks["student"]
  hidden, output = (net["heads"]["z"][key] for key in ("hidden", "output"))
  first, rest, width = _resnet(2 * batch, sizes[0], net)
  return first, rest + 2 * batch * (width * hidden + hidden * output) + (2 * batch) ** 2 * output, 0


_METHODS = dict(mae=_mae, simmim=_simmim, dino=_dino, ibot=_ibot, mmc=_mmc, barlow_twins=_barlow_twins, simclr=_simclr)
