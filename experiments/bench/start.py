"""From the start of a process to the end of its first step: `python -m jssl.train --config mmc:demo` and dino's.

"cold" compiles everything; "cached" finds it in the folder that `JAX_COMPILATION_CACHE_DIR` names, which a run before
has filled. In both, the machine has jssl's files in memory. A process ends itself after its first step. By itself,
`python experiments/bench/start.py`, the module prints where the time goes, of one process each.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time

from turns import Work

CASES = {
  f"{config}, {kind}": {size: dict(config=config, cached=kind == "cached") for size in ("cpu", "gpu")}
  for config in ("mmc:demo", "dino:demo")
  for kind in ("cold", "cached")
}
CACHE = "JAX_COMPILATION_CACHE_DIR"


def jssl_side(case: str, *, config: str, cached: bool) -> Work:
  """A call is a process; with `cached`, building is one, too, which fills the cache."""
  del case
  folder = tempfile.TemporaryDirectory(prefix="jssl-start-")
  if cached:
    run(config, folder.name)
  return Work(lambda: run(config, folder.name if cached else None)["wall"], turn=1)


SIDES = {"jssl": jssl_side}
check = None  # there is nothing to compare with


def run(config: str, cache: str | None) -> dict:
  """Starts a process and waits for its first step.

  Args:
    config: as `--config` takes it.
    cache: folder of compiled programs; None for no such folder.

  Returns:
    `wall` seconds of all, `parts`: name -> seconds of (wall, CPU), and `within` them: what JAX traced, lowered and
    compiled, in seconds.
  """
  environment = {name: value for name, value in os.environ.items() if name != CACHE} | ({CACHE: cache} if cache else {})
  start = time.perf_counter()
  with tempfile.TemporaryDirectory(prefix="jssl-start-") as workdir:
    child = subprocess.run(
      [sys.executable, __file__, "--child", config, workdir], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    wall = time.perf_counter() - start
  return json.loads(child.stdout.splitlines()[-1]) | dict(wall=wall)


def first_step(config: str, workdir: str) -> None:
  """What `python -m jssl.train` does up to its first step, with a clock at each part's end; then ends the process."""
  marks = [("", time.perf_counter(), 0.0)]
  within: dict[str, float] = {}

  def mark(part):
    marks.append((part, time.perf_counter(), time.process_time()))

  def marked(owner, name, before, after):
    function = getattr(owner, name)

    def wrapper(*args, **kwargs):
      mark(before)
      result = function(*args, **kwargs)
      mark(after)
      return result

    setattr(owner, name, wrapper)

  def heard(event, seconds, **_):
    if event.startswith("/jax/core/compile/"):
      name = event.rpartition("/")[2].removesuffix("_duration")
      within[name] = within.get(name, 0.0) + seconds

  def end(*_, **__):
    mark("the first step")
    parts: dict[str, list[float]] = {}
    for (_, wall, cpu), (part, next_wall, next_cpu) in itertools.pairwise(marks):
      so_far = parts.get(part, (0.0, 0.0))
      parts[part] = [so_far[0] + next_wall - wall, so_far[1] + next_cpu - cpu]
    print(json.dumps(dict(parts=parts, within=within)), flush=True)
    os._exit(0)  # pylint: disable=protected-access

  import jax  # pylint: disable=g-import-not-at-top

  from jssl import train  # pylint: disable=g-import-not-at-top

  mark("imports")
  jax.monitoring.register_event_duration_secs_listener(heard)
  marked(train.data, "load", "the method", "data")
  marked(train, "_restored", "the method", "the first state")
  train._log = end  # pylint: disable=protected-access
  sys.exit(train.main(["--config", config, "--workdir", workdir]))


def main() -> None:
  """Prints a table of the parts of each case's start."""
  if sys.argv[1:2] == ["--child"]:
    return first_step(*sys.argv[2:])
  for config in ("mmc:demo", "dino:demo"):
    with tempfile.TemporaryDirectory(prefix="jssl-start-") as folder:
      for kind, cache in (("cold", None), ("fills the cache", folder), ("cached", folder)):
        found = run(config, cache)
        cpu = sum(cpu for _, cpu in found["parts"].values())
        print(f"\n{config}, {kind}: {found['wall']:.1f} s, CPU {cpu:.1f} s\n\n| part | s | CPU s |\n|---|---|---|")
        for part, (wall, cpu) in found["parts"].items():
          print(f"| {part} | {wall:.2f} | {cpu:.2f} |")
        print("\nwithin these: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["within"].items()))
        sys.stdout.flush()


if __name__ == "__main__":
  main()
