"""The report of runs as one HTML page: `python -m jssl.report --workdir runs/a [--workdir runs/b ...] [--out report.html]`.

Of runs that were evaluated it shows the results, too; `python -m jssl.evaluate --workdir runs/a --baselines` measures them.
"""

import argparse
import sys

from jssl import data, logging
from jssl.errors import CheckpointError, ConfigError
from jssl.report import run_report
from jssl.values import data_options, words


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.report",
    description=__doc__.splitlines()[0],
    epilog="--config.evaluation.key=value changes a key of the runs' evaluation, such as their view's size",
  )
  parser.add_argument("--workdir", action="append", required=True, help="of a run; several are shown side by side")
  parser.add_argument("--out", help="the page; default report.html in the first workdir")
  parser.add_argument("--data", help="pictures in the place of the runs' data, as config.data.name: folder:/photos, ...")
  parser.add_argument("--split", default="train", help="of --data")
  parser.add_argument("--options", default="{}", help="of --data: \"{'image_size': 32}\"")
  parser.add_argument("--step", type=int, help="of the checkpoints; default the last")
  parser.add_argument(
    "--modules", type=words, default=(), help="modules outside jssl whose functions the runs' configs may name"
  )
  arguments, overrides = parser.parse_known_args(argv)
  logging.setup()
  try:
    pictures = None
    if arguments.data:
      pictures = data.load(arguments.data, split=arguments.split, **data_options(arguments.options))
    path = run_report.write_runs(
      arguments.workdir,
      out=arguments.out,
      step=arguments.step,
      modules=arguments.modules,
      overrides=overrides,
      pictures=pictures,
    )
  except (CheckpointError, ConfigError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"report: {path}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
