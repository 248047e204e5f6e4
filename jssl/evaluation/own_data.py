"""A run on the user's own data is evaluated on them, and not on those of the config's author."""

from collections.abc import Sequence

from jssl import logging
from jssl.evaluation.protocols import PROTOCOLS

_OWN = ("train", "test")


def evaluate_own_data(config, arguments: Sequence[str]) -> None:
  """Puts data of a place, which a command line names for training alone, into `config.evaluation` too, and says so.

  The same images are `train` and `test` then: `jssl.evaluate` leaves out what would need others, and what needs labels
  where there are none. Protocols of the config that need scenes or sequences are of the author's data, and go.

  Args:
    config: with the arguments applied; changed in place.
    arguments: `--config.key=value`, as `jssl.config.override` takes them. Those that name data of `config.evaluation`
      have their way, and so do the protocols that they name.
  """
  asked = lambda *keys: any(argument.startswith(tuple(f"--config.{key}" for key in keys)) for argument in arguments)
  entries = config.evaluation
  if not asked("data.name=") or ":" not in config.data.name or asked(*(f"evaluation.{split}" for split in _OWN)):
    return
  if config.data.name in (entries.train.name, entries.test.name):
    return
  for split in _OWN:
    entries[split] = dict(name=config.data.name, split=config.data.split, options=config.data.options.to_dict())
  splits = lambda spec: PROTOCOLS[name].splits if (name := str(spec).partition(":")[0]) in PROTOCOLS else ()
  others = [spec for spec in entries.protocols if not {*splits(spec)} <= {*_OWN}]
  if asked("evaluation.protocols"):
    others = []
  entries.protocols = tuple(spec for spec in entries.protocols if spec not in others)
  gone = f", without {', '.join(others)}, which need other data" if others else ""
  logging.log.info("evaluated on %s, too%s; --config.evaluation.test.name=... names other images", config.data.name, gone)
