"""The report of runs, from their workdirs alone: what they learnt, what they saw, and where their patches agree."""

from collections.abc import Callable, Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl import config as configs
from jssl import data, logging
from jssl.errors import CheckpointError, ConfigError
from jssl.evaluation.frozen import load_frozen, run_config
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.protocols import PROTOCOLS
from jssl.evaluation.tables import about_lines, Evaluation, read_results
from jssl.evaluation.view import read_batch
from jssl.files import user_path
from jssl.report import curves, looks, neighbours, patches, results, scenes, seen
from jssl.report.figures import reconstruction_grid
from jssl.report.markup import note
from jssl.report.meanings import loss_meanings
from jssl.report.page import config_body, Section, write_page
from jssl.report.scenes import object_middle, similarity_figures

__all__ = ["reconstruction_figures", "similarity_figures", "write", "write_pictures", "write_runs"]

_TOLD = (CheckpointError, ValueError, OSError, MemoryError, jax.errors.JaxRuntimeError)  # what costs a section, not the page


class Run(NamedTuple):
  """A run as the report reads it.

  Attributes:
    name: in the page.
    workdir: its folder.
    config: as it was run.
    results: of its evaluation; empty without one.
  """

  name: str
  workdir: pathlib.Path
  config: Any
  results: Evaluation


class Parts:
  """The sections of a page; of one that cannot be made the reason is kept, and the others are made."""

  def __init__(self):
    self.sections: list[Section] = []
    self.left_out: list[str] = []

  def attempt(self, title: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, or None if that cannot be made."""
    try:
      return make()
    except _TOLD as error:
      reason = " ".join(str(error).split())[:300] or type(error).__name__
      logging.log.warning("report: no figures of %s: %s", title, reason)
      self.left_out.append(f"{title}: {reason}")
      return None

  def add(self, name: str, title: str, make: Callable[[], str]) -> None:
    """Adds a section."""
    if body := self.attempt(title[0].lower() + title[1:], make):
      self.sections.append(Section(name, title, body))


def write(
  workdir: str | pathlib.Path,
  results: Evaluation | None = None,
  *,
  step: int | None = None,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
  source: data.Source | None = None,
) -> pathlib.Path:
  """Writes `report.html` into a workdir. A figure that cannot be drawn is left out, with a line in the log and in the page.

  Args:
    workdir: of a run.
    results: as `jssl.evaluate.evaluate` returns them; default what the last evaluation wrote.
    step: of the checkpoint that its figures show; default the last.
    modules, overrides: see `jssl.evaluate.evaluate`.
    source: the data of a run that was handed them.

  Returns:
    The path of the report.

  Raises:
    ConfigError: if the run cannot be read, or the report cannot be written.
  """
  return write_runs(
    [workdir], results=[results], step=step, modules=modules, overrides=overrides, source=source, out=user_path(workdir)
  )


def write_runs(
  workdirs: Sequence[str | pathlib.Path],
  *,
  out: str | pathlib.Path | None = None,
  results: Sequence[Evaluation | None] | None = None,
  step: int | None = None,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
  source: data.Source | None = None,
  pictures: data.Source | None = None,
) -> pathlib.Path:
  """Writes the report of several runs side by side.

  Args:
    workdirs: of the runs. Pictures are of the first one's data, as all of them see it.
    out: the page, or its folder; default the first workdir.
    results: of their evaluations; default what the last evaluations wrote.
    step, modules, overrides, source: see `write`.
    pictures: images that take the place of the runs' data, with labels or without.

  Returns:
    The path of the page.

  Raises:
    ConfigError: if a run cannot be read, or the page cannot be written.
  """
  settings = dict(step=step, modules=modules, overrides=overrides)
  runs = _runs(workdirs, results or [None] * len(workdirs), modules, overrides)
  parts = Parts()
  _add_results(parts, runs)
  models = parts.attempt("features", lambda: _models(runs, settings))
  if models:
    _add_pictures(parts, models, *_sources(parts, runs[0], pictures))
  if pictures is None:
    for number, run in enumerate(runs):
      body = lambda run=run: scenes.clicks_body(run.workdir, run.config, run.results, **settings)
      parts.add(f"clicks-{number}", _of("Clicks on objects", run, runs), body)
  for number, run in enumerate(runs):
    _add_seen(parts, number, run, runs, step, pictures or source)
  losses = dict(pair for run in runs for pair in loss_meanings(run.config).items())
  histories = {run.name: logging.read_metrics(run.workdir) for run in runs}
  parts.add("curves", "Curves", lambda: curves.body(histories, losses=("loss", *losses), words=losses))
  parts.add("results", "All results", lambda: _table(runs))
  texts = {run.name: configs.to_json(run.config) for run in runs}
  parts.add("config", "Config", lambda: config_body(texts))
  title = f"Run {runs[0].name}" if len(runs) == 1 else f"Runs {', '.join(run.name for run in runs)}"
  about = [line for run in runs for line in about_lines(getattr(run.results, "about", {}))[:1]]
  about = [line.partition(";")[0] for line in about]
  return _written(out if out is not None else runs[0].workdir, title, parts, about)


def write_pictures(
  path: str | pathlib.Path,
  models: Sequence[FeatureModel],
  source: data.Source | Mapping[str, np.ndarray],
  *,
  bank: data.Source | Mapping[str, np.ndarray] | None = None,
  title: str = "Features",
) -> pathlib.Path:
  """Writes a page of pictures of any models' features, with no run: of public weights, say.

      module = models.vit(variant="S/14", image_size=518, layer_scale=1.0, mask_token=True, position_offset=0.0)
      view = View(size=518, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels=3)
      dinov2 = Frozen(module, variables, view).feature_model("DINOv2")
      write_pictures("dinov2.html", [dinov2], data.load("folder:/photos"))

  Args:
    path: the page, or a folder, which gets a `report.html`.
    models: the first one's view is how pictures are shown. The same module with `module.init`'s weights is the control.
    source: the images, or arrays by name, as `data.from_arrays` takes them.
    bank: images among which neighbours are sought; default those of the source.
    title: of the page.

  Returns:
    The path of the page.

  Raises:
    ConfigError: if there is no model, or the page cannot be written.
  """
  if not models:
    raise ConfigError("models=[]: give at least one FeatureModel")
  as_source = lambda value: value if isinstance(value, data.Source) else data.from_arrays(**dict[str, Any](value))
  parts, shown = Parts(), as_source(source)
  _add_pictures(parts, models, shown, shown, None if bank is None else as_source(bank))
  return _written(path, title, parts)


def _written(out, title: str, parts: Parts, about: Sequence[str] = ()) -> pathlib.Path:
  parts.sections += [Section("left-out", "Left out", "".join(map(note, parts.left_out)))]
  try:
    return write_page(user_path(out), title, parts.sections, about=about)
  except OSError as error:
    path = pathlib.Path(out)
    path = path if path.suffix == ".html" else path / "report.html"
    raise ConfigError(f"{path} could not be written: {error.strerror}") from error


def _runs(folders, results, modules, overrides) -> list[Run]:
  """The runs, by names that differ."""
  paths = [user_path(folder).absolute() for folder in folders]
  parts = 1
  while len({path.parts[-parts:] for path in paths}) < len(set(paths)):
    parts += 1
  return [
    Run(
      "/".join(path.parts[-parts:]),
      user_path(folder),
      run_config(folder, modules, overrides),
      found if found is not None else _saved(user_path(folder)),
    )
    for path, folder, found in zip(paths, folders, results, strict=True)
  ]


def _saved(workdir: pathlib.Path) -> Evaluation:
  return read_results(workdir) if (workdir / "evaluation.json").exists() else Evaluation()


def _of(title: str, run: Run, runs: Sequence[Run]) -> str:
  return title if len(runs) == 1 else f"{title}: {run.name}"


def _models(runs: Sequence[Run], settings: dict) -> list[FeatureModel]:
  """What was pretrained, and the first run's network with the weights that it began with."""
  first = runs[0]
  names = ["pretrained"] if len(runs) == 1 else [run.name for run in runs]
  found = [load_frozen(run.workdir, **settings).feature_model(name) for run, name in zip(runs, names, strict=True)]
  control = "random weights" if len(runs) == 1 else f"{first.name}: random weights"
  return [*found, load_frozen(first.workdir, random=True, **settings).feature_model(control)]


def _sources(parts: Parts, run: Run, pictures: data.Source | None):
  """The images whose patches are shown, the test images, and those among which neighbours are sought.

  None without, and for the last of them where that is among the test images themselves.
  """
  if pictures is not None:
    return pictures, pictures, None
  load = lambda entry: data.load(entry.name, split=entry.split, **entry.options)
  entries = run.config.evaluation
  protocols = {*run.results.get("pretrained", {}), *(str(name).partition(":")[0] for name in entries.protocols)}
  of_scenes = any(name in PROTOCOLS and "scenes" in PROTOCOLS[name].splits for name in protocols)
  test, bank = parts.attempt("the test set", lambda: load(entries.test)), None
  if test is not None and entries.train != entries.test:
    bank = parts.attempt("the training set", lambda: load(entries.train))
  shown = parts.attempt("the test scenes", lambda: load(entries.test_scenes)) if of_scenes else None
  return test if shown is None else shown, test, bank


def _add_pictures(parts: Parts, models, shown, test, bank) -> None:
  """The sections on features: of patches of `shown`, and of whole images of `test` beside `bank`."""
  if shown is not None:
    all_models = lambda: looks.with_raw_pixels(models, looks.some(shown, neighbours.TEST))
    made = parts.attempt("patches", lambda: patches.Patches(all_models(), shown))
    if made is not None:
      start = parts.attempt("the first click", lambda: _first_click(made))
      parts.add("similarity", "Click a patch", lambda: patches.similarity_body(made, start))
      parts.add("components", "What patches say", lambda: patches.principal_body(made))
      parts.add("attention", "Where the class token looks", lambda: patches.attention_body(made))
  if test is not None:
    images = parts.attempt("images", lambda: _images(models, test, bank))
    if images is not None:
      parts.add("neighbours", "Nearest neighbours", lambda: neighbours.neighbours_body(images))
      parts.add("map", "A map of the test images", lambda: neighbours.map_body(images))


def _images(models, test: data.Source, bank: data.Source | None) -> neighbours.Images:
  test, bank = looks.some(test, neighbours.TEST), None if bank is None else looks.drawn(bank, neighbours.BANK)
  return neighbours.Images(looks.with_raw_pixels(models, test if bank is None else bank), test, bank)


def _first_click(made: patches.Patches) -> tuple[int, float, float] | None:
  """The middle of the largest object of the first image, where objects are known."""
  if not made.models or "segments" not in made.source.element_spec or made.models[0].view is None:
    return None
  view, grid = made.models[0].view, made.models[0].grid
  scene = read_batch(made.source, np.arange(1), view, ("segments",))
  row, column = divmod(object_middle(view.segments(scene["segments"], scene.get("extent"))[0], grid), grid[1])
  return 0, (row + 0.5) / grid[0], (column + 0.5) / grid[1]


def _add_seen(parts: Parts, number: int, run: Run, runs, step, source) -> None:
  """The sections on what a run's networks read in training, and on what they reconstruct."""
  observed = parts.attempt("what the network sees", lambda: seen.Observed(run.workdir, run.config, step, source))
  if observed is not None:
    parts.add(f"views-{number}", _of("What the network sees", run, runs), lambda: seen.views_body(observed))
    parts.add(f"reconstructions-{number}", _of("Reconstructions", run, runs), lambda: seen.reconstructions_body(observed))


def _add_results(parts: Parts, runs: Sequence[Run]) -> None:
  """The section on what was learnt."""
  measured = {run.name: run.results for run in runs if run.results}
  commands = [f"python -m jssl.evaluate --workdir {run.workdir} --baselines --report" for run in runs if not run.results]
  names = ["pretrained"] if len(runs) == 1 else [*measured]
  parts.add("learnt", "What was learnt", lambda: results.headline_body(_merged(runs), names, commands))


def _merged(runs: Sequence[Run]) -> Evaluation:
  """The results of all runs."""
  return runs[0].results if len(runs) == 1 else results.merged({run.name: run.results for run in runs if run.results})


def _table(runs: Sequence[Run]) -> str:
  about = [line for run in runs for line in about_lines(getattr(run.results, "about", {}))]
  return results.body(_merged(runs), about)


def reconstruction_figures(workdir, config, step: int | None = None, source: data.Source | None = None):
  """`seen.reconstructions` of a run as PNG files with their captions, one row an example."""
  if any(entry.fn == "patch_pixels" for entry in config.targets.values()):
    for name, columns in seen.reconstructions(seen.Observed(workdir, config, step, source)):
      yield f"{name}: clean, as the network sees it, reconstructed", reconstruction_grid(*columns)
