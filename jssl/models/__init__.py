"""Networks: backbones, decoders and heads.

Backbones return `(features, out)` with every intermediate by name, heads an array or a dict; `Network` joins them.
"""

from jssl.models.convnext import convnext
from jssl.models.decoders import mae_decoder, query_decoder
from jssl.models.discriminator import discriminator
from jssl.models.heads import color_head, linear_head, mlp_head, probe_head, reconstruction_head
from jssl.models.lora import merge_adapters
from jssl.models.network import count_parameters, Network
from jssl.models.predictors import jepa_predictor
from jssl.models.prototype_heads import dino_head, prototypes, shared_trunk_head
from jssl.models.quantizer import vector_quantizer
from jssl.models.resnet import resnet
from jssl.models.scalars import scalars
from jssl.models.swin import swin
from jssl.models.tokens import token_encoder
from jssl.models.vgg import vgg
from jssl.models.vit import vit

__all__ = [
  "Network",
  "color_head",
  "convnext",
  "count_parameters",
  "dino_head",
  "discriminator",
  "jepa_predictor",
  "linear_head",
  "mae_decoder",
  "merge_adapters",
  "mlp_head",
  "probe_head",
  "prototypes",
  "query_decoder",
  "reconstruction_head",
  "resnet",
  "scalars",
  "shared_trunk_head",
  "swin",
  "token_encoder",
  "vector_quantizer",
  "vgg",
  "vit",
]
