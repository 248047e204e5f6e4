"""ViTs of timm (huggingface/pytorch-image-models), also with registers; classifiers are left out.

Mean and standard deviation are those of the `config.json` beside the file, and so are the heads where it has `model_args`,
as `save` writes them for `timm.create_model("local-dir:...")`. timm runs the exact GELU where these do not say otherwise,
also on weights that were trained with the other.
"""

from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part, Preprocessing, Written
from jssl.interop.names import convert_back
from jssl.interop.pretrained import held_vit, Pretrained

_GELU = dict(gelu="exact", gelu_tanh="tanh")


def _backbone(weights, contents, num_heads) -> Described:
  arguments = contents.config.get("model_args") or {}
  # timm/layers/pos_embed.py (resample_abs_pos_embed) hands torch the new size, with antialias=True.
  return torch_vit.describe(
    weights,
    num_heads=num_heads or arguments.get("num_heads"),
    gelu=_GELU.get(arguments.get("act_layer"), "exact"),
    position_offset=0.0,
    position_antialias=True,
    **(dict(image_size=tuple(arguments["img_size"])) if isinstance(arguments.get("img_size"), list) else {}),
  )


def _colours(contents):
  colours = contents.config.get("pretrained_cfg", {})
  return (tuple(colours["mean"]), tuple(colours["std"])) if {"mean", "std"} <= colours.keys() else None


def write(found: Pretrained, seen: Preprocessing) -> Written:
  """`jssl.interop.save` in timm's names; with registers the class token has its position in it, as timm has it there."""
  positions = ("learned", "sincos", "sincos2d", "none")
  vit = held_vit("timm", found, position=positions, layer_norm_eps=(1e-6,))
  vit = (found := found.tabled(cls_position=vit.cls_position and not vit.registers)).module.backbone
  weights = torch_vit.join_qkv(convert_back("timm", found.variables, torch_vit.RULES, spelling="reg_token"))
  torch_vit.join_positions(weights, "cls_position", "pos_embed")
  left = ("mask_token",) if weights.pop("mask_token", None) is not None else ()
  if vit.position == "learned":
    torch_vit.side_of(weights["pos_embed"][:, int(vit.cls_position) :])
  channels = weights["patch_embed.proj.weight"].shape[1]
  pool = "token" if vit.cls_token and not vit.fc_norm else "avg"
  arguments = dict(
    img_size=list(vit.image_size),
    patch_size=list(vit.patch_size),
    in_chans=channels,
    embed_dim=vit.width,
    depth=vit.depth,
    num_heads=vit.block.num_heads,
    mlp_ratio=torch_vit.ratio(vit.block.mlp_dim, vit.width),
    qkv_bias=vit.block.qkv_bias,
    init_values=None if vit.block.layer_scale is None else 1.0,
    class_token=vit.cls_token,
    no_embed_class=not vit.cls_position,
    reg_tokens=vit.registers,
    pos_embed="none" if vit.position == "none" else "learn",
    fc_norm=vit.fc_norm,
    act_layer=next(name for name, kind in _GELU.items() if kind == vit.block.gelu),
  )
  colours = dict(mean=list(seen.mean), std=list(seen.std)) if seen.mean and seen.std else {}
  pretrained = dict(
    input_size=[channels, *seen.size],
    num_classes=0,
    interpolation=seen.interpolation,
    crop_pct=min(seen.size) / (seen.resize_to or min(seen.size)),
    first_conv="patch_embed.proj",
    classifier="head",
    **colours,
  )
  config = dict(
    architecture="vit_base_patch16_224",  # of which `model_args` make any other
    num_classes=0,
    num_features=vit.width,
    global_pool=pool,
    model_args=arguments | dict(global_pool=pool),
    pretrained_cfg=pretrained,
  )
  same = vit.position != "learned" or (vit.position_offset == 0 and vit.position_antialias)
  notes = () if same else ("timm resizes positions for images of other sizes otherwise than it was trained",)
  return Written(weights, config, left, notes)


TIMM = Format(
  parts=dict(backbone=Part("(.+)", _backbone)),
  recognised=lambda contents: {"architecture", "pretrained_cfg"} <= contents.config.keys(),
  colours=_colours,
)
