"""ResNets with torchvision's names: Barlow Twins, VICReg, SwAV, DeepCluster-v2, SimSiam, MoCo v1, v2 and v3, DINO.

Depth and width are those of the arrays; what follows the network (classifier, projector, prototypes, queue) stays behind.
MoCo's files may hold two networks, the student's (`encoder_q`) and the teacher's (`encoder_k`); those released hold one.
"""

import re

from jssl.errors import ConfigError
from jssl.interop.formats import Described, Format, image_input, Part, under
from jssl.interop.names import Rule
from jssl.interop.torch_vit import need
from jssl.models.resnet import DEPTHS

_LEAF = r"\.(weight|bias|running_mean|running_var)"
_AT, _TO = r"layer(\d)\.(\d+)\.", r"layer\1_\2/"
_RULES: tuple[Rule, ...] = under(
  "backbone/",
  (
    ("(conv1|bn1)" + _LEAF, r"\1/\2"),
    (_AT + r"(conv\d|bn\d)" + _LEAF, _TO + r"\3/\4"),
    (_AT + r"downsample\.(\d)" + _LEAF, _TO + r"downsample_\3/\4"),
    (r".*\.num_batches_tracked", None),
  ),
)


def _resnet(weights, contents, num_heads) -> Described:
  del contents, num_heads
  width, channels, *kernel = need(weights, "conv1.weight").shape
  if kernel != [7, 7]:
    raise ConfigError(f"conv1 is of {kernel}, not of 7x7: which strides and pooling go with it is in no file")
  places = {(int(match[1]), int(match[2])) for name in weights if (match := re.match(_AT, name))}
  blocks = tuple(sum(stage == number for stage, _ in places) for number in range(1, 5))
  bottleneck = "layer1.0.conv3.weight" in weights
  depth = next((depth for depth, known in DEPTHS.items() if known == blocks and (depth >= 50) == bottleneck), None)
  if depth is None:
    raise ConfigError(f"a ResNet of {blocks} blocks is none of those of {', '.join(map(str, DEPTHS))} layers")
  return Described(dict(fn="resnet", depth=depth, width=width), weights, _RULES, image_input(224, channels))


_TOP = r"(?:state_dict\.|model\.)?"
_NETWORK = r"((?:conv1|bn1|layer\d)\..*)"
_STUDENT = _TOP + r"module\.(?:encoder_q|base_encoder)\."
_TEACHER = _TOP + r"module\.(?:encoder_k|momentum_encoder)\."
_ALONE = _TOP + r"(?:module\.)?(?:backbone\.|encoder\.)?"
TORCHVISION = Format(
  parts=dict(
    student=Part(_STUDENT + _NETWORK, _resnet),
    teacher=Part(_TEACHER + _NETWORK, _resnet),
    backbone=Part(_ALONE + _NETWORK, _resnet),
  ),
  recognised=lambda contents: (
    not contents.config and any(re.fullmatch(r"(?:.*\.)?layer4\.0\.conv1\.weight", name) for name in contents.weights)
  ),
  other=rf"(?:{_STUDENT}|{_TEACHER}|{_ALONE})(?:fc|bn|projector|predictor|projection_head|prototypes|queue\w*)(?:\..*)?"
  r"|(?:optimizer|scaler|amp)\..*|epoch",
)
