"""Measures jssl beside PyTorch on one device, in one run: `python experiments/bench/run.py [PART ...]`.

    steps        a train step of nine methods, from prepared images
    augment      augmentation alone
    files        from JPEG files to views, on the host
    end_to_end   training from images in memory, streamed, and from JPEG files, beside the bare step
    knn          nearest neighbours
    start        from the start of a process to its first step

Prints versions and, for each part, a Markdown table. Before a case is measured, it is checked that its sides compute the
same. README.md says how sides are timed.

    --size cpu      the small cases, on the CPU; default: gpu where JAX finds one
    --case NAME     only these; may be given several times
    --check         only check
    --steps 15      calls of each side that are to count
    --minutes 20    of a case, after which there may be fewer
    --cores 1       of those that there are; default all
    --busy          wait for nothing and count every call: on a machine that others use, the CPU seconds still tell
                    something, with --cores 1 (threads that wait for each other burn them)
    --huge-pages    let glibc ask the kernel for pages of 2 MiB, on all sides: GLIBC_TUNABLES=glibc.malloc.hugetlb=1
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time

import turns

# name -> module
PARTS = dict(steps="steps", augment="augment", files="files", end_to_end="end_to_end", knn="knn", start="start")
PACKAGES = ("jax", "jaxlib", "flax", "torch", "torchvision", "transformers", "timm", "lightly", "pillow")
COLUMNS = (
  "case",
  "side",
  "ms a call: median (min, max)",
  "images/s",
  "CPU s (kernel's)",
  "GFLOP/s",
  "of the peak",
  "peak memory",
  "start",
  "calls (not counted)",
  "speed of jssl / best other",
)


def find_size() -> str:
  """ "gpu" where JAX finds one; asked in another process, so that this one holds nothing on it."""
  command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
  found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
  return found if found == "gpu" else "cpu"


def describe(size: str) -> str:
  """Date, machine, versions and the load before."""
  versions = {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
  device = (
    "CPU"
    if size == "cpu"
    else subprocess.run(
      ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=False
    ).stdout.strip()
  )
  return (
    f"{time.strftime('%Y-%m-%d')}, {device}, {len(os.sched_getaffinity(0))} cores, load before "
    f"{' '.join(f'{load:.2f}' for load in os.getloadavg())}, Python {platform.python_version()}, "
    f"{', '.join(f'{name} {version}' for name, version in versions.items())}, "
    f"GLIBC_TUNABLES={os.environ.get('GLIBC_TUNABLES', '')}"
  )


def _installed(name: str) -> bool:
  try:
    importlib.metadata.version(name)
    return True
  except importlib.metadata.PackageNotFoundError:
    return False


def rows(case: str, results: dict[str, turns.Result]) -> list[str]:
  """The lines of the table for one case."""
  found = {side: result for side, result in results.items() if not result.missing}
  medians = {side: statistics.median(call["wall"] for call in result.calls) for side, result in found.items()}
  others = [median for side, median in medians.items() if side != "jssl"]
  peak = max((p["result"] / p["wall"] for result in found.values() for p in result.products), default=0.0)
  lines = []
  for side, result in results.items():
    if result.missing:
      lines.append([case, side, f"not measured: {result.missing}", *[""] * (len(COLUMNS) - 3)])
      continue
    median, walls = medians[side], [call["wall"] for call in result.calls]
    cpu, system = (statistics.median(call[name] for call in result.calls) for name in ("cpu", "system"))
    memory, where = max(
      (call["device_peak"] or call["peak"], "GPU" if call["device_peak"] else "RSS") for call in result.calls
    )
    lines.append(
      [
        case,
        side,
        f"{median * 1e3:.4g} ({min(walls) * 1e3:.4g}, {max(walls) * 1e3:.4g})",
        f"{result.images / median:.0f}" if result.images else "",
        f"{cpu:.2f} ({system:.2f})",
        f"{result.flops / median / 1e9:.0f}" if result.flops else "",
        f"{result.flops / median / peak:.0%}" if result.flops and peak else "",
        f"{memory:.0f} MiB {where}",
        f"{result.start:.0f} s",
        f"{len(walls)} ({result.disturbed})",
        f"{min(others) / median:.2f}" if side == "jssl" and others else "",
      ]
    )
  return [f"| {' | '.join(line)} |" for line in lines]


def check(part, case: str, size: str) -> None:
  """Checks a case if its part has a check, and if what that needs is installed."""
  if getattr(part, "check", None):
    try:
      part.check(case, **part.CASES[case][size])
    except ImportError as error:
      print(f"{case}: not checked: {error}")


def measure(part, name: str, cases: list[str], size: str, arguments) -> None:
  """Checks and times the cases of a part, and prints a row of the table as soon as it is there."""
  print(f"\n## {name}\n\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
  peak = 0.0
  for case in cases:
    subprocess.run(
      [sys.executable, __file__, name, "--check", "--size", size, "--case", case], check=True, stdout=subprocess.DEVNULL
    )
    results = turns.measure(
      part.__name__, case, size, part.SIDES, count=arguments.steps, minutes=arguments.minutes, busy=arguments.busy
    )
    peak = max([peak, *(p["result"] / p["wall"] / 1e9 for r in results.values() for p in r.products)])
    print("\n".join(rows(case, results)), flush=True)
  if peak:
    print(f"\nthe fastest matrix product: {peak:.0f} GFLOP/s")


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default all")
  parser.add_argument("--size", choices=("cpu", "gpu"))
  parser.add_argument("--case", action="append")
  parser.add_argument("--check", action="store_true")
  parser.add_argument("--steps", type=int, default=15)
  parser.add_argument("--minutes", type=float, default=20.0)
  parser.add_argument("--cores", type=int)
  parser.add_argument("--busy", action="store_true")
  parser.add_argument("--huge-pages", action="store_true")
  arguments = parser.parse_args()
  if unknown := set(arguments.parts) - set(PARTS):
    parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
  return arguments


def main() -> None:
  arguments = parse()
  if arguments.cores:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
  if arguments.huge_pages:
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
  size = arguments.size or find_size()
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # or JAX takes most of a GPU's memory, and its peak says nothing
  if size == "cpu" or arguments.check:
    os.environ |= dict(JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="")
  if not arguments.check:
    print(describe(size))
  known = set()
  for name in arguments.parts or PARTS:
    part = importlib.import_module(PARTS[name])
    cases = [case for case, sizes in part.CASES.items() if size in sizes and case in (arguments.case or part.CASES)]
    known |= set(cases)
    if arguments.check:
      for case in cases:
        check(part, case, size)
    elif cases:
      measure(part, name, cases, size, arguments)
  if missing := set(arguments.case or ()) - known:
    sys.exit(f"no case {', '.join(sorted(missing))} of size {size} in {', '.join(arguments.parts or PARTS)}")


if __name__ == "__main__":
  main()
