"""Two processes of two devices each: the same run as one process of four."""

import platform
import socket
import subprocess
import sys

import numpy as np
import pytest

from jssl import checkpoint, logging
from tests.test_train import rows_without_speed, start, wait_for_step


def free_port():
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    return server.getsockname()[1]


def start_two(workdir, method, cache, *options):
  port = free_port()
  return [start(workdir, method, cache, "--distributed", f"127.0.0.1:{port},2,{i}", *options, devices=2) for i in range(2)]


def finish(processes):
  outputs = [process.communicate(timeout=300)[0] for process in processes]
  assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
  return outputs


@pytest.mark.slow
@pytest.mark.parametrize(
  "method, options",
  [
    ("deepcluster_v2:steps=4", ()),  # refresh sees every process's examples
    ("barlow_twins@objects:steps=4", ()),  # each process reads its part of both
    ("dino:steps=4", ("--config.parallel.mode=jit", "--config.parallel.shard_state=True")),
  ],
)
def test_two_processes_are_one(method, options, tmp_path):
  """To rounding: the weights, whatever else the method keeps, and the logged losses."""
  options = (*options, "--config.optim.name=sgd", "--config.checkpoint_every_steps=2", "--config.data.device_bytes=0")
  outputs = finish(start_two(tmp_path / "two", method, tmp_path / "cache", *options))
  assert "step 4/4" in outputs[0] and "step 4/4" not in outputs[1]
  finish([start(tmp_path / "one", method, tmp_path / "cache", *options, devices=4)])
  one, two = (checkpoint.load_variables(tmp_path / name) for name in ("one", "two"))
  assert one.keys() == two.keys()
  for name in one:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=2e-5, err_msg=name)
  for a, b in zip(rows_without_speed(tmp_path / "one"), rows_without_speed(tmp_path / "two"), strict=True):
    assert a.keys() == b.keys() and a["loss"] == pytest.approx(b["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_and_both_go_on(tmp_path):
  method, cache = "mae:steps=2000", tmp_path / "cache"
  first, second = start_two(tmp_path / "run", method, cache)
  wait_for_step(first, tmp_path / "run", 12)
  second.kill()
  output, _ = first.communicate(timeout=60)
  assert first.returncode != 0 and "process" in output
  first, second = start_two(tmp_path / "run", method, cache)
  wait_for_step(first, tmp_path / "run", 20)
  first.terminate()
  second.terminate()
  output, _ = finish([first, second])
  assert "going on from step" in output and "the same command goes on from there" in output
  steps = [row["step"] for row in logging.read_metrics(tmp_path / "run")]
  assert steps == list(range(1, len(steps) + 1))


MEMORY = """
import numpy as np
from jssl import processes

def resident():  # MiB
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * 4096 / 2**20

def pieces(count, size):
  return [np.ones(size, np.uint8) for _ in range(count)]

start, large = resident(), pieces(1, 31 * 2**20)
large = None  # from now on glibc takes smaller ones from its heap
held = pieces(1500, 10**5)
held = held[::-100]  # between holes of 10 MB, and at the heap's end
kept = resident()
processes.trim_memory()
trimmed, large = resident(), pieces(5, 24 * 2**20)
last = large[-1:]
large = None
print(kept - start, trimmed - start, resident() - start)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_memory_is_given_back():
  """MiB more than at the start: with 141 free below what is held; trimmed; with four of five arrays of 24 freed."""
  output = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
  kept, trimmed, after = map(float, output.split())
  assert kept > 130
  assert trimmed < 10
  assert after < trimmed + 24 + 10
