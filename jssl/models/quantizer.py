"""Vector quantisation: tokens become entries of a learned codebook."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import gather, global_sum
from jssl.models import parts
from jssl.refresh.kmeans import spherical_kmeans


class VectorQuantizer(nn.Module):
  """Nearest entry of a codebook for each token; `vector_quantizer` builds it and explains the fields."""

  codes: int
  dim: int
  hidden: int | None = None
  decay: float | None = None
  scheme: str = "dino"
  axis_name: str | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> dict[str, jax.Array]:
    """Quantises `[batch, patches, width]` to the arrays that `vector_quantizer` names."""
    del keys
    project = lambda x, width, name: parts.Projection(
      x.shape[-1:], (width,), parts.kernel_init(self.scheme), dtype=self.dtype, name=name
    )(x)
    if self.hidden:
      x = jnp.tanh(project(x, self.hidden, "hidden"))
    latents = l2_normalize(project(x, self.dim, "projection"), eps=1e-16)
    if self.decay is None:
      codebook = l2_normalize(self.param("codebook", nn.initializers.normal(1.0), (self.codes, self.dim)), eps=1e-16)
    else:
      codebook = self._moving(latents, train and not self.is_initializing())
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

  def _moving(self, latents, train):
    """The codebook that is looked up in this step, among the statistics; while training it moves for the next one."""
    start = lambda: l2_normalize(jax.random.normal(self.make_rng("params"), (self.codes, self.dim)))
    stored = self.variable("batch_stats", "codebook", start)
    begun = self.variable("batch_stats", "begun", lambda: jnp.zeros((), jnp.float32))
    if not train:
      return stored.value
    rows = jax.lax.stop_gradient(latents).reshape(-1, self.dim).astype(jnp.float32)
    fit = lambda: spherical_kmeans(jax.random.key(0), gather(rows, self.axis_name), clusters=self.codes)[0]
    codebook = jax.lax.cond(begun.value > 0, lambda: stored.value, fit)
    codes = jnp.argmax(jnp.matmul(rows, codebook.T, precision="highest"), axis=-1)
    stored.value = moved_codebook(codebook, rows, codes, decay=self.decay, axis_name=self.axis_name)
    begun.value = jnp.ones((), jnp.float32)
    return codebook


def moved_codebook(
  codebook: jax.Array, latents: jax.Array, codes: jax.Array, *, decay: float, axis_name: str | None = None
) -> jax.Array:
  """A codebook of unit vectors after a step: each entry goes towards the direction of those that it is nearest to.

      e_k <- unit(decay e_k + (1 - decay) unit(mean of z_i with y_i = k));  an entry without any stays

  Args:
    codebook: e, `[codes, dim]`, rows of norm 1.
    latents: z, `[rows, dim]` of norm 1.
    codes: y, int `[rows]`.
    decay: in [0, 1].
    axis_name: mapped axis over which the rows are split.

  Returns:
    float32 `[codes, dim]`, rows of norm 1.

  References:
    Peng et al. 2022, arXiv 2208.06366, section 2.2; microsoft/unilm, beit2/norm_ema_quantizer.py.

  Example:

    >>> moved_codebook(jnp.eye(2), jnp.array([[0.0, 1.0]]), jnp.array([0]), decay=0.0).tolist()
    [[0.0, 1.0], [0.0, 1.0]]
  """
  sums = jax.ops.segment_sum(latents, codes, len(codebook))
  counts = jax.ops.segment_sum(jnp.ones(len(latents)), codes, len(codebook))
  sums, counts = global_sum((sums, counts), axis_name)
  moved = l2_normalize(decay * codebook + (1 - decay) * l2_normalize(sums))
  return jnp.where(counts[:, None] > 0, moved, codebook)


def vector_quantizer(
  *,
  codes: int,
  dim: int = 32,
  hidden: int | None = None,
  decay: float | None = None,
  init: str = "dino",
  axis_name: str | None = None,
  dtype: str = "float32",
) -> VectorQuantizer:
  """Quantiser of a VQ-VAE: each token is projected, normalised, and replaced by the nearest entry of a codebook.

  Entries and projected tokens have unit length and few dimensions, which keeps more of the codebook in use (Yu et al.).
  Gradients pass from `quantized` straight through to `latents`; the codebook learns by `jssl.losses.quantization_loss`,
  and entries that nothing is nearest to by `jssl.losses.mean_entropy_loss`. With `decay` it follows the tokens instead, as
  VQ-KD's (Peng et al.), see `moved_codebook`: it starts as k-means of the first batch, and is a statistic, not a parameter.

  Args:
    codes: number of entries; with `decay` at most the patches of a batch.
    dim: of an entry.
    hidden: width of a layer with tanh before the projection; None for none.
    decay: of a codebook that follows the tokens; None for one that gradients move.
    init: of linear kernels, see `vit`.
    axis_name: the mapped axis over which such a codebook is synchronised.
    dtype: of the projections; distances are float32.

  Returns:
    a module, `[batch, patches, width]` to `codes` int32 `[batch, patches]`; `latents`, `entries` and `quantized`
    `[batch, patches, dim]`, the projected tokens, their entries, and the entries with the gradient of the tokens; and
    `cosines [batch, patches, codes]` of tokens with entries. Parameters: `projection` and `codebook [codes, dim]`.

  References:
    van den Oord et al., Neural Discrete Representation Learning, arXiv 1711.00937. Yu et al., Vector-quantized Image
    Modeling with Improved VQGAN, arXiv 2110.04627, section 3.2. Peng et al., BEiT v2, arXiv 2208.06366;
    microsoft/unilm, beit2/{modeling_vqkd,norm_ema_quantizer}.py.
  """
  return VectorQuantizer(codes, dim, hidden, decay, init, axis_name, dtype)
