"""Methods put together from pieces of others: `python experiments/grid/run.py --seeds 0 1 2`.

A cell of the grid is a config and what is changed in it, in this order:

    mae                                     a config to begin with (another one's preset: mae:cifar10)
    sit.masking                             another config's stage (or `networks`) in the place of this one's
    data2vec.targets.y                      one entry of it
    mae.masking:encoder=student,v=a         ... in which other names are read, and written
    --config.passes.s.reads="('v',)"        a key of what has come together so far

What no loss reads any more is left out, and so are networks that no pass uses. Every cell is trained and evaluated with
every seed, beside the unchanged configs as controls; the folder that is named with `--folder` (default: this one) takes
the rows, see `jssl.study`. `--explain` prints the combined methods and stops, `--cell "name=mae sit.losses ..."` adds a
cell, `--only` picks some, and `--config.key=value` changes a key of all.
"""

import pathlib
import re
import shlex
import sys

from jssl import config as configs
from jssl import explain, graph, logging, study
from jssl.errors import ConfigError, nearest
from jssl.nodes import make_node, Pass, STAGES
from jssl.schedules import Horizon
from jssl.train import Trainer

CELLS = {
  "data2vec": ("data2vec",),
  "data2vec, MAE's masks": ("data2vec", "mae.masking:encoder=student"),
  "data2vec, SimMIM's masks": ("data2vec", "simmim.masking:encoder=student"),
  "Barlow Twins": ("barlow_twins",),
  "Barlow Twins on GMML's corruption": (
    "barlow_twins",
    "sit.masking",
    "--config.passes.s_a.reads=('hidden_a/image',)",
    "--config.passes.s_b.reads=('hidden_b/image',)",
  ),
  "Barlow Twins on GMML's corruption of one view": (
    "barlow_twins",
    "sit.masking",
    "--config.passes.s_a.reads=('hidden_a/image',)",
  ),
}
PARTS = (*STAGES, "networks")
_NAMES = ("reads", "terms", "grid", "net", "ema", "log_variance")  # keys whose values are names


def combine(pieces, preset: str = "demo"):
  """The config that a cell describes.

  Args:
    pieces: the first a config's name, the others as at the top of this file.
    preset: of every config that does not name its own.

  Raises:
    ConfigError: for a piece that is not there.
  """
  load = lambda name: configs.load_config(name if ":" in name else f"{name}:{preset}")
  config = load(pieces[0])
  for piece in pieces[1:]:
    if piece.startswith("--config."):
      configs.override(config, [piece])
    else:
      place, _, renames = piece.partition(":")
      take(config, load, place.split("."), dict(pair.split("=") for pair in renames.split(",") if pair))
  prune(config)
  return config


def take(config, load, place: list[str], renames: dict[str, str]) -> None:
  """Puts the stage or the entry at `place`, `[config, stage]` or `[config, stage, entry]`, into `config`."""
  if len(place) not in (2, 3) or place[1] not in PARTS:
    raise ConfigError(f"{'.'.join(place)}: write config.stage or config.stage.entry; stages: {', '.join(PARTS)}")
  stage = load(place[0])[place[1]]
  if place[2:] and place[2] not in stage:
    raise ConfigError(f"{'.'.join(place)}: there is no such entry; {nearest(place[2], stage)}")
  found = {
    renames.get(name, name): renamed(entry.to_dict(), renames)
    for name, entry in stage.items()
    if name in (place[2:] or stage)
  }
  if place[2:]:
    found = {**config[place[1]].to_dict(), **found}
  config[place[1]] = found


def renamed(entry: dict, renames: dict[str, str]) -> dict:
  """An entry in which `old`, `old/part` and `keyword=old` are read under their new names."""

  def change(value):
    if not isinstance(value, str):
      return tuple(map(change, value)) if isinstance(value, (list, tuple)) else value
    return re.sub(r"^((?:\w+=)?)(\w+)", lambda m: m[1] + renames.get(m[2], m[2]), value)

  return {key: change(value) if key in _NAMES else value for key, value in entry.items()}


def prune(config) -> None:
  """Leaves out, in place, entries from which no path leads to a loss, and networks that no pass uses."""
  nodes = {
    name: make_node(stage, name, entry, Horizon(1 << 30, 1, 1)) for stage in STAGES for name, entry in config[stage].items()
  }
  used, frontier = set(), [name for name in nodes if name in config.losses]
  while frontier:
    name = frontier.pop()
    if name not in used:
      used.add(name)
      frontier += [owner for owner in (graph.owner(read, nodes) for read in nodes[name].names()) if owner]
  nets = {node.net for node in map(nodes.get, used) if isinstance(node, Pass)}
  nets |= {config.networks[name].ema for name in nets if "ema" in config.networks.get(name, {})}
  for stage, kept in (*((stage, used) for stage in STAGES), ("networks", nets)):
    for name in [name for name in config[stage] if name not in kept]:
      del config[stage][name]


def main(argv: list[str] | None = None) -> int:
  parser = study.parser(__doc__, pathlib.Path(__file__).parent)
  parser.add_argument("--preset", default="demo")
  parser.add_argument("--cell", action="append", default=[], help="name=config piece piece ...")
  parser.add_argument("--columns", nargs="+", default=["knn/k20", "linear/accuracy", "rankme/rankme"])
  parser.add_argument("--explain", action="store_true", help="print the combined methods and stop")
  arguments, overrides = parser.parse_known_args(argv)
  given = (cell.partition("=") for cell in arguments.cell)
  cells = CELLS | {name: tuple(shlex.split(pieces)) for name, _, pieces in given}
  columns = {column: column for column in arguments.columns}
  arms = lambda: {name: configs.override(combine(pieces, arguments.preset), overrides) for name, pieces in cells.items()}
  if arguments.explain:
    return _explain(arms, cells, arguments.only)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(),
      measure=study.Pretrained(places=study.places(arguments)),
      table=lambda rows: study.rows_table(rows, columns),
    ),
  )


def _explain(arms, cells, only) -> int:
  """Prints what the cells' methods are."""
  logging.setup()
  try:
    made = arms()
    for name in only or made:
      print(f"== {name}: {' '.join(cells[name])}\n{explain.explain(Trainer(made[name]))}\n")
  except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
