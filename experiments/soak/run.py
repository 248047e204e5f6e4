"""A run that is often killed, beside the same run undisturbed: `python experiments/soak/run.py --workdir runs/soak`.

For `--minutes`, SIGKILL, SIGTERM or SIGINT ends the first run at random moments and the same command starts it again. Both
have one core each, so that both compute alike. At the end both are stopped, and it is compared what they have in common:
the weights of every checkpoint, bit for bit, and every row of `metrics.jsonl`. Memory is that of the processes (resident),
looked at every ten seconds. `--config.key=value` changes any key. Exits with 1 if anything is not as it must be.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np

from jssl import checkpoint, logging

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Run:
  """One training run: its process, and what was seen of it."""

  def __init__(self, name: str, args, overrides: list[str], core: int):
    self.workdir = pathlib.Path(args.workdir) / name
    self.workdir.mkdir(parents=True, exist_ok=True)
    self.command = [
      sys.executable,
      "-m",
      "jssl.train",
      "--config",
      args.config,
      "--workdir",
      str(self.workdir),
      "--config.total_steps=50000",
      "--config.checkpoint.keep=1000",
      *overrides,
    ]
    self.core, self.nice, self.begun = core, args.nice, time.monotonic()
    self.memory = []  # of each process: (seconds since the run began, MiB)
    self.ends = {}  # signal -> how often
    self.process = None

  def start(self) -> None:
    def limit():
      os.sched_setaffinity(0, {self.core})
      os.nice(self.nice)

    with (self.workdir / "log.txt").open("a") as log:
      self.process = subprocess.Popen(self.command, stdout=log, stderr=log, preexec_fn=limit)
    self.memory.append([])

  def look(self) -> None:
    """Adds the memory that the process holds now.

    Raises:
      RuntimeError: if it has ended, which nobody asked for.
    """
    if self.process.poll() is not None:
      raise RuntimeError(f"{self.workdir} has ended by itself with {self.process.returncode}; see its log.txt")
    pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
    self.memory[-1].append((time.monotonic() - self.begun, pages * os.sysconf("SC_PAGESIZE") / 2**20))

  def end(self, by: signal.Signals) -> None:
    """Ends the process; one that is asked to must save and return 0, unless it was only starting.

    Raises:
      RuntimeError: if it returns anything else.
    """
    self.process.send_signal(by)
    code = self.process.wait(900)
    self.ends[by.name] = self.ends.get(by.name, 0) + 1
    if code not in ((-by,) if by == signal.SIGKILL else (0, -by, 1)):
      raise RuntimeError(f"{self.workdir}: {code} after {by.name}; see its log.txt")


def soak(args, overrides: list[str]) -> tuple[Run, Run]:
  rng = random.Random(args.seed)
  killed, whole = runs = Run("killed", args, overrides, 0), Run("whole", args, overrides, 1)
  for run in runs:
    run.start()
  end = time.monotonic() + 60 * args.minutes
  try:
    while time.monotonic() < end:
      life = min(time.monotonic() + rng.uniform(*(60 * minutes for minutes in args.every)), end)
      while time.monotonic() < life:
        time.sleep(min(10, max(life - time.monotonic(), 0)))
        for run in runs:
          run.look()
      if life < end:
        killed.end(rng.choice(SIGNALS))
        killed.start()
    for run in runs:
      run.end(signal.SIGTERM)
  finally:
    for run in runs:
      run.process.kill()
  return runs


def report(killed: Run, whole: Run) -> list[str]:
  """What is wrong, one line each; prints the table."""
  wrong = []
  rows = {}
  for run in (killed, whole):
    written = logging.read_metrics(run.workdir)
    steps, rows[run] = [row["step"] for row in written], {row["step"]: row for row in written}
    gaps = set(np.diff([step for step in steps if step != 1]))
    if len(gaps) > 1 or len(set(steps)) < len(steps):
      wrong.append(f"{run.workdir}: gaps or duplicates in metrics.jsonl, steps between rows {sorted(gaps)}")
  shared = rows[killed].keys() & rows[whole].keys()
  unlike = [
    step
    for step in shared
    if any(rows[killed][step][key] != value for key, value in rows[whole][step].items() if key != "examples_per_second")
  ]
  if unlike or not shared:
    wrong.append(f"{len(unlike)} of {len(shared)} rows differ, the first at step {min(unlike, default=None)}")
  steps = [
    {int(path.name) for path in (run.workdir / "checkpoints").iterdir() if path.name.isdigit()} for run in (killed, whole)
  ]
  both = sorted(steps[0] & steps[1])
  for step in both:
    one, other = (checkpoint.load_variables(run.workdir, step) for run in (killed, whole))
    if one.keys() != other.keys() or not all(np.array_equal(one[name], other[name]) for name in one):
      wrong.append(f"the weights of step {step} differ")
  if not both:
    wrong.append("the runs have no checkpoint in common")
  print(f"| run | processes | ended by | last row | memory after 2 min, at the end, at most |\n|{'---|' * 5}")
  for run in (killed, whole):
    held = [(time - life[0][0], mib) for life in run.memory if life for time, mib in life]
    settled = [mib for time, mib in held if time > 120] or [held[-1][1]]
    ends = ", ".join(f"{count} {name}" for name, count in run.ends.items())
    print(
      f"| {run.workdir.name} | {len(run.memory)} | {ends} | step {max(rows[run])} | "
      f"{settled[0]:.0f}, {settled[-1]:.0f}, {max(mib for _, mib in held):.0f} MiB |"
    )
  print(
    f"\n{len(shared)} rows and the weights of {len(both)} checkpoints, up to step {max(both, default=0)}, compared; "
    f"{'; '.join(wrong) or 'all the same'}"
  )
  return wrong


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", default="runs/soak")
  parser.add_argument("--config", default="mmc:demo")
  parser.add_argument("--minutes", type=float, default=120)
  parser.add_argument(
    "--every", type=float, nargs=2, default=(2, 6), help="minutes that a process lives, at least and at most"
  )
  parser.add_argument("--seed", type=int, default=0, help="of the kills")
  parser.add_argument("--nice", type=int, default=0)
  args, overrides = parser.parse_known_args()
  logging.setup()
  if (pathlib.Path(args.workdir) / "whole").exists():
    parser.error(f"{args.workdir} holds a soak already")
  return 1 if report(*soak(args, overrides)) else 0


if __name__ == "__main__":
  sys.exit(main())
