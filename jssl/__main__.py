"""One name for every command: `jssl train ...` is `python -m jssl.train ...`; `jssl` alone lists them."""

import importlib
import sys

# Command -> its module, and what it does. `explain` is `train --explain`.
COMMANDS = dict(
  train=("jssl.train", "trains a config, or goes on with its run"),
  explain=("jssl.train", "shows a config's views, masks, networks and losses, and what a step costs"),
  sweep=("jssl.sweep", "trains and evaluates a config with several values of its keys, here or under SLURM"),
  evaluate=("jssl.evaluate", "scores a run's network, beside random weights and raw pixels"),
  transfer=("jssl.transfer", "trains a run's network with labels: fine-tuning, or a linear classifier"),
  report=("jssl.report.__main__", "writes runs, their pictures and results as one HTML page"),
  extract=("jssl.extract", "writes a network's features of images"),
  convert=("jssl.convert", "writes a network for transformers, timm or big_vision, and public weights as a run"),
  prepare=("jssl.data.prepare", "prepares a data set of tensorflow-datasets"),
  completion=("jssl.completion", "prints a script by which bash, zsh or fish completes all of these"),
)


def main(argv: list[str] | None = None) -> int:
  """Runs a command.

  Args:
    argv: the command and what it takes; None for the program's own arguments.

  Returns:
    its exit status.
  """
  argv = sys.argv[1:] if argv is None else argv
  if not argv or argv[0] in ("-h", "--help"):
    print("usage: jssl COMMAND ...\n")
    for name, (_, does) in COMMANDS.items():
      print(f"  {name:<10} {does}")
    print("\n`jssl COMMAND --help` says what it takes.")
    return 0
  name, *rest = argv
  if name not in COMMANDS:
    from jssl.errors import nearest  # pylint: disable=g-import-not-at-top

    print(f"error: jssl has no command '{name}'; {nearest(name, COMMANDS)}", file=sys.stderr)
    return 2
  return importlib.import_module(COMMANDS[name][0]).main([*rest, "--explain"] if name == "explain" else rest)


if __name__ == "__main__":
  sys.exit(main())
