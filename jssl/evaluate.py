"""Evaluates a run: `python -m jssl.evaluate --workdir runs/mmc --protocols knn:k=200,linear [--baselines] [--report]`.

Writes `evaluation.json` into the workdir and prints a table in which every number stands with its protocol's parameters,
below what was evaluated: step, network, feature, view and data. `--config.evaluation.key=value` changes a key for this
evaluation.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import functools
import pathlib
import sys
from typing import Any

from jssl import data, logging, workdirs
from jssl.errors import ConfigError, nearest, NonFiniteError
from jssl.evaluation import Evaluation, EvaluationData, FeatureModel, format_table, parse_protocols, protocols
from jssl.evaluation.baselines import foreground_model, position_model, raw_pixel_model
from jssl.evaluation.frozen import Frozen, load_frozen, run_config
from jssl.evaluation.protocols.unlabelled import PROTOCOLS as UNLABELLED
from jssl.evaluation.tables import read_results
from jssl.files import dump_json, user_path, write_whole
from jssl.values import words

__all__ = ["BASELINES", "evaluate", "Frozen", "load_frozen", "read_results"]

_OF_PLACES = {"position only": position_model, "everything foreground": foreground_model}
BASELINES = ("random weights", "raw pixels", *_OF_PLACES)
_SPLITS = dict(  # and their config keys
  train="train", test="test", calibration="calibration_scenes", scenes="test_scenes", sequences="test_sequences"
)

Given = data.Source | Mapping[str, Any]


def evaluate(
  workdir: str | pathlib.Path,
  names: str | Sequence[str] | None = None,
  *,
  step: int | None = None,
  baselines: bool | Sequence[str] = False,
  train: Given | None = None,
  test: Given | None = None,
  calibration_scenes: Given | None = None,
  test_scenes: Given | None = None,
  test_sequences: Given | None = None,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
) -> Evaluation:
  """Runs protocols on a run and, with `baselines`, on what it must beat.

  Args:
    workdir: of the run.
    names: of the protocols, with numbers where they differ from the defaults: `["knn:k=200", "my_module:probe"]`; default
      those that its config names.
    step: of the checkpoint; default the last.
    baselines: also what stands in `BASELINES`, or some of it: the same network with the weights that it began with, raw
      pixels, patch positions, and all patches alike.
    train, test, calibration_scenes, test_scenes, test_sequences: data in the place of what `config.evaluation` names: a
      Source, or arrays by name, as `data.from_arrays` takes them. With any of them given, and no names, protocols that need
      others are not run.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.
    overrides: `--config.evaluation.key=value`, for this evaluation alone.

  Returns:
    model -> protocol -> `metrics` and `parameters`, or the `error` that kept it from being run; `about` says what was
    evaluated. Also written to `evaluation.json`, with `about` beside the models.

  Raises:
    ConfigError: for what is wrong with the run or with what is asked for.
  """
  workdir = user_path(workdir)
  config = run_config(workdir, modules, overrides)
  given = dict(zip(_SPLITS, (train, test, calibration_scenes, test_scenes, test_sequences), strict=True))
  given = {split: _source(value, _SPLITS[split]) for split, value in given.items() if value is not None}
  numbers = _asked(config, names, given, modules)
  baselines = _named_baselines(baselines)
  frozen = load_frozen(workdir, step=step, modules=modules, overrides=overrides)
  splits = _splits(config, given, numbers)
  if not given:
    _tell_of_other_data(workdir, config, numbers)
  results = Evaluation()
  try:
    trained = frozen.feature_model("pretrained")
    if names is None:
      numbers = _possible(numbers, trained, splits, not given and config.evaluation.train == config.evaluation.test)
    results[trained.name] = protocols.run_protocols(numbers, trained, splits, **numbers)
    for model in _baselines(baselines, workdir, trained, frozen, splits, numbers, modules, overrides):
      possible = [name for name in numbers if not protocols.missing(protocols.find_protocol(name), model, splits)]
      results[model.name] = protocols.run_protocols(possible, model, splits, **{name: numbers[name] for name in possible})
  finally:
    results.about = _about(workdir, frozen, splits)
    _write(workdir, results)
  return results


def _tell_of_other_data(workdir, config, numbers) -> None:
  """Warns where a run of the user's own data is evaluated on others, which its config names."""
  names, trained = {config.evaluation[_SPLITS[split]].name for split in _needed(numbers)}, config.data.name
  if (workdirs.read_record(workdir).get("data") or {}).get("given"):
    own = "data handed to it, which config.json cannot name"
    remedy = "evaluate(workdir, train=..., test=...) takes data of your own"
  elif ":" in trained and names and trained not in names:
    own, remedy = trained, f"--config.evaluation.train.name={trained} (and test.name) evaluates it on them"
  else:
    return
  others = ", ".join(sorted(names)) or "what config.evaluation names"
  logging.log.warning("%s was trained on %s: it is evaluated on %s; %s", workdir, own, others, remedy)


def _needed(numbers) -> set[str]:
  """The splits that the protocols say they need."""
  return {split for name in numbers for split in protocols.find_protocol(name).splits}


def _source(value: Given, key: str) -> data.Source:
  if isinstance(value, data.Source):
    return value
  if isinstance(value, Mapping):
    return data.from_arrays(**value)
  raise ConfigError(f"{key}= must be a data.Source or a dict of arrays, not a {type(value).__name__}")


def _asked(config, names, given, modules) -> dict[str, dict]:
  """Protocol -> its numbers, checked before anything is run."""
  specs = config.evaluation.protocols if names is None else names
  found = parse_protocols([specs] if isinstance(specs, str) else specs)
  if not found:
    raise ConfigError("--protocols: name at least one protocol")
  for name, numbers in found.items():
    module = name.rpartition(":")[0]
    if names is None and module and not any(f"{module}.".startswith(f"{known}.") for known in modules):
      raise ConfigError(
        f"config.evaluation.protocols: '{name}' is code outside jssl; if you trust it, say so with --modules={module}"
      )
    protocols.check_numbers(name, numbers)
  if given and names is None:
    needs = {name: protocols.find_protocol(name).splits for name in found}
    left_out = [name for name in found if not set(needs[name]) <= given.keys()]
    found = {name: found[name] for name in found if name not in left_out}
    if left_out:
      logging.log.warning("not run, since they need other data than what is given: %s", ", ".join(left_out))
  elif given:
    for name in found:
      needs = set(protocols.find_protocol(name).splits)
      for pair in ({"train", "test"}, {"calibration", "scenes"}):
        if pair <= needs and len(pair & given.keys()) == 1:
          there, absent = (pair & given.keys()).pop(), (pair - given.keys()).pop()
          raise ConfigError(f"protocol '{name}': {_SPLITS[there]}= is given; give {_SPLITS[absent]}= too")
  return found


def _named_baselines(baselines) -> tuple[str, ...]:
  if isinstance(baselines, bool):
    return BASELINES if baselines else ()
  for name in baselines:
    if name not in BASELINES:
      raise ConfigError(f"--baselines {name}: unknown; {nearest(name, BASELINES)}")
  return tuple(baselines)


def _splits(config, given, numbers) -> EvaluationData:
  """The splits that the protocols need: what is given, or what the config names, which is loaded when it is read."""
  needed = _needed(numbers)
  needed |= set(_SPLITS) if any(":" in name for name in numbers) else set()
  found = {}
  for split in needed:
    entry = config.evaluation[_SPLITS[split]]
    load = functools.partial(data.load, entry.name, split=entry.split, **entry.options)
    found[split] = given.get(split, load)
  return EvaluationData(**found)


def _possible(numbers, model: FeatureModel, splits: EvaluationData, same: bool) -> dict[str, dict]:
  """The protocols of a config that its data allow, and, where labels are in their way, those that need none.

  Args:
    numbers: of the config's protocols.
    model: that is evaluated.
    splits: of the data.
    same: whether the images of train and of test are the same.

  Raises:
    ConfigError: if none is left.
  """
  reasons: dict[str, list[str]] = {}
  for name in numbers:
    if reason := _in_the_way(protocols.find_protocol(name), splits, same):
      reasons.setdefault(reason, []).append(name)
  if not reasons:
    return numbers
  left_out = sum(reasons.values(), [])
  possible = lambda name: not protocols.missing(UNLABELLED[name], model, splits)
  instead = [name for name in UNLABELLED if name not in numbers and possible(name)]
  told = "; ".join(f"{', '.join(out)} not run, since {reason}" for reason, out in reasons.items())
  logging.log.warning("%s%s", told, f"; in their place, without labels: {', '.join(instead)}" if instead else "")
  found = {name: numbers[name] for name in numbers if name not in left_out} | {name: {} for name in instead}
  if not found:
    raise ConfigError(f"no protocol is left: {told}; --protocols names others")
  return found


def _in_the_way(protocol, splits: EvaluationData, same: bool) -> str:
  """Why a protocol cannot be run with the labels of these data, if it needs some; data that are not there say so later."""
  try:
    if sources := protocols.without_labels(protocol, splits):
      return f"{sources[0].name} has no labels"
  except ConfigError:
    return ""
  both = {"train", "test"} <= {*protocol.labels}
  return "the test images are those of train; config.evaluation.test names others" if same and both else ""


def _baselines(names, workdir, trained, frozen, splits, numbers, modules, overrides) -> Iterator[FeatureModel]:
  """Those of the baselines that this network and these data allow."""
  if "random weights" in names:
    random = load_frozen(workdir, step=frozen.step, random=True, modules=modules, overrides=overrides)
    yield random.feature_model("random weights")
  of_pixels = [name for name in numbers if set(protocols.find_protocol(name).splits) & set(_SPLITS)]
  if "raw pixels" in names and of_pixels and frozen.view is not None:
    try:
      yield raw_pixel_model(splits, frozen.view, trained.grid)
    except ConfigError as error:
      logging.log.warning("raw pixels: %s", error)
  if trained.grid and (splits.has("scenes") or splits.has("sequences")):
    yield from (model(trained.grid, frozen.view) for name, model in _OF_PLACES.items() if name in names)


def _about(workdir, frozen: Frozen, splits: EvaluationData) -> dict[str, Any]:
  """What was evaluated."""
  found = {
    split: dict(name=source.name, examples=len(source)) | (dict(unreadable=n) if (n := len(source.unreadable)) else {})
    for split, source in splits.loaded.items()
  }
  return dict(
    workdir=str(workdir),
    step=frozen.step,
    **frozen.about(),
    data=found,
    versions=workdirs.versions(),
    commit=workdirs.commit(),
  )


def _write(workdir, results: Evaluation) -> None:
  """Writes `evaluation.json`, unless nothing was measured; one line in the log if it cannot be written."""
  if not any(result["metrics"] for found in results.values() for result in found.values()):
    return
  path = workdir / "evaluation.json"
  try:
    write_whole(path, dump_json(_plain({"about": results.about, **results}), indent=2))
  except OSError as error:
    logging.log.warning("%s could not be written: %s", path, error.strerror)


def _plain(value):
  """NumPy's numbers and arrays as Python's."""
  if isinstance(value, Mapping):
    return {str(key): _plain(inner) for key, inner in value.items()}
  if hasattr(value, "tolist"):
    return _plain(value.tolist())
  if isinstance(value, (list, tuple)):
    return [_plain(inner) for inner in value]
  return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m jssl.evaluate", description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True)
  parser.add_argument(
    "--protocols",
    help=f"some of {','.join(protocols.PROTOCOLS)} or module:fn, with numbers as in knn:k=(10,20),linear:epochs=20; "
    "default the config's",
  )
  parser.add_argument("--step", type=int, help="of the checkpoint; default the last")
  parser.add_argument(
    "--baselines",
    nargs="?",
    type=words,
    const=BASELINES,
    default=(),
    help=f"also what a run must beat: some of {','.join(BASELINES)}; without a value all",
  )
  parser.add_argument("--report", action="store_true", help="write report.html into the workdir")
  parser.add_argument(
    "--modules", type=words, default=(), help="modules outside jssl whose functions the run's config may name"
  )
  arguments, overrides = parser.parse_known_args(argv)
  logging.setup()
  settings = dict(step=arguments.step, modules=arguments.modules, overrides=overrides)
  try:
    results = evaluate(arguments.workdir, arguments.protocols or None, baselines=arguments.baselines, **settings)
    print(format_table(results))
    if arguments.report:
      from jssl.report import run_report  # pylint: disable=g-import-not-at-top

      print(f"report: {run_report.write(arguments.workdir, results, **settings)}")
  except (ConfigError, NonFiniteError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  errors = {result["error"] for found in results.values() for result in found.values() if "error" in result}
  return 2 if errors else 0


if __name__ == "__main__":
  sys.exit(main())
