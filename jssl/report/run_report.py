"""The report of a run in a workdir: what it learnt, what it saw, and where its patches agree."""

from collections.abc import Iterator, Sequence
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jssl import checkpoint, data, logging, workdirs
from jssl import config as configs
from jssl.arrays import patch_grid, per_axis, unpatchify
from jssl.environment import run_key
from jssl.errors import ConfigError
from jssl.evaluation.choice import trained_config
from jssl.evaluation.frozen import load_frozen, run_config
from jssl.evaluation.scenes import belonging_patches, objects_of
from jssl.evaluation.similarity import cosine_similarity
from jssl.evaluation.tables import about_lines, Evaluation
from jssl.evaluation.view import read_batch
from jssl.files import user_path
from jssl.graph import owner
from jssl.method import Method
from jssl.nodes import Loss, Refresh
from jssl.report.figures import picture, reconstruction_grid, similarity_figure
from jssl.report.page import write_report
from jssl.schedules import Horizon
from jssl.targets import patch_pixels

EXAMPLES = 6


def write(
  workdir: str | pathlib.Path,
  results: Evaluation,
  *,
  step: int | None = None,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
  source: data.Source | None = None,
) -> pathlib.Path:
  """Writes `report.html` into a workdir. A figure that cannot be drawn is left out, with a line in the log.

  Args:
    workdir: of a run.
    results: as `jssl.evaluate.evaluate` returns them.
    step: of the checkpoint that its figures show; default the last.
    modules, overrides: see `jssl.evaluate.evaluate`.
    source: the data of a run that was handed them.

  Returns:
    The path of the report.

  Raises:
    ConfigError: if the run cannot be read, or the report cannot be written.
  """
  workdir = user_path(workdir)
  config = run_config(workdir, modules, overrides)
  settings = dict(step=step, modules=modules, overrides=overrides)
  images = [
    *_drawn("reconstructions", reconstruction_figures(workdir, config, step, source)),
    *_drawn("similarities", similarity_figures(workdir, config, results, **settings)),
  ]
  try:
    return _write(workdir, config, results, images)
  except OSError as error:
    raise ConfigError(f"{workdir / 'report.html'} could not be written: {error.strerror}") from error


def _drawn(title: str, figures: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
  """The figures up to the first that cannot be drawn."""
  try:
    yield from figures
  except ValueError as error:
    logging.log.warning("report: no figures of %s: %s", title, " ".join(str(error).split()))


def _write(workdir, config, results, images) -> pathlib.Path:
  return write_report(
    workdir,
    title=f"Run {workdir.absolute().name}",
    about=about_lines(getattr(results, "about", {})),
    config_text=configs.to_json(config),
    history=logging.read_metrics(workdir),
    losses=("loss", *config.losses),
    table=results,
    images=images,
  )


def reconstruction_figures(workdir, config, step: int | None = None, source: data.Source | None = None):
  """What the run's networks make of hidden pixels or samples, for every loss that compares them with `patch_pixels`."""
  if not any(entry.fn == "patch_pixels" for entry in config.targets.values()):
    return
  if source is None:
    if (workdirs.read_record(workdir).get("data") or {}).get("given"):
      raise ConfigError("the run was trained on data handed to it, which config.json cannot name; give source=")
    source = data.load(config.data.name, split=config.data.split, **config.data.options)
  step = checkpoint.readable_step(workdir, step)
  config = trained_config(config, step, len(source))
  batch = source.get(np.arange(min(len(source), max(EXAMPLES, 2))))
  batch |= dict(source.whole) | {"index": np.arange(len(next(iter(batch.values()))), dtype=np.int32)}
  horizon = Horizon(configs.total_steps(config, len(source)), max(len(source) // config.batch_size, 1), config.batch_size)
  method = Method(config, num_examples=len(source), horizon=horizon, whole=source.whole)
  key = run_key(config.seed)
  abstract = jax.eval_shape(lambda: method.init(key, batch))
  if any(isinstance(node, Refresh) for node in method.nodes.values()):
    return  # What the tables hold belongs to the training set, of which these images are a part.
  variables = checkpoint.fill(str(workdir), abstract, checkpoint.load_variables(workdir, step))
  env = jax.jit(lambda v, b: method.environment(v, b, key=key, step=0))(variables, batch)
  for loss in method.nodes.values():
    names = list(loss.names()) if isinstance(loss, Loss) else []
    predictions = [name for name in names if name.endswith("/pixels")]
    targets = [name for name in names if getattr(method.nodes.get(name), "fn", None) is patch_pixels]
    for prediction, target in list(zip(predictions, targets, strict=True))[:1]:
      columns = _displayed(_columns(method, env, names, prediction, method.nodes[target]), method, method.nodes[target])
      yield f"{loss.name}: clean, as the network sees it, reconstructed", reconstruction_grid(*columns)


def _columns(method, env, names, prediction, target):
  """The clean view, the view with what is hidden in grey, and the prediction put in its place."""
  clean = env[target.reads[0]]
  patch = per_axis("patch_pixels", target.numbers["patch"], clean.ndim - 2)
  grid = patch_grid(clean.shape, patch)
  guess = env[prediction]
  if target.numbers.get("normalize"):
    pixels = patch_pixels(clean, patch=patch)
    guess = guess * jnp.sqrt(jnp.var(pixels, -1, keepdims=True, ddof=1) + 1e-6) + pixels.mean(-1, keepdims=True)
  guess = unpatchify(guess, grid=grid, patch=patch)
  shown = [env[read] for read in method.nodes[owner(prediction, method.nodes)].reads if env[read].shape == clean.shape]
  mask = next(
    (
      env[name]
      for name in names
      if env[name].dtype == bool and env[name].shape[:1] == clean.shape[:1] and name.split("/")[-1] == "mask"
    ),
    None,
  )
  if shown and not np.array_equal(shown[0], clean):
    return clean, shown[0], guess
  hidden = unpatchify(jnp.repeat(mask[..., None], math.prod(patch), -1), grid=grid, patch=patch)
  return clean, jnp.where(hidden, 0.0, clean), jnp.where(hidden, guess, clean)


def _displayed(columns, method, target):
  """Columns of examples of a view as columns of pictures; what the view has normalised is in its own colours again."""
  numbers = method.nodes[owner(target.reads[0], method.nodes)].numbers
  mean, std = (np.asarray(numbers.get(key, default), np.float32) for key, default in (("mean", 0.0), ("std", 1.0)))
  columns = [np.asarray(column[:EXAMPLES], np.float32) * std + mean for column in columns]
  clean = columns[0]
  within = clean.min() > -0.01 and clean.max() < 1.01
  low, high = (0.0, 1.0) if within else (float(clean.min()), float(clean.max()))
  return [[picture(x, low=low, high=high) for x in column] for column in columns]


def similarity_figures(workdir, config, results, **settings):
  """Similarity to a clicked patch beside the object that was clicked, before and after pretraining."""
  measured = {
    model: result["prompt_segmentation"]
    for model, result in results.items()
    if result.get("prompt_segmentation", {}).get("metrics")
  }
  entry = config.evaluation.test_scenes
  if not measured:
    return
  source = data.load(entry.name, split=entry.split, **entry.options)
  for model, random in (("pretrained", False), ("random weights", True)):
    if model in measured:
      frozen = load_frozen(workdir, random=random, **settings)
      features = frozen.feature_model(model)
      chosen = np.arange(min(EXAMPLES, len(source)))
      scenes = read_batch(source, chosen, frozen.view, ("segments",))
      patches, grid = features.patch_features(scenes), features.grid
      segments = frozen.view.segments(scenes["segments"], scenes.get("extent"))
      images = np.asarray(frozen.view._replace(mean=0.0, std=1.0, grayscale=False)(scenes))
      clicks = [_click(segment, grid) for segment in segments]
      maps = [
        np.asarray(cosine_similarity(p[None, c], p[None]))[0].reshape(grid) for p, c in zip(patches, clicks, strict=True)
      ]
      threshold = measured[model]["metrics"]["threshold"]
      yield (
        f"{model}: a click, the similarity of every patch to it (-1 to 1), what is above {threshold:g}, the object",
        similarity_figure(images, maps, segments, clicks, threshold=threshold),
      )


def _click(segments, grid) -> int:
  """The patch in the middle of the largest object."""
  found = objects_of(belonging_patches(segments, grid))
  members = max(found.values(), key=len) if found else np.arange(grid[0] * grid[1])
  places = np.stack(np.divmod(members, grid[1]), -1)
  return int(members[np.argmin(np.square(places - places.mean(0)).sum(-1))])
