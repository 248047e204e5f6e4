"""What a protocol may ask of a frozen model."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from jssl.evaluation.similarity import cosine_similarity
from jssl.evaluation.view import View


@dataclasses.dataclass(frozen=True)
class FeatureModel:
  """What a protocol may ask of a frozen model; None for what the model does not have.

  Its functions take a batch of any length, `{"image": uint8 [n, H, W, C], "extent": [n, 2]}`; row i of what they give
  depends on image i alone.

  Attributes:
    name: a row of the table.
    image_features: `batch -> [n, D]`, one vector an image.
    patch_features: `batch -> [n, N, D]`, one vector a patch, without CLS.
    block_features: `batch -> [n, B + 1, D]`: the class token after each of the last B blocks (of a network without one,
      the mean of the patch tokens), then the mean of the last block's patch tokens, all after the final LayerNorm.
    grid: patches (h, w), h * w = N.
    attention: `batch -> [n, heads, N]`, of the class token to the patches in the last block; None without class token.
    similarity: between patches; see `jssl.evaluation.similarity`.
    embeddings: `batch -> [n, K]`, the projector's output, which `rankme`, `spectrum` and `lidar` score beside
      image_features.
    embedding: the name of that output, for results.
    embedding_dims: K, where it is known before anything is computed.
    logits: `batch -> [n, classes]`, what a classifier says.
    drawn: `(kind, views, seed) -> (batch -> [n, views, D])`: features of the kind "image_features" or "embeddings" of
      several views of each image by the run's own augmentation, see `jssl.evaluation.drawn`; the batch has `index [n]`.
    edited: `(kind, edits, seed) -> (batch -> [n, edits, D])`: the same of edits of what the network is shown.
    view: the part of the images that the patches lie on; None for whole images.
    reads: names of the arrays that its functions read, `index` among them; None for images.
    parameters: of the model, which are added to those of its results.
  """

  name: str
  image_features: Callable | None = None
  patch_features: Callable | None = None
  block_features: Callable | None = None
  grid: tuple[int, int] | None = None
  attention: Callable | None = None
  similarity: Callable = cosine_similarity
  embeddings: Callable | None = None
  embedding: str | None = None
  embedding_dims: int | None = None
  logits: Callable | None = None
  drawn: Callable | None = None
  edited: Callable | None = None
  view: View | None = None
  reads: tuple[str, ...] | None = None
  parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
