"""Times the sides of a case: each has a process of its own, and they take turns, each when the machine is idle.

A turn is one call that is not counted and a few that are: after the others' turns a process has to get its memory back
from the kernel, which a training run does not have to. A call during which others used more than a twentieth of a core
is not counted either. On a GPU, whose memory seldom holds all sides, one side's turns come after the other's.

`python turns.py MODULE SIDE CASE SIZE` is a side's process: it answers each line of the standard input by one of JSON.
"""

from collections.abc import Callable
import contextlib
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any, NamedTuple

import numpy as np

PAUSE = 0.5  # seconds that the machine has to be idle before a turn; by then the other sides' threads spin no more
QUIET = 0.05  # cores that others may use
PRODUCTS = 10  # matrix products that are timed as one
TICKS = os.sysconf("SC_CLK_TCK")  # of the kernel's clock, a second


class Work(NamedTuple):
  """What a side does in a case, ready to be timed.

  Attributes:
    call: does one unit and blocks until it is done.
    images: taken in by a call; 0 where that says nothing.
    flops: of a call's matrix products, counted the same for all sides; 0.0 where that says nothing.
    product: multiplies large matrices and returns the FLOPs of that; the fastest of all sides is the peak that `flops`
      is compared with. `jax_product` and `torch_product` make one. None where there are no `flops`.
    turn: calls of a turn that are counted. With 1 there are no others, neither before them nor at the start: for calls
      that leave nothing behind, such as a process.
  """

  call: Callable[[], Any]
  images: int = 0
  flops: float = 0.0
  product: Callable[[], float] | None = None
  turn: int = 3


class Result(NamedTuple):
  """What came of a side. `missing` says what it lacks, and then there is nothing else.

  Attributes:
    start: seconds from the import of the part to the end of the first calls.
    images, flops: of a call, as in `Work`.
    calls, products: what `_timed` returned for each one that counts; the `result` of a product are its FLOPs.
    disturbed: calls that others disturbed.
  """

  missing: str | None
  start: float
  images: int
  flops: float
  calls: list[dict[str, float]]
  products: list[dict[str, float]]
  disturbed: int


def jax_product(dtype: str) -> Callable[[], float]:
  """Matrix products in JAX, of a size at which a CPU (float32) or a GPU (bfloat16) is at its best."""
  import jax  # pylint: disable=g-import-not-at-top
  import jax.numpy as jnp  # pylint: disable=g-import-not-at-top

  matrices = [jnp.ones(shape, dtype) for shape in _shapes(dtype)]
  multiply = jax.jit(lambda a, b: a @ b)

  def product():
    for _ in range(PRODUCTS):
      jax.block_until_ready(multiply(*matrices))  # one result at a time, as torch holds them
    return _product_flops(dtype)

  return product


def torch_product(dtype: str, device: str) -> Callable[[], float]:
  """The same in PyTorch, on "cpu" or "cuda"."""
  import torch  # pylint: disable=g-import-not-at-top

  matrices = [torch.ones(shape, dtype=getattr(torch, dtype), device=device) for shape in _shapes(dtype)]

  def product():
    for _ in range(PRODUCTS):
      torch.mm(*matrices)
    if device == "cuda":
      torch.cuda.synchronize()
    return _product_flops(dtype)

  return product


def _shapes(dtype):
  return ((8320, 768), (768, 768)) if dtype == "float32" else ((8192, 8192), (8192, 8192))


def _product_flops(dtype):
  (rows, inner), (_, columns) = _shapes(dtype)
  return 2.0 * PRODUCTS * rows * inner * columns


def measure(module: str, case: str, size: str, sides, *, count: int, minutes: float, busy: bool) -> dict[str, Result]:
  """Times all sides of a case.

  Args:
    module: of the part, importable by name; its `CASES` and `SIDES` are as README.md says.
    case, size: keys of `CASES`.
    sides: names of `SIDES`.
    count: calls of each side that are to count.
    minutes: after which there may be fewer; for all sides together.
    busy: wait for nothing and count every call.

  Returns:
    What came of each side; one whose process ended early, or that was never alone for a whole call, has only `missing`.
  """
  results = {}
  groups = [[side] for side in sides] if size == "gpu" else [list(sides)]
  for group in groups:
    workers = {side: Worker(module, side, case, size) for side in group}
    try:
      _take_turns(list(workers.values()), count, minutes / len(groups), busy)
    finally:
      for worker in workers.values():
        worker.close()
    results |= {side: worker.result() for side, worker in workers.items()}
  return results


def _take_turns(workers: list["Worker"], count: int, minutes: float, busy: bool) -> None:
  deadline = time.monotonic() + 60 * minutes
  for what in ("product", "call"):
    waiting = [w for w in workers if not w.missing and (what == "call" or w.ready["product"])]
    while waiting and time.monotonic() < deadline:
      for worker in waiting:
        if not busy:
          _wait_until_idle(deadline)
        worker.run(what, busy)
      enough = count if what == "call" else min(count, 6)
      waiting = [w for w in waiting if not w.missing and len(w.counted[what]) < enough]


def _wait_until_idle(deadline: float) -> None:
  while time.monotonic() < deadline:
    busy = _busy()
    time.sleep(PAUSE)
    if _busy() - busy <= QUIET * PAUSE:
      return


class Worker:
  """A side's process, seen from the parent."""

  def __init__(self, module: str, side: str, case: str, size: str):
    self.process = subprocess.Popen(
      [sys.executable, __file__, module, side, case, size], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    self.counted, self.disturbed, self.missing = dict(call=[], product=[]), 0, None
    self.ready = self._read()
    if self.ready:
      self.missing = self.ready["missing"]

  def _read(self):
    line = self.process.stdout.readline()
    if not line:
      self.missing = f"its process stopped with exit code {self.process.wait()}"
    return json.loads(line) if line else []

  def run(self, what: str, busy: bool) -> None:
    """Takes one turn of calls or of products."""
    self.process.stdin.write(what + "\n")
    self.process.stdin.flush()
    for result in self._read():
      # The kernel counts in hundredths of a second.
      if not busy and result["others"] > QUIET * result["wall"] + 0.02:
        self.disturbed += what == "call"
      else:
        self.counted[what].append(result)

  def result(self) -> Result:
    ready, missing = self.ready, self.missing
    if not missing and not self.counted["call"]:
      missing = "the machine was never idle for a whole call"
    if missing:
      return Result(missing, 0.0, 0, 0.0, [], [], 0)
    return Result(
      None, ready["start"], ready["images"], ready["flops"], self.counted["call"], self.counted["product"], self.disturbed
    )

  def close(self) -> None:
    with contextlib.suppress(BrokenPipeError):
      self.process.stdin.close()
    self.process.wait()


def serve(module: str, side: str, case: str, size: str) -> None:
  """A side's process."""
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # what libraries print is no answer

  def answer(values):
    print(json.dumps(values), file=answers, flush=True)

  start = time.perf_counter()
  part = importlib.import_module(module)
  try:
    work = part.SIDES[side](case, **part.CASES[case][size])
  except ImportError as error:
    return answer(dict(missing=str(error)))
  if work.turn > 1:
    for _ in range(3):
      work.call()
  answer(
    dict(
      missing=None, start=time.perf_counter() - start, images=work.images, flops=work.flops, product=work.product is not None
    )
  )
  for line in sys.stdin:
    run = work.call if line.strip() == "call" else work.product
    _forget_peaks()  # a product's do not count as a call's
    if work.turn > 1:
      run()
    answer([_timed(run, side) for _ in range(work.turn)])


def _timed(run: Callable[[], Any], side: str) -> dict[str, float]:
  """Seconds of time, of this process's CPU, of it the kernel's, of other processes' CPU; MiB of peak memory; the result."""
  before = _busy(), *_cpu(), time.perf_counter()
  result = run()
  after = time.perf_counter(), _busy(), *_cpu()
  wall, (busy, cpu, system) = after[0] - before[-1], np.subtract(after[1:], before[:-1])
  return dict(
    wall=wall,
    cpu=cpu,
    system=system,
    others=max(busy - cpu, 0.0),
    peak=_peak(),
    device_peak=_device_peak(side),
    result=result if isinstance(result, (int, float)) else None,
  )


def _cpu() -> tuple[float, float]:
  """CPU seconds of this process and its descendants so far, and the kernel's among them."""
  usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
  user, system = sum(usage.ru_utime for usage in usages), sum(usage.ru_stime for usage in usages)
  for ticks in _descendants():
    user, system = user + (ticks[0] + ticks[2]) / TICKS, system + (ticks[1] + ticks[3]) / TICKS
  return user + system, system


def _descendants() -> list[tuple[int, ...]]:
  """Ticks that each living descendant has used itself, in user mode and in the kernel, and those of its ended children."""
  children = {}
  for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
      fields = path.read_text().rpartition(")")[2].split()
    except OSError:  # ended meanwhile
      continue
    children.setdefault(int(fields[1]), []).append((int(path.parent.name), tuple(map(int, fields[11:15]))))
  found, waiting = [], [os.getpid()]
  while waiting:
    for child, ticks in children.get(waiting.pop(), []):
      waiting.append(child)
      found.append(ticks)
  return found


def _busy() -> float:
  """Seconds that the machine's cores have worked, for anybody, or were taken away by its host."""
  user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
  return (user + nice + system + irq + softirq + steal) / TICKS


def _peak() -> float:
  """MiB of resident memory at the highest since `_forget_peaks`."""
  status = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def _device_peak(side: str) -> float:
  """MiB of a GPU's memory at the highest: in JAX since the start, in torch since `_forget_peaks`; 0 without a GPU."""
  torch = sys.modules.get("torch")
  if side.startswith("torch"):
    return torch.cuda.max_memory_allocated() / 2**20 if torch and torch.cuda.is_available() else 0.0
  jax = sys.modules.get("jax")
  stats = jax.local_devices()[0].memory_stats() if jax else None
  return (stats or {}).get("peak_bytes_in_use", 0) / 2**20


def _forget_peaks() -> None:
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  torch = sys.modules.get("torch")
  if torch and torch.cuda.is_available():
    torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
  serve(*sys.argv[1:])
