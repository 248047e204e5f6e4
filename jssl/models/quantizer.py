"""Vector quantisation: tokens become entries of a learned codebook."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.models import parts


class VectorQuantizer(nn.Module):
  """Nearest entry of a codebook for each token; `vector_quantizer` builds it and explains the fields."""

  codes: int
  dim: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> dict[str, jax.Array]:
    """Quantises `[batch, patches, width]` to the arrays that `vector_quantizer` names."""
    del keys, train
    projection = parts.Projection(x.shape[-1:], (self.dim,), parts.kernel_init("dino"), dtype=self.dtype, name="projection")
    latents = l2_normalize(projection(x), eps=1e-16)
    codebook = l2_normalize(self.param("codebook", nn.initializers.normal(1.0), (self.codes, self.dim)), eps=1e-16)
    cosines = jnp.matmul(latents, codebook.T, precision="highest")
    codes = jnp.argmax(cosines, axis=-1).astype(jnp.int32)
    entries = codebook[codes]
    return dict(
      codes=codes,
      latents=latents,
      entries=entries,
      cosines=cosines,
      quantized=latents + jax.lax.stop_gradient(entries - latents),
    )


def vector_quantizer(*, codes: int, dim: int = 32, dtype: str = "float32") -> VectorQuantizer:
  """Quantiser of a VQ-VAE: each token is projected, normalised, and replaced by the nearest entry of a codebook.

  Entries and projected tokens have unit length and few dimensions, which keeps more of the codebook in use (Yu et al.).
  Gradients pass from `quantized` straight through to `latents`; the codebook learns by `jssl.losses.quantization_loss`,
  and entries that nothing is nearest to by `jssl.losses.mean_entropy_loss`.

  Args:
    codes: number of entries.
    dim: of an entry.
    dtype: of the projection; distances are float32.

  Returns:
    a module, `[batch, patches, width]` to `codes` int32 `[batch, patches]`; `latents`, `entries` and `quantized`
    `[batch, patches, dim]`, the projected tokens, their entries, and the entries with the gradient of the tokens; and
    `cosines [batch, patches, codes]` of tokens with entries. Parameters: `projection` and `codebook [codes, dim]`.

  References:
    van den Oord et al., Neural Discrete Representation Learning, arXiv 1711.00937. Yu et al., Vector-quantized Image
    Modeling with Improved VQGAN, arXiv 2110.04627, section 3.2.
  """
  return VectorQuantizer(codes, dim, dtype)
