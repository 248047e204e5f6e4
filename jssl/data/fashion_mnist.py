"""A tensorflow-datasets builder for Fashion-MNIST's IDX files; imported by `jssl.data.prepare` only.

tensorflow-datasets' own `fashion_mnist` downloads the files; this one reads those that are on the machine.
"""

import numpy as np
import tensorflow_datasets as tfds

from jssl.data.idx import CLASSES, FILES, read_fashion_mnist, SYSTEM_FOLDER


class FashionMnistIdx(tfds.core.GeneratorBasedBuilder):
  """Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747): 28 x 28 grey images of ten kinds of clothes."""

  VERSION = tfds.core.Version("1.0.0")

  def __init__(self, *, idx_dir: str = SYSTEM_FOLDER, **kwargs):
    """Reads the four IDX files of the folder `idx_dir`; see `tfds.core.GeneratorBasedBuilder` for the others."""
    self._idx_dir = idx_dir
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(28, 28, 1), dtype=np.uint8, encoding_format="png"),
          "label": tfds.features.ClassLabel(names=list(CLASSES)),
        }
      ),
      supervised_keys=("image", "label"),
      description=FashionMnistIdx.__doc__,
      homepage="https://github.com/zalandoresearch/fashion-mnist",
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split) for split in FILES}

  def _generate_examples(self, split: str):
    images, labels = read_fashion_mnist(split, self._idx_dir)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
      yield number, {"image": image[..., None], "label": int(label)}
