"""A tokenizer without a network: k-means of whitened patches."""

import jax
import jax.numpy as jnp

from jssl.refresh.kmeans import kmeans


def patch_codebook(rng, patches, *, codes: int, iterations: int = 20, eps: float = 0.1) -> dict[str, jax.Array]:
  """Fits the codebook that `jssl.targets.nearest_code` looks codes up in.

      W = U (L + eps)^(-1/2) U^T,   the covariance of the patches being U L U^T
      c = k-means of W (x - mean)

  Without whitening the brightness of a patch, by far its largest component, would decide its code alone.

  Args:
    rng: a key.
    patches: `[examples, patches, dim]`, pixels of patches or any other vectors.
    codes: number of entries, at most the number of patches.
    iterations: of k-means.
    eps: added to the variances: components that vary less hardly count. Pixels have about unit variance.

  Returns:
    `mean [dim]`, `whitening [dim, dim]` and `centers [codes, dim]`, float32.

  Raises:
    ValueError: for more codes than patches.

  References:
    Coates, Lee, Ng 2011, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, section 3.2.2, which
    whitens by ZCA and clusters patches too.
  """
  x = jnp.asarray(patches, jnp.float32).reshape(-1, patches.shape[-1])
  mean = jnp.mean(x, axis=0)
  x = x - mean
  variances, axes = jnp.linalg.eigh(jnp.matmul(x.T, x, precision="highest") / len(x))
  # Rounding may leave the smallest variances below zero.
  whitening = jnp.matmul(axes * jax.lax.rsqrt(jnp.maximum(variances, 0) + eps), axes.T, precision="highest")
  centers = kmeans(rng, jnp.matmul(x, whitening, precision="highest"), clusters=codes, iterations=iterations)
  return dict(mean=mean, whitening=whitening, centers=centers)
