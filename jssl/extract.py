"""A run's features of any data: `python -m jssl.extract --workdir runs/mae --data folder:/photos --out features.npz`.

Or, as any transformer of scikit-learn, for images in memory:

    from jssl.extract import Features
    features = Features("runs/mae").transform(images)     # [n, height, width, channels] uint8 to [n, dim]
"""

import argparse
from collections.abc import Mapping, Sequence
import pathlib
import sys
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from jssl import data, logging
from jssl.errors import CheckpointError, ConfigError, nearest
from jssl.evaluation import collect, FeatureModel
from jssl.evaluation.frozen import load_frozen
from jssl.evaluation.graph import OUTPUTS
from jssl.files import user_path, whole_file
from jssl.values import data_options, words


def extract(
  workdir: str | pathlib.Path,
  source: data.Source | Mapping[str, np.ndarray],
  *,
  output: str = "features",
  step: int | None = None,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
) -> dict[str, np.ndarray]:
  """What a run's frozen network says of every example, in order, on all devices, with a progress line every ten seconds.

  Args:
    workdir: of the run.
    source: the examples, or arrays by name, as `data.from_arrays` takes them.
    output: as `config.evaluation.outputs` has them: "features", one vector an example; "places", one a patch; "embeddings",
      the projector's output, see `config.evaluation.embedding`; "logits" of those that name them there.
    step: of the checkpoint; default the last.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.
    overrides: `--config.evaluation.key=value`, such as another view's size.

  Returns:
    `{output: float [n, ...]}`, and `label` `[n]`, if the examples have labels.

  Raises:
    ConfigError: if there is no such run, its network has no such output, or it cannot see such examples.
  """
  return _outputs(_model(workdir, step, modules, overrides), source, output)


def _model(workdir, step, modules, overrides=()) -> FeatureModel:
  return load_frozen(workdir, step=step, modules=modules, overrides=overrides).feature_model("the run")


def _outputs(model: FeatureModel, source, output: str) -> dict[str, np.ndarray]:
  if output not in OUTPUTS:
    raise ConfigError(f"output='{output}': {nearest(output, OUTPUTS)}")
  source = source if isinstance(source, data.Source) else data.from_arrays(**dict[str, Any](source))
  function = getattr(model, OUTPUTS[output])
  if function is None:
    there = [name for name, attribute in OUTPUTS.items() if getattr(model, attribute) is not None]
    raise ConfigError(f"output='{output}': the run's network has none; there are {', '.join(there)}")
  found, rest = collect(function, source, model.view, more=("label",), title=output, reads=model.reads)
  return {output: found, **rest}


class Features(TransformerMixin, BaseEstimator):
  """A run's frozen network as a transformer of scikit-learn; it is loaded at the first call, once; there is nothing to fit.

  Args:
    workdir: of the run.
    output: see `extract`.
    step: of the checkpoint; default the last.
    modules: whose functions the run's config may name.
  """

  def __init__(
    self, workdir: str | pathlib.Path, *, output: str = "features", step: int | None = None, modules: Sequence[str] = ()
  ):
    self.workdir, self.output, self.step, self.modules = workdir, output, step, modules
    self._loaded = None

  def fit(self, images: Any = None, labels: Any = None) -> "Features":
    del images, labels
    return self

  def transform(self, images: np.ndarray) -> np.ndarray:
    """Images `[n, height, width, channels]` uint8 to `[n, dim]`, or whatever the output's shape is."""
    asked = (str(self.workdir), self.step, tuple(self.modules))
    if self._loaded is None or self._loaded[0] != asked:
      self._loaded = asked, _model(*asked)
    return _outputs(self._loaded[1], dict(image=np.asarray(images)), self.output)[self.output]

  def __sklearn_is_fitted__(self) -> bool:
    return True


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.extract",
    description=__doc__.splitlines()[0],
    epilog="--config.evaluation.key=value changes a key of the run's evaluation, such as its view's size",
  )
  parser.add_argument("--workdir", required=True, help="of the run")
  parser.add_argument("--data", required=True, help="as config.data.name: folder:/path, tfds:name, scenes, ...")
  parser.add_argument("--split", default="train", help="of the data")
  parser.add_argument("--options", default="{}", help="of the data: \"{'image_size': 32}\"")
  parser.add_argument("--output", default="features", choices=[*OUTPUTS])
  parser.add_argument("--out", required=True, help="the .npz file, which must not be there yet")
  parser.add_argument("--step", type=int, help="of the checkpoint; default the last")
  parser.add_argument(
    "--modules", type=words, default=(), help="modules outside jssl whose functions the run's config may name"
  )
  arguments, overrides = parser.parse_known_args(argv)
  logging.setup()
  out = user_path(arguments.out)
  try:
    if out.suffix != ".npz" or out.exists() or not out.parent.is_dir():
      wrong = "it is there already" if out.exists() else "give the name of an .npz file, in a folder that there is"
      raise ConfigError(f"--out {out}: {wrong}")
    source = data.load(arguments.data, split=arguments.split, **data_options(arguments.options))
    found: dict[str, Any] = extract(
      arguments.workdir, source, output=arguments.output, step=arguments.step, modules=arguments.modules, overrides=overrides
    )
    with whole_file(out) as partial, partial.open("wb") as file:
      np.savez(file, **found)
  except (CheckpointError, ConfigError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"{out}: " + ", ".join(f"{name} {x.dtype} {list(x.shape)}" for name, x in found.items()))
  return 0


if __name__ == "__main__":
  sys.exit(main())
