"""Weights for other codes: `python -m jssl.convert --source runs/dino:teacher:backbone --format hf --out dino_vits16`.

The source is a network of a run, or public weights, spelled as `networks.<name>.load` spells them. What is written is a
folder that transformers ("hf"), timm or big_vision read, with a model card; or ("run") a workdir that
`python -m jssl.evaluate`, `jssl.extract` and `jssl.report` take as any run's.
"""

import argparse
from collections.abc import Sequence
import json
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jssl import checkpoint, interop, logging, workdirs
from jssl import config as configs
from jssl.errors import CheckpointError, ConfigError, nearest
from jssl.evaluation.choice import evaluated_view, trained_config
from jssl.evaluation.frozen import num_examples, run_config
from jssl.evaluation.tables import format_table, read_results
from jssl.files import user_path
from jssl.interop import GOALS, Preprocessing, Pretrained
from jssl.networks import Load, parse_load
from jssl.values import literal, words

RUN = "run"
# Of a network's entry, what says how a run begins and trains it.
_OF_TRAINING = ("ema", "decay", "frozen", "load", "near")


class Source(NamedTuple):
  """A network to be converted.

  Attributes:
    network: with its weights.
    preprocessing: of the images that it sees; None where only its own mean and std are known.
    about: lines of a model card on where it comes from.
  """

  network: Pretrained
  preprocessing: Preprocessing | None
  about: tuple[str, ...]


def convert(
  source: str,
  path: str | pathlib.Path,
  format: str,  # the field's word for it  # noqa: A002
  *,
  decoder: str | None = None,
  norm_pix_loss: bool | None = None,
  size: int | tuple[int, int] | None = None,
  license: str | None = None,  # as model cards call it  # noqa: A002
  num_heads: int | None = None,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
) -> tuple[str, ...]:
  """Writes a network in another format.

  Args:
    source: "workdir:network", "workdir@step:network" or "format:path:part", and `:backbone` for one without its heads.
    path: a folder, which is made.
    format: a key of `jssl.interop.GOALS`, or "run".
    decoder: MAE's, spelled as the source; for "hf".
    norm_pix_loss: see `jssl.interop.save`.
    size: see `jssl.interop.save`; None: of a run's network that of its evaluation's view.
    license: see `jssl.interop.save`.
    num_heads: see `jssl.interop.load`.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.
    overrides: `--config.evaluation.key=value` of the run, for what its views leave open.

  Returns:
    what a reader should know, a sentence each.

  Raises:
    ConfigError: the source cannot be read, or the format has no place for it.
  """
  if format not in (*GOALS, RUN):
    raise ConfigError(f"networks are not written as '{format}'; {nearest(format, (*GOALS, RUN))}")
  found = read(source, num_heads=num_heads, modules=modules, overrides=overrides)
  if format == RUN:
    if (size, license) != (None, None):
      raise ConfigError("a run has no model card, and its network sees images of any size: leave size and license out")
    if (decoder, norm_pix_loss) != (None, None):
      raise ConfigError("a run is written of one network: leave decoder and norm_pix_loss out")
    write_run(found, path)
    return found.network.notes
  if size is None and found.preprocessing is not None:
    size = found.preprocessing.size
  written = interop.save(
    found.network,
    path,
    format,
    decoder=None if decoder is None else _read_decoder(decoder, modules, overrides),
    norm_pix_loss=norm_pix_loss,
    size=size,
    preprocessing=found.preprocessing,
    license=license,
    about=found.about,
  )
  return (*found.network.notes, *written.notes, *(f"{name} stays behind" for name in written.left))


def read(source: str, *, num_heads: int | None = None, modules: Sequence[str] = (), overrides: Sequence[str] = ()) -> Source:
  """The network that a `load` names; arguments as `convert`."""
  load = parse_load("source", source)
  assert load is not None
  if public := load.public():
    if overrides or modules:
      raise ConfigError(
        f"{source} is no run, whose config could be changed or trusted: leave out {[*overrides, *modules][0]}"
      )
    form, path, part = public
    found = Source(interop.load(path, form, part=part, num_heads=num_heads), None, ())
  else:
    found = _of_run(load, modules, overrides)
  return found._replace(network=found.network.backbone()) if load.only else found


def write_run(source: Source, workdir: str | pathlib.Path, name: str = "network") -> None:
  """Writes a workdir whose only checkpoint, of step 0, has a network, under this name, and whose evaluation has its view.

  Raises:
    ConfigError: there is something in the folder.
  """
  folder, found = user_path(workdir), source.network
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise ConfigError(f"{folder} is there already: name another folder")
  config = configs.default_config()
  start = dict(load=found.source) if Load(found.source).public() else {}  # which says where the weights come from
  config.networks = ml_collections.ConfigDict({name: found.network | start})
  config.evaluation.network = name
  native = getattr(found.module.backbone, "image_size", (224, 224))
  seen = source.preprocessing or Preprocessing(native, found.mean, found.std)
  height, width = seen.size
  config.evaluation.update(seen._asdict() | dict(size=height if height == width else (height, width)))
  variables = dict(teachers={name: found.variables["params"]}, stats={name: found.variables.get("batch_stats", {})})
  with workdirs.claimed(folder, config):
    saved = checkpoint.Checkpoints(folder)
    saved.save(0, jax.tree.map(jnp.asarray, dict(variables=variables)), {})
    saved.finish()
    saved.close()


def _of_run(load: Load, modules: Sequence[str], overrides: Sequence[str]) -> Source:
  network, folder, config, step = _weights_of_run(load, modules, overrides)
  name = load.place()[2]
  view = evaluated_view(config, name)
  kernel = network.variables["params"].get("backbone", {}).get("embedding", {}).get("kernel", np.empty((1, 1, 3, 1)))
  mean, std = (_a_number_each(number, kernel.shape[-2]) for number in (view.mean, view.std))
  notes = ("it has seen images in grey alone, in all channels",) if view.grayscale else ()
  seen = Preprocessing(view.shape, mean, std, view.resize_to, view.interpolation)
  start = config.networks[_trained(config, name)].get("load")
  return Source(network._replace(mean=mean, std=std, notes=notes), seen, tuple(_about(folder, config, step, start)))


def _read_decoder(source: str, modules: Sequence[str], overrides: Sequence[str]) -> Pretrained:
  """A decoder that a `load` names, which sees no images and therefore has no view."""
  load = parse_load("decoder", source)
  assert load is not None
  if load.public():
    return read(source).network
  found = _weights_of_run(load, modules, overrides)[0]
  return found.backbone() if load.only else found


def _weights_of_run(
  load: Load, modules: Sequence[str], overrides: Sequence[str]
) -> tuple[Pretrained, pathlib.Path, Any, int]:
  """A network of a run, the run's folder and config, and the step that it is of."""
  workdir, step, name = load.place()
  folder = user_path(workdir)
  config = run_config(folder, modules, overrides)
  step = checkpoint.readable_step(folder, step)
  config = trained_config(config, step, num_examples(folder, config))
  params, stats = checkpoint.network_arrays(checkpoint.load_variables(folder, step), name)
  trained = config.networks[_trained(config, name)].to_dict()
  entry = {key: value for key, value in trained.items() if key not in _OF_TRAINING}
  variables = {"params": checkpoint.nested(params)} | ({"batch_stats": checkpoint.nested(stats)} if stats else {})
  return Pretrained(f"{folder.name}@{step}:{name}", entry, variables, None, None, {}, (), ()), folder, config, step


def _trained(config, name: str) -> str:
  """The network that an average of weights follows, or the network itself."""
  while student := config.networks[name].get("ema"):
    name = student
  return name


def _a_number_each(number: Any, channels: int) -> tuple[float, ...]:
  return tuple(np.broadcast_to(np.asarray(number, float), channels).tolist())


def _about(folder: pathlib.Path, config, step: int, load: Any) -> list[str]:
  """Data, cost, evaluation and config of a run, in Markdown."""
  record = workdirs.read_record(folder)
  data = record.get("data") or dict(name=f"{config.data.name}, split {config.data.split}")
  fields = [f"{key} {data[key]}" for key in ("examples", "sha256") if data.get(key)]
  seen = step * config.batch_size
  rows = [row for row in logging.read_metrics(folder) if row["step"] <= step and row.get("examples_per_second", 0) > 0]
  steps = np.diff([0, *(row["step"] for row in rows)])
  hours = sum(n * config.batch_size / row["examples_per_second"] for n, row in zip(steps, rows, strict=True)) / 3600
  lines = ["## Data", "", ", ".join([f"`{data['name']}`", *fields]) + ".", "", "## Cost", ""]
  lines += [f"{step} steps of {config.batch_size} examples: {seen} in all" + (f", {hours:.2g} hours." if rows else ".")]
  if load:
    start = load if isinstance(load, str) else load["run"]
    lines += ["", f"The run did not begin from random weights, but from `{start}`, whose licence holds too."]
  lines += ["", "## Evaluation", ""]
  try:
    lines += ["```", format_table(read_results(folder)).strip("\n"), "```"]
  except ConfigError:
    lines += ["None was made."]
  versions, commit = record.get("versions", {}), record.get("commit") or "none"
  code = ", ".join(f"{name} {versions[name]}" for name in ("jssl", "jax") if name in versions)
  lines += ["", "## Config", "", f"Trained by {code or 'jssl'} (commit {commit}).", "", "```json"]
  return [*lines, json.dumps(record["config"], indent=1, sort_keys=True), "```"]


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.convert",
    description=__doc__.splitlines()[0],
    epilog="--config.evaluation.key=value changes a key of the run's evaluation, such as the size of its view",
  )
  parser.add_argument("--source", required=True, help="runs/x:teacher:backbone, dino:/path.pth:teacher, ...")
  parser.add_argument("--format", required=True, choices=[*GOALS, RUN], help="of what is written")
  parser.add_argument("--out", required=True, help="a folder, which is made")
  parser.add_argument("--decoder", help="MAE's, for the same model: runs/x:decoder, mae:/path.pth:decoder")
  parser.add_argument("--norm-pix-loss", help="whether the decoder predicts normalised pixels: True or False")
  parser.add_argument("--size", help="of the images that positions are made for, 518; default that of the evaluation")
  parser.add_argument("--license", help="of the weights, for the model card: apache-2.0, cc-by-nc-4.0, ...")
  parser.add_argument("--num-heads", type=int, help="of the attention, where public weights do not tell it")
  parser.add_argument(
    "--modules", type=words, default=(), help="modules outside jssl whose functions the run's config may name"
  )
  arguments, overrides = parser.parse_known_args(argv)
  logging.setup()
  try:
    notes = convert(
      arguments.source,
      arguments.out,
      arguments.format,
      decoder=arguments.decoder,
      norm_pix_loss=None if arguments.norm_pix_loss is None else literal(arguments.norm_pix_loss, "--norm-pix-loss"),
      size=None if arguments.size is None else literal(arguments.size, "--size"),
      license=arguments.license,
      num_heads=arguments.num_heads,
      modules=arguments.modules,
      overrides=overrides,
    )
  except (CheckpointError, ConfigError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"{arguments.out}: {arguments.source} for {arguments.format}" + "".join(f"\n  {note}" for note in notes))
  return 0


if __name__ == "__main__":
  sys.exit(main())
