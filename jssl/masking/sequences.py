"""What is hidden from a network of sequences, where they are padded, and BERT's corruption."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl import arrays
from jssl.checks import check_arrays, check_grid, check_values, Number


def valid_patches(rng: jax.Array, length: jax.Array, *, grid: Sequence[int], patch: int = 1) -> jax.Array:
  """Which patches hold data, for masks and networks to read as `valid`, where the first axis (time) is padded.

  Args:
    rng: unused.
    length: int [], how many entries of the first axis hold data.
    grid: numbers of patches along each axis.
    patch: entries of the first axis in a patch. A patch that is only begun counts.

  Returns:
    [tokens] bool.

  Example:

    >>> valid_patches(jax.random.key(0), jnp.array(5), grid=(4,), patch=2).tolist()
    [True, True, True, False]
  """
  del rng
  check_arrays("valid_patches", length=(length, "int []"))
  check_grid("valid_patches", grid)
  check_values("valid_patches", patch=(patch, "int [1, inf)"))
  return arrays.valid_tokens(length, grid=grid, patch=patch)


def span_mask(
  rng: jax.Array, grid: Sequence[int], *, ratio: Number, span: int, valid: jax.Array | None = None
) -> dict[str, jax.Array]:
  """Hides spans of a sequence, which may overlap.

  wav2vec 2.0 (Baevski et al., arXiv 2006.11477; facebookresearch/fairseq, data_utils.py `compute_mask_indices` with
  mask_type "static"): int(ratio * n / span + U(0, 1)) spans, at least one, begin at places drawn without replacement from
  those where a whole span fits, n being the number of valid tokens. fairseq then trims every row to the least number of
  hidden tokens of its batch; here each sequence keeps its own. Where no span fits, nothing is hidden.

  Args:
    rng: a key.
    grid: (tokens,).
    ratio: share of the tokens that would be hidden if no spans overlapped: 0.65 in wav2vec 2.0, which hides 0.49, and 0.8
      in HuBERT, both with spans of 10.
    span: tokens in a span.
    valid: [tokens] bool, where there is data; None for everywhere.

  Returns:
    A dict of `mask` [tokens] bool.

  Raises:
    ValueError: if no span fits in the sequence.

  Example:

    >>> mask = span_mask(jax.random.key(0), (20,), ratio=0.4, span=8)["mask"]
    >>> int(mask.sum())
    8
  """
  check_grid("span_mask", grid, axes=1)
  tokens = grid[0]
  check_values("span_mask", ratio=(ratio, "(0, inf)"), span=(span, f"int [1, {tokens})"))
  check_arrays("span_mask", valid=(valid, f"bool [{tokens}]"))
  valid = jnp.ones(tokens, bool) if valid is None else valid
  count_key, place_key = jax.random.split(rng)
  number = jnp.maximum(jnp.floor(ratio * jnp.sum(valid) / span + jax.random.uniform(count_key)), 1)
  windows = jnp.arange(tokens - span + 1)[:, None] + jnp.arange(span)
  fits = jnp.all(valid[windows], axis=1)
  noise = jnp.where(fits, jax.random.uniform(place_key, fits.shape), 2.0)
  begins = fits & (jnp.argsort(jnp.argsort(noise)) < number)
  return dict(mask=jnp.zeros(tokens, bool).at[jnp.where(begins[:, None], windows, tokens)].set(True, mode="drop"))


def replace_tokens(
  rng: jax.Array, tokens: jax.Array, mask: jax.Array, *, vocab: int, mask_id: int, random: Number = 0.1, keep: Number = 0.1
) -> jax.Array:
  """Puts other identifiers in the place of hidden ones, in BERT's proportions.

  BERT (Devlin et al., arXiv 1810.04805, section 3.1; google-research/bert, create_pretraining_data.py): of the tokens that
  are to be predicted eight of ten become the mask's identifier, one a random one, and one stays.

  Args:
    rng: a key.
    tokens: int [T], in [0, vocab).
    mask: [T] bool, True where a token is to be predicted.
    vocab: number of identifiers.
    mask_id: that of the mask, in [0, vocab).
    random: probability of a random identifier, uniform in [0, vocab).
    keep: probability that a token stays.

  Returns:
    int [T].

  Example:

    >>> tokens, mask = jnp.array([5, 6]), jnp.array([True, False])
    >>> replace_tokens(jax.random.key(0), tokens, mask, vocab=8, mask_id=7, random=0.0, keep=0.0).tolist()
    [7, 6]
  """
  check_arrays("replace_tokens", tokens=(tokens, "int [T]"), mask=(mask, "bool [T]"))
  check_values(
    "replace_tokens",
    vocab=(vocab, "int [1, inf)"),
    mask_id=(mask_id, f"int [0, {vocab})"),
    random=(random, "[0, 1]"),
    keep=(keep, "[0, 1]"),
  )
  choice_key, token_key = jax.random.split(rng)
  choice = jax.random.uniform(choice_key, tokens.shape)
  other = jax.random.randint(token_key, tokens.shape, 0, vocab, tokens.dtype)
  hidden = jnp.where(choice < random, other, jnp.where(choice < random + keep, tokens, mask_id))
  return jnp.where(mask, hidden, tokens)
