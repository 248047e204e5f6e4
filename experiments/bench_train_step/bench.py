"""Times a train step of jssl on a CPU against the same step in PyTorch: `python experiments/bench_train_step/bench.py`.

ViT-Ti (width 192, depth 12, 3 heads, patches of 4, 32 px), batch 128, float32, SimMIM: 10 of 16 cells become the mask
token, a linear head, the mean absolute error on hidden pixels, AdamW. Images are normalised beforehand, the masks are
drawn in the step. First it is checked that both sides compute the same loss and gradients from the same weights; then
each side has a process of its own, and they take turns of one step that is not counted and three that are, each turn
when the machine is idle. A step during which others used more than a twentieth of a core is not counted either.

    --check         only compare the two sides
    --steps 15      steps of each side that are to count
    --minutes 20    stop with fewer after this long
    --cores 1       of those that there are; default all
    --busy          wait for nothing and count every step: on a machine that others use, the CPU seconds still tell
                    something, with --cores 1 (threads that wait for each other burn them)
    --huge-pages    let glibc ask the kernel for pages of 2 MiB, on all sides: GLIBC_TUNABLES=glibc.malloc.hugetlb=1
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

SIDES = ("jssl", "torch", "torch.compile")
BATCH, SIDE, PATCH, WIDTH, DEPTH, HEADS, HIDDEN = 128, 32, 4, 192, 12, 3, 10
TOKENS = (SIDE // PATCH) ** 2
OPTIM = dict(lr=1e-4, weight_decay=0.05)
PAUSE = 0.5  # seconds that the machine has to be idle before a turn; by then the other side's threads spin no more
QUIET = 0.05  # cores that others may use
PRODUCTS = 10  # matrix products that are timed as one
TURN = 3  # steps; another before them faults the memory in that the process gave back


def step_gflops(batch: int) -> float:
  """Billions of floating-point operations of a step's matrix products, at 2 for a multiplication and addition."""
  rows, pixels = batch * (TOKENS + 1), 3 * PATCH**2
  blocks = DEPTH * (rows * 12 * WIDTH**2 + 2 * rows * (TOKENS + 1) * WIDTH)
  ends = batch * TOKENS * pixels * WIDTH
  return 2 * (3 * blocks + 3 * ends + 2 * ends) / 1e9  # the embedding has no gradient for its input


def make_images(batch: int) -> np.ndarray:
  return np.random.default_rng(0).standard_normal((batch, SIDE, SIDE, 3), dtype=np.float32)


def make_torch_model():
  import torch_side  # pylint: disable=g-import-not-at-top
  return torch_side.SimMIM(patch=PATCH, tokens=TOKENS, width=WIDTH, depth=DEPTH, num_heads=HEADS)


def jssl_worker():
  """Returns `(step, product)`: functions that run one step, and matrix products as large as the MLP's."""
  sys.modules["torch"] = None  # tensorboardX loads it where it finds it; jssl does without
  importlib.import_module("tensorboardX")
  del sys.modules["torch"]
  import jax  # pylint: disable=g-import-not-at-top
  import jssl_side  # pylint: disable=g-import-not-at-top
  side = jssl_side.build(make_images(BATCH), **OPTIM)
  state = [side.state]

  def step():
    state[0], metrics = side.step(state[0], {}, side.batch)
    jax.block_until_ready(state)
    return float(metrics["loss"])

  matrices = [jax.device_put(np.ones(shape, np.float32)) for shape in ((BATCH * (TOKENS + 1), 768), (768, 768))]
  product = jax.jit(lambda a, b: a @ b)
  return step, lambda: jax.block_until_ready([product(*matrices) for _ in range(PRODUCTS)])


def torch_worker(compiled: bool):
  """As `jssl_worker`."""
  import torch  # pylint: disable=g-import-not-at-top
  import torch_side  # pylint: disable=g-import-not-at-top
  torch.manual_seed(0)
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  model = make_torch_model()
  optimizer = torch_side.make_optimizer(model, **OPTIM)
  forward = torch.compile(model) if compiled else model
  images = torch.from_numpy(make_images(BATCH))

  def step():
    mask = torch_side.cell_mask(BATCH, side=SIDE // PATCH, cell=2, hidden=HIDDEN)
    loss = forward(images, mask)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()

  matrices = torch.ones(BATCH * (TOKENS + 1), 768), torch.ones(768, 768)
  return step, lambda: [torch.mm(*matrices) for _ in range(PRODUCTS)]


def work(side: str) -> None:
  """One side's process: answers each line of the standard input with a line of JSON."""
  start = time.perf_counter()
  step, product = jssl_worker() if side == "jssl" else torch_worker(side == "torch.compile")
  losses = [step() for _ in range(3)]
  _answer(ready=time.perf_counter() - start, losses=losses, start_peak=_peak())
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM is the peak of stepping alone
  for line in sys.stdin:
    run = dict(step=step, product=product)[line.strip()]
    run()
    _answer(turn=[_timed(run) for _ in range(TURN)])


def _timed(run) -> dict[str, float]:
  """Seconds of time, of this process's CPU, of it the kernel's, and of other processes' CPU; and the peak memory."""
  before = np.array([time.perf_counter(), time.process_time(), os.times().system, _busy()])
  run()
  wall, cpu, system, busy = np.array([time.perf_counter(), time.process_time(), os.times().system, _busy()]) - before
  return dict(wall=wall, cpu=cpu, system=system, others=max(busy - cpu, 0.0), peak=_peak())


def _answer(**values) -> None:
  print(json.dumps(values), flush=True)


def _busy() -> float:
  """Seconds that the machine's cores have worked, for anybody, or were taken away by its host."""
  user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
  return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _peak() -> float:
  """MiB of resident memory at the highest, since the start of the process or since it was last reset."""
  status = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


class Worker:
  """A side's process, seen from the parent."""

  def __init__(self, side: str):
    self.process = subprocess.Popen([sys.executable, __file__, "--worker", side], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    self.start = self._read()
    self.steps, self.products, self.disturbed = [], [], 0

  def _read(self):
    line = self.process.stdout.readline()
    if not line:
      raise RuntimeError(f"a worker stopped with exit code {self.process.wait()}")
    return json.loads(line)

  def run(self, what: str, busy: bool) -> None:
    self.process.stdin.write(what + "\n")
    self.process.stdin.flush()
    for result in self._read()["turn"]:
      if not busy and result["others"] > QUIET * result["wall"] + 0.02:  # the kernel counts in hundredths of a second
        self.disturbed += 1
      else:
        (self.steps if what == "step" else self.products).append(result)

  def close(self) -> None:
    self.process.stdin.close()
    self.process.wait()


def check(batch: int = 16) -> None:
  """Asserts that the loss and the gradient of every tensor agree to 1e-4, from the same weights, images and masks."""
  import jax  # pylint: disable=g-import-not-at-top
  import torch  # pylint: disable=g-import-not-at-top
  import jssl_side  # pylint: disable=g-import-not-at-top
  import torch_side  # pylint: disable=g-import-not-at-top
  images = make_images(batch)
  side = jssl_side.build(images, **OPTIM)
  variables, draw = side.state.variables, dict(key=jax.random.key(0, impl="threefry2x32"), step=0)
  mask = np.array(side.method.environment(variables, side.batch, **draw)["m/mask"])
  assert (mask.sum(axis=1) == 4 * HIDDEN).all(), "another share of the patches is hidden than in torch"

  def loss_of(params):
    return side.method.loss(params, variables, side.batch, **draw)[0]

  loss, gradients = jax.jit(jax.value_and_grad(loss_of))(variables.params)
  model = make_torch_model()
  model.load_state_dict(torch_side.from_jssl(variables.params["encoder"]), strict=True)
  torch_loss = model(torch.from_numpy(images), torch.from_numpy(mask))
  torch_loss.backward()
  expected = torch_side.from_jssl(gradients["encoder"])
  errors = {name: float((p.grad - expected[name]).norm() / expected[name].norm())
            for name, p in model.named_parameters()}
  worst, error = max(errors, key=errors.get), abs(torch_loss.item() - float(loss)) / float(loss)
  print(f"same function: loss {float(loss):.6f} and {torch_loss.item():.6f} (relative difference {error:.1e}); "
        f"{len(errors)} gradients, the worst by {errors[worst]:.1e} of its norm ({worst})")
  assert error <= 1e-4 and errors[worst] <= 1e-4


def wait_until_idle(deadline: float) -> None:
  while time.monotonic() < deadline:
    busy = _busy()
    time.sleep(PAUSE)
    if _busy() - busy <= QUIET * PAUSE:
      return


def measure(count: int, minutes: float, busy: bool) -> dict[str, Worker]:
  workers = {side: Worker(side) for side in SIDES}
  deadline = time.monotonic() + 60 * minutes
  for what in ("product", "step"):
    while time.monotonic() < deadline and any(len(getattr(w, f"{what}s")) < count for w in workers.values()):
      for worker in workers.values():
        if not busy:
          wait_until_idle(deadline)
        worker.run(what, busy)
  for side, worker in workers.items():
    worker.close()
    if not worker.steps or not worker.products:
      raise SystemExit(f"the machine was never idle for a whole turn of {side}")
  return workers


def report(workers: dict[str, Worker]) -> None:
  gflops, product = step_gflops(BATCH), PRODUCTS * 2 * BATCH * (TOKENS + 1) * 768**2 / 1e9
  print("| side | ms/step: median (min, max) | images/s | CPU s/step (kernel's) | GFLOP/s "
        "| its matrix product | peak RSS stepping | with start | start | steps (not counted) |")
  print("|---" * 10 + "|")
  median, median_cpu = {}, {}
  for side, worker in workers.items():
    wall = [step["wall"] for step in worker.steps]
    median[side] = statistics.median(wall)
    best_product = product / min(p["wall"] for p in worker.products)
    cpu, system = (statistics.median(step[name] for step in worker.steps) for name in ("cpu", "system"))
    median_cpu[side] = cpu
    peak = max(step["peak"] for step in worker.steps)
    print(f"| {side} | {median[side] * 1e3:.0f} ({min(wall) * 1e3:.0f}, {max(wall) * 1e3:.0f}) "
          f"| {BATCH / median[side]:.0f} | {cpu:.2f} ({system:.2f}) | {gflops / median[side]:.0f} | {best_product:.0f} "
          f"| {peak:.0f} MiB | {max(peak, worker.start['start_peak']):.0f} MiB | {worker.start['ready']:.0f} s "
          f"| {len(wall)} ({worker.disturbed}) |")
  ratios = [min(m["torch"], m["torch.compile"]) / m["jssl"] for m in (median, median_cpu)]
  print("\nspeed of jssl / best torch: %.2f by time, %.2f by CPU seconds" % tuple(ratios))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--check", action="store_true")
  parser.add_argument("--steps", type=int, default=15)
  parser.add_argument("--minutes", type=float, default=20)
  parser.add_argument("--cores", type=int)
  parser.add_argument("--busy", action="store_true")
  parser.add_argument("--huge-pages", action="store_true")
  parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    return work(arguments.worker)
  if arguments.cores:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:arguments.cores])
  if arguments.huge_pages:
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
  versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "flax", "torch"))
  load = "%.2f %.2f %.2f" % os.getloadavg()
  print(f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, load before {load}, Python "
        f"{sys.version.split()[0]}, {versions}; {step_gflops(BATCH):.0f} GFLOPs a step")
  if arguments.check:
    return check()
  subprocess.run([sys.executable, __file__, "--check"], check=True, stdout=subprocess.DEVNULL)
  report(measure(arguments.steps, arguments.minutes, arguments.busy))


if __name__ == "__main__":
  main()
