"""Says where the time of jssl's step goes, on one core: `python experiments/bench/profile_step.py [CASE]`.

A case of `steps.py` at its CPU size, default simmim_tiny, under `jax.profiler`; every operation of the compiled program is
booked on the module that it came from, by the name that JAX gave it. An operation that XLA fused from several modules is
booked on one of them.
"""

import collections
import glob
import gzip
import json
import os
import re
import sys
import tempfile

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that durations add up; before JAX counts its threads

import jax  # pylint: disable=g-import-not-at-top
import jssl_steps
import steps

STEPS = 3
PARTS = {  # the first whose expression is found in an operation's name
  "attention: projections": r"DotProductAttention_0/(query|key|value|out)/",
  "attention: softmax and its products": r"DotProductAttention_0",
  "MLP: products": r"MlpBlock_0/Dense",
  "MLP: GELU": r"MlpBlock_0",
  "LayerNorm": r"LayerNorm_\d|encoder_norm",
  "residual sums": r"encoderblock_",
  "BatchNorm": r"/bn\d|batch_norm|downsample_1",
  "convolutions": r"/conv\d|downsample_0",
  "heads": r"heads_",
  "embedding, loss": r"jvp",
  "optimizer, masks, teacher, norm of the gradient": r"",
}
PRODUCT = re.compile(r"^(dot|ynn|conv)")  # what the CPU backend calls matrix products and what it fuses with them


def trace(step, state, batch) -> dict[str, float]:
  """Milliseconds a step of each operation of the compiled program."""
  with tempfile.TemporaryDirectory() as folder:
    for i in range(STEPS + 1):
      if i == 1:
        jax.profiler.start_trace(folder)
      state, _ = step(state, {}, batch)
      jax.block_until_ready(state)
    jax.profiler.stop_trace()
    (path,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
    with gzip.open(path) as file:
      events = json.load(file)["traceEvents"]
  durations = collections.defaultdict(list)
  for event in events:
    if "hlo_op" in event.get("args", {}) and event["ph"] == "X":
      durations[event["args"]["hlo_op"]].append(event["dur"] / 1e3)
  return {op: min(found) * len(found) / STEPS for op, found in durations.items()}


def part(name: str) -> str:
  return next(part for part, expression in PARTS.items() if re.search(expression, name))


def main() -> None:
  numbers = dict(steps.CASES[sys.argv[1] if len(sys.argv) > 1 else "simmim_tiny"]["cpu"])
  numbers.pop("repeat")
  side = jssl_steps.build(steps.make_images(numbers["batch_size"], numbers["views"]), **numbers)
  names = dict(re.findall(r'^\s*(?:ROOT )?%?([\w.\-]+) = .*?op_name="([^"]*)"', side.step.as_text(), re.M))
  table = collections.defaultdict(lambda: [0.0, 0.0])
  products = 0.0
  for op, milliseconds in trace(side.step, side.state, side.batch).items():
    name = names.get(op, "")
    backward = "transpose(jvp" in name or "rematted_computation" in name
    table[part(name)][backward] += milliseconds
    products += milliseconds if PRODUCT.match(op) else 0.0
  total = sum(map(sum, table.values()))
  print("| part | forward, ms | backward, ms | share |\n|---|---|---|---|")
  for name in PARTS:
    forward, backward = table[name]
    if forward + backward:
      print(f"| {name} | {forward:.0f} | {backward:.0f} | {(forward + backward) / total:.0%} |")
  print(f"| all | {sum(f for f, _ in table.values()):.0f} | {sum(b for _, b in table.values()):.0f} | {total:.0f} ms |")
  memory = side.step.memory_analysis()
  print(
    f"\nmatrix products and what is fused with them: {products:.0f} ms; "
    f"temporaries {memory.temp_size_in_bytes / 2**20:.0f} MiB, state and batch "
    f"{memory.argument_size_in_bytes / 2**20:.0f} MiB"
  )


if __name__ == "__main__":
  main()
