"""Prepares a data set of tensorflow-datasets, so that `tfds:<name>` reads it without TensorFlow.

python -m jssl.data.prepare cifar10
python -m jssl.data.prepare fashion_mnist --idx_dir /usr/share/datasets/fashion-mnist
"""

import argparse
import importlib.util
import sys

from jssl.data.source import DataError


def prepare(name: str, *, data_dir: str | None = None, idx_dir: str | None = None) -> str:
  """Downloads a data set and writes it as ArrayRecord files.

  Args:
    name: as tensorflow-datasets spells it, `name` or `name/config:version`.
    data_dir: where to; by default tensorflow-datasets' own, ~/tensorflow_datasets.
    idx_dir: for `fashion_mnist` only: the folder of its four IDX files, which are read instead of downloaded.

  Returns:
    What `jssl.data.load` calls the prepared set.

  Raises:
    DataError: if TensorFlow is missing, the name is unknown, or the data cannot be had.
  """
  if idx_dir is not None and name != "fashion_mnist":
    raise DataError(f"--idx_dir is for fashion_mnist, not for {name}")
  for module in ("tensorflow", "tensorflow_datasets"):
    if importlib.util.find_spec(module) is None:
      raise DataError(f"preparing needs {module} (reading does not need TensorFlow): pip install 'jssl[prepare]'")
  import tensorflow_datasets as tfds  # pylint: disable=g-import-not-at-top

  try:
    if idx_dir is None:
      builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    else:
      from jssl.data.fashion_mnist import FashionMnistIdx  # pylint: disable=g-import-not-at-top

      builder = FashionMnistIdx(idx_dir=idx_dir, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
  except DataError:
    raise
  except Exception as error:  # A download fails in as many ways as there are hosts.
    raise DataError(f"{name} could not be prepared: {type(error).__name__}: {' '.join(str(error).split())}") from error
  full_name = builder.info.full_name.rsplit("/", 1)[0]
  return f"tfds:{full_name}"


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m jssl.data.prepare", description=__doc__.splitlines()[0])
  parser.add_argument("name", help="as tensorflow-datasets spells it, such as cifar10 or imagenet2012")
  parser.add_argument("--data_dir", help="default: ~/tensorflow_datasets")
  parser.add_argument("--idx_dir", help="fashion_mnist only: the folder of its IDX files, read instead of downloaded")
  arguments = parser.parse_args(argv)
  try:
    spec = prepare(**vars(arguments))
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"prepared; jssl.data.load({spec!r}{f', data_dir={arguments.data_dir!r}' if arguments.data_dir else ''})")
  return 0


if __name__ == "__main__":
  sys.exit(main())
