"""Pictures of one vector an image: nearest neighbours in the training set, and a map of the test set."""

from collections.abc import Sequence
import math

import numpy as np
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from jssl.arrays import l2_normalize
from jssl.data.source import Source
from jssl.evaluation.model import FeatureModel
from jssl.report import looks
from jssl.report.markup import base64_text, caption, data_block, escape, img, jpeg_bytes, note, picture_uri

QUERIES, NEIGHBOURS = 6, 6
BANK, TEST = 1000, 500  # images that are looked at
THUMBNAIL = 64
FEWEST = 10  # images that make a map
MAP, MARGIN = 300, 10


class Images:
  """Feature vectors of test images and of the training images that they are compared with.

  Args:
    models: those of them that have one vector an image count.
    test: images.
    bank: training images; None: the test images themselves.

  Attributes:
    models: that count.
    test, bank: the images.
    test_features, bank_features: of each model `[n, dim]`, of length 1.
    same: whether the bank is the test images.
  """

  def __init__(self, models: Sequence[FeatureModel], test: Source, bank: Source | None = None):
    self.models = [model for model in models if model.image_features is not None]
    self.test, self.bank, self.same = test, test if bank is None else bank, bank is None
    vectors = lambda model, source: looks.features(model, "image_features", source).reshape(len(source), -1)
    of = lambda source: [np.asarray(l2_normalize(vectors(model, source))) for model in self.models]
    self.test_features = of(test)
    self.bank_features = self.test_features if self.same else of(self.bank)
    self.test_labels, self.bank_labels = looks.labels(test), looks.labels(self.bank)

  def nearest(self, number: int, count: int = NEIGHBOURS) -> np.ndarray:
    """Places `[test, count]` in the bank of the most similar images of each test image, of a model by its number."""
    similarity = self.test_features[number] @ self.bank_features[number].T
    if self.same:
      np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count]


def neighbours_body(images: Images) -> str:
  """HTML of a few test images and, by model, of the training images nearest to them."""
  if not images.models or len(images.bank) < 2:
    return ""
  view, labelled = images.models[0].view, images.test_labels is not None and images.bank_labels is not None
  places = _chosen(images.test_labels, len(images.test))
  nearest = [images.nearest(number) for number in range(len(images.models))]
  needed = np.unique(np.concatenate([found[places].ravel() for found in nearest]))
  thumbnails = looks.pictures(images.bank, view, needed)
  shown = {place: picture_uri(x, side=THUMBNAIL) for place, x in zip(needed.tolist(), thumbnails, strict=True)}
  queries = looks.pictures(images.test, view, places)
  parts = []
  for query, place in zip(queries, places, strict=True):
    rows = []
    for model, found in zip(images.models, nearest, strict=True):
      pictures = [
        img(shown[int(i)], f"neighbour {rank + 1}", classes=_agrees(images, place, int(i)) if labelled else "")
        for rank, i in enumerate(found[place])
      ]
      rows.append(f"<div class='label'>{escape(model.name)}</div><div class='images'>{''.join(pictures)}</div>")
    label = f"<figcaption>class {int(images.test_labels[place])}</figcaption>" if labelled else ""
    asks = f"<figure>{img(picture_uri(query, side=THUMBNAIL), 'the test image')}{label}</figure>"
    parts.append(f"<div class='query'>{asks}<div class='answers'>{''.join(rows)}</div></div>")
  where = "the other pictures" if images.same else f"{len(images.bank)} training images"
  border = " Those of the same class have a green frame." if labelled else ""
  look = caption(
    f"Left a picture, right of it the most similar of {where}, nearest first, by each model's features.{border} Look "
    "whether they show the same thing in other colours, places and shapes.",
    otherwise="neighbours share colours and background only, as those of random weights and raw pixels do.",
  )
  return look + f"<div class='queries'>{''.join(parts)}</div>" + (_agreement(images, nearest) if labelled else "")


def _chosen(labels: np.ndarray | None, count: int) -> np.ndarray:
  """Places of a few test images, of different classes if there are any."""
  if labels is None:
    return looks.spread_out(count, QUERIES)
  classes, first = np.unique(labels, return_index=True)
  places = first[looks.spread_out(len(classes), QUERIES)]
  return places if len(places) == min(QUERIES, count) else looks.spread_out(count, QUERIES)


def _agrees(images: Images, place: int, found: int) -> str:
  return "same" if images.test_labels[place] == images.bank_labels[found] else ""


def _agreement(images: Images, nearest: Sequence[np.ndarray]) -> str:
  """How many neighbours share the class, over all test images that were looked at."""
  shares = [
    f"{model.name} {np.mean(images.bank_labels[found] == images.test_labels[:, None]) * 100:.0f} %"
    for model, found in zip(images.models, nearest, strict=True)
  ]
  words = f"Of the {NEIGHBOURS} nearest of each of {len(images.test)} test images so many share its class: "
  classes = np.unique(np.concatenate([images.bank_labels, images.test_labels]))
  of = lambda labels: np.mean(labels[:, None] == classes, axis=0)
  chance = float(of(images.bank_labels) @ of(images.test_labels))
  return note(words + ", ".join(shares) + f"; by chance {chance * 100:.0f} %.")


def places_of(features: np.ndarray) -> np.ndarray:
  """A map: places `[n, 2]` in [0, 1] of features `[n, dim]` by t-SNE on up to 50 principal components, seed 0.

  Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008, as scikit-learn has it.

  Raises:
    ValueError: if all features are the same.
  """
  if np.ptp(features, axis=0).max() < 1e-6:
    raise ValueError("all images have the same features: there is no map to draw")
  n, dim = features.shape
  reduced = PCA(min(50, n, dim), random_state=0).fit_transform(features)
  found = TSNE(perplexity=min(30.0, (n - 1) / 3), init="pca", learning_rate="auto", random_state=0).fit_transform(reduced)
  return (found - found.min(0)) / np.maximum(np.ptp(found, axis=0), 1e-12)


def map_body(images: Images) -> str:
  """HTML of the test images as points, by model: near are those whose features are near."""
  if not images.models or len(images.test) < FEWEST:
    return ""
  labels = images.test_labels
  numbers = np.zeros(len(images.test), np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
  maps = []
  for model, features in zip(images.models, images.test_features, strict=True):
    points = "".join(
      f"<circle class='c{number % 10}' cx='{x:.1f}' cy='{y:.1f}' r='2.6'/>"
      for (x, y), number in zip(places_of(features) * (MAP - 2 * MARGIN) + MARGIN, numbers, strict=True)
    )
    maps.append(
      f"<figure class='map'><figcaption>{escape(model.name)}</figcaption><svg viewBox='0 0 {MAP} {MAP}' role='img' "
      f"tabindex='0' aria-label='map of the test images by {escape(model.name)}'>{points}</svg></figure>"
    )
  classes = [] if labels is None else np.unique(labels).tolist()
  key = "".join(f"<span><i class='swatch c{number % 10}'></i>{name}</span>" for number, name in enumerate(classes[:10]))
  more = "<span>and so on, the colours again</span>" if len(classes) > 10 else ""
  legend = f"<p class='legend'>class {key}{more}</p>" if classes else ""
  look = caption(
    f"{len(numbers)} test images, near each other where their features are (t-SNE, seed 0; distances between groups and "
    "their sizes mean nothing)."
    + (" Look for islands of one colour." if classes else " Look for islands, and at what is in them.")
    + " Point at one to see it; it is marked in every map.",
    otherwise="the colours are mixed as in the maps of random weights and raw pixels."
    if classes
    else "islands hold pictures of one colour or brightness, as those of random weights and raw pixels do.",
  )
  names = [] if labels is None else labels.tolist()
  return f"{look}{legend}<div class='maps'>{''.join(maps)}</div>" + data_block(
    "map-data", _sprite(images) | dict(labels=names)
  )


def _sprite(images: Images) -> dict:
  """All test images in one picture, row by row."""
  small = [_thumbnail(x) for x in looks.pictures(images.test, images.models[0].view)]
  side = max(max(image.size) for image in small)
  columns = math.ceil(math.sqrt(len(small)))
  sheet = Image.new("RGB", (columns * side, math.ceil(len(small) / columns) * side))
  for number, image in enumerate(small):
    sheet.paste(image, (number % columns * side, number // columns * side))
  address = "data:image/jpeg;base64," + base64_text(jpeg_bytes(sheet, quality=75))
  return dict(sheet=address, columns=columns, rows=math.ceil(len(small) / columns))


def _thumbnail(image: np.ndarray, side: int = 32) -> Image.Image:
  shown = Image.fromarray(image)
  shown.thumbnail((side, side), Image.Resampling.LANCZOS)
  return shown
