"""Networks: backbones, decoders and heads.

Backbones return `(features, out)` with every intermediate by name, heads an array or a dict; `Network` joins them.
"""

from jssl.models.decoders import mae_decoder
from jssl.models.heads import dino_head
from jssl.models.heads import linear_head
from jssl.models.heads import mlp_head
from jssl.models.heads import reconstruction_head
from jssl.models.heads import shared_trunk_head
from jssl.models.network import Network
from jssl.models.network import count_parameters
from jssl.models.resnet import resnet
from jssl.models.vit import vit

__all__ = [
    "Network",
    "count_parameters",
    "dino_head",
    "linear_head",
    "mae_decoder",
    "mlp_head",
    "reconstruction_head",
    "resnet",
    "shared_trunk_head",
    "vit",
]
