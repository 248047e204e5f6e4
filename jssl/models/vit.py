"""Vision Transformer."""

from jssl.arrays import by, patch_grid, PatchSize, per_axis
from jssl.models import positions
from jssl.models.lora import lora
from jssl.models.rope import rope
from jssl.models.transformer import block_config
from jssl.models.vit_checks import check, check_axes
from jssl.models.vit_module import ViT

VARIANTS = dict(  # width, depth, heads
  Ti=(192, 12, 3), S=(384, 12, 6), B=(768, 12, 12), L=(1024, 24, 16), H=(1280, 32, 16)
)


def vit(
  *,
  variant: str | None = None,
  image_size: int | tuple[int, ...] = 224,
  width: int | None = None,
  depth: int | None = None,
  num_heads: int | None = None,
  mlp_ratio: float = 4.0,
  patch_size: PatchSize | None = None,
  stem: tuple[int, ...] = (),
  position: str = "learned",
  position_offset: float = 0.1,
  position_antialias: bool = False,
  rope_theta: float = 100.0,
  rope_dtype: str = "float32",
  rope_shift: float | None = None,
  rope_jitter: float | None = None,
  rope_rescale: float | None = None,
  cls_token: bool = True,
  cls_position: bool = False,
  registers: int = 0,
  mask_token: bool = False,
  mix_embedding: bool = False,
  drop_path: float | tuple[float, float] = 0.0,
  layer_scale: float | None = None,
  qkv_bias: bool = True,
  key_bias: bool = True,
  mlp: str = "gelu",
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  readout: tuple[int, ...] = (),
  readout_fusion: str = "mean",
  readout_depth: int = 2,
  fc_norm: bool = False,
  map_head: bool = False,
  init: str = "dino",
  attention: str = "xla",
  lora_rank: int | None = None,
  lora_alpha: float | None = None,
  lora_targets: tuple[str, ...] = ("query", "value"),
  remat: bool | str = False,
  scan: bool = False,
  dtype: str = "float32",
) -> ViT:
  """Vision Transformer, pre-norm, with the parameter names of big_vision; also for signals, clips and volumes.

  The defaults give the ViT of DINO and DeiT. Positions belong to patches: the class token and the registers, which
  follow it, have none (a checkpoint's position of the class token is added to the token when it is loaded), unless
  `cls_position` gives the class token one.

  Args:
    variant: "Ti", "S", "B", "L" or "H", a slash and the patch size: "S/16". `width`, `depth`, `num_heads` and
      `patch_size` override it, or stand in its place.
    image_size: in pixels, one number or (height, width); or a number for each axis of what takes the image's place:
      `(4000,)` for signals `[T, C]`, `(16, 224, 224)` for clips `[T, H, W, C]`, as many for volumes. It sets the size of the
      learned tables; images of other sizes are accepted.
    width: of a token.
    depth: number of blocks.
    num_heads: heads of the attention; they divide the width.
    mlp_ratio: hidden width of the MLP over `width`.
    patch_size: side of a patch in pixels, or a number for each axis, such as `(2, 16, 16)`.
    stem: channels of 3x3 convolutions before the patch embedding, each of which halves the image's sides, with a
      LayerNorm over channels (the paper: BatchNorm) and a GELU (ReLU); the patch embedding takes what is left of the
      patch. Neighbouring patches overlap then, so that neither `mask` nor `ids_keep` may hide one: corrupt pixels
      instead (Xiao et al., Early Convolutions Help Transformers See Better, arXiv 2106.14881). For images alone.
    position: "learned" (a table, interpolated for other grids), "sincos" (fixed, MAE's; of images also called "sincos2d"),
      for images alone "relative_bias" (BEiT's and
      SimMIM's: a learned bias for each offset and head on the attention's logits, shared by all blocks, starting at 0;
      for grids up to that of `image_size`), "block_relative_bias" (the same with a table for each block, as BEiT and
      data2vec are fine-tuned), "rope" (DINOv3's: queries and keys of patches are turned, see `jssl.models.rope`) or "none".
    position_offset: added to the new size when learned positions are interpolated; see `interpolate_positions`.
    position_antialias: widen the kernel when learned positions shrink (DINOv2 with registers).
    rope_theta: the base of the periods of rotary positions.
    rope_dtype: to whose numbers the periods are rounded: "float32", or "bfloat16" as in the files of DINOv3's authors.
    rope_shift, rope_jitter, rope_rescale: by how much rotary positions are moved in training, see `jssl.models.rope.moved`;
      DINOv3 has rope_rescale=2.
    cls_token: put a class token before the patches.
    cls_position: give it a learned position, which is added to it: for the same function another training, in which the
      sum of the two moves twice as far as the token would alone. DINO's, DeiT's and most codes have it as row 0 of
      their table.
    registers: number of learned tokens between the class token and the patches (Darcet et al., arXiv 2309.16588).
    mask_token: own the token that stands for hidden patches.
    mix_embedding: own two vectors, one of which is added to each patch embedding: by whether the patch is the image's
      own or another's (MixMIM, arXiv 2205.13137).
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first; or both rates, such as
      DINOv2's (0.3, 0.3).
    layer_scale: initial value of a learned factor on each residual branch; None for no factor.
    qkv_bias: biases on query, key and value.
    key_bias: one on the key, if there are biases: without rotary positions it changes nothing but the key's gradient, as a
      softmax is blind to it; DINOv3 has none.
    mlp: "gelu" (Linear, GELU, Linear) or "swiglu" (gated, of three matrices; `mlp_ratio` is the width of each).
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    readout: 1-based numbers of blocks; `out["readout_tokens"]` is the final LayerNorm of their tokens together, and
      `out["readout"]` its patches (GMML, arXiv 2205.14986: 6, 8, 10, 12; MFF, arXiv 2308.00261: 1, 3, 5, 7, 9, 12).
    readout_fusion: what they are together. "mean": GMML's. "learned": MFF's, `sum_i softmax(w)_i P_i(block_i)`, w = 1 at
      first, P_i linear but for the last named block, which is added as it is. "class_token": BEiT v2's, of one block, its
      patches and the last block's class token after `readout_depth` blocks more.
    fc_norm: have no final LayerNorm on the tokens, but one on the mean of the patch tokens, which is then the features
      (MAE and BEiT are fine-tuned so).
    map_head: have the features be pooled by attention from all tokens, see `jssl.models.map_head` (big_vision, SigLIP).
    init: whose code the parameters start as in. Where nothing else is said, linear kernels, tokens and learned
      positions are N(0, 0.02) and biases 0; "torch" is uniform within +-1 / sqrt(inputs).

      | init | kernels and tokens | patch embedding, its bias |
      |---|---|---|
      | "dino" | | torch, torch |
      | "ibot" | the mask token 0 | torch, torch |
      | "dinov2" | the mask token 0, class token and registers N(0, 1e-6) | torch, torch |
      | "mae" | Xavier uniform | Xavier uniform, torch |
      | "moco_v3" | Xavier uniform, query, key and value apart; class token N(0, 1e-6) | Xavier uniform, 0 |
      | "beit" | all cut off at +-0.02; outputs of block i into the residual stream / sqrt(2i) | cut off as well, 0 |
      | "normal" (I-JEPA) | | N(0, 0.02), 0 |
      | "normal_rescaled" | outputs of block i into the residual stream / sqrt(2i) | N(0, 0.02), 0 |
      | "msn" | | N(0, sqrt(2 / inputs)), 0 |
      | "maskfeat" | linear biases and those of the blocks' LayerNorms 0.02 | N(0, 0.02), torch |
    attention: "xla", or "cudnn" for flash attention on a GPU in half precision.
    lora_rank: of adapters beside products of the attention, which alone are trained, see `jssl.models.lora`; None for none.
    lora_alpha: times which, over the rank, they count; None for the rank.
    lora_targets: which products have one: "query", "key", "value", "out".
    remat: recompute blocks in the backward pass, for less memory: True, or a policy that says what is kept; see
      `parts.remat`.
    scan: run the blocks as one loop, whose parameters keep their names and are stacked in each step. With `remat` this
      holds the memory of one block, also on a CPU, where XLA may recompute unrolled blocks early and keep them.
    dtype: of matrix products. Parameters, softmax, LayerNorm, the residual stream and all outputs are float32.

  Returns:
    a module; see `ViT.__call__`.

  Raises:
    ValueError: an unknown variant or option, a missing number, or numbers that do not divide each other.

  References:
    Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv 2010.11929; google-research/big_vision models/vit.py;
    facebookresearch/dino vision_transformer.py; transformers models/dinov3_vit (rotary positions, SwiGLU).
  """
  if variant is not None:
    size, slash, patch = variant.partition("/")
    if size not in VARIANTS or not slash or not patch.isdigit():
      raise ValueError(f"unknown variant {variant!r}: one of {', '.join(VARIANTS)}, a slash and the patch size")
    given = (width, depth, num_heads, patch_size)
    known = (*VARIANTS[size], int(patch))
    width, depth, num_heads, patch_size = (k if g is None else g for g, k in zip(given, known, strict=True))
  if None in (width, depth, num_heads, patch_size):
    raise ValueError("without a variant, vit needs width, depth, num_heads and patch_size")
  given = [len(sides) for sides in (image_size, patch_size) if not isinstance(sides, int)]
  axes = given[0] if given else 2
  image_size = per_axis("vit", image_size, axes, "image_size")
  patch_size = per_axis("vit", patch_size, axes, "patch_size")
  check(depth, position, tuple(readout), readout_fusion)
  if readout_fusion == "class_token" and not (cls_token and len(readout) == 1 and readout_depth > 0):
    raise ValueError("readout_fusion='class_token' needs cls_token=True, a readout of one block and readout_depth > 0")
  check_axes(axes, position, stem)
  if map_head and fc_norm:
    raise ValueError("map_head=True and fc_norm=True are two ways to pool the tokens: write one of them")
  if cls_position and not cls_token:
    raise ValueError("cls_position=True needs a class token, cls_token=True")
  if any(side % 2 ** len(stem) for side in patch_size):
    raise ValueError(f"patch_size {by(patch_size)} is not divisible by the stem's stride {2 ** len(stem)}")
  block = block_config(
    width,
    num_heads,
    mlp_ratio,
    qkv_bias=qkv_bias,
    key_bias=key_bias,
    mlp=mlp,
    gelu=gelu,
    layer_norm_eps=layer_norm_eps,
    layer_scale=layer_scale,
    init=init,
    attention=attention,
    lora=lora(lora_rank, lora_alpha, lora_targets),
    dtype=dtype,
    bias_rows=positions.relative_rows(patch_grid((*image_size, 1), patch_size)) if position == "block_relative_bias" else 0,
  )
  module = ViT(
    image_size,
    patch_size,
    width,
    depth,
    block,
    tuple(stem),
    position,
    position_offset,
    position_antialias,
    cls_token,
    cls_position,
    registers,
    mask_token,
    mix_embedding,
    drop_path,
    tuple(readout),
    fc_norm,
    remat,
    scan,
    readout_fusion,
    readout_depth,
    rope(position, width // num_heads, rope_theta, rope_dtype, rope_shift, rope_jitter, rope_rescale),
    map_head,
  )
  module.grid((*image_size, 1))
  return module
