"""Eight simulated devices for every test; a test that wants one takes the first. Compiling counts here, not running."""

import atexit
import gc
import importlib.metadata
import logging
import os
import pathlib
import shutil
import tempfile
import time

from hypothesis import settings
import numpy as np
import pytest

settings.register_profile("repeatable", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("search", max_examples=3000, deadline=None)
settings.load_profile("repeatable")

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
  " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
if importlib.metadata.version("jaxlib") < "0.11":  # which knows the flag no more, and ends for it
  os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What is compiled twice, as by a run that goes on, is compiled once.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # the workers of pytest-xdist find it there, and one process removes it
  os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jssl-tests-")
  atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


@pytest.fixture(autouse=True)
def the_log_as_it_was():
  """A program's start leads jssl's messages to its own stderr and nowhere else; the next test is told them again."""
  log = logging.getLogger("jssl")
  before = log.handlers[:], log.propagate, log.level
  yield
  log.handlers[:], log.propagate = before[:2]
  log.setLevel(before[2])


@pytest.fixture(autouse=True)
def the_same_draws(request):
  """A test file's RNG starts anew for each test, which draws the same in any order and in any process."""
  rng = getattr(getattr(request.node, "module", None), "RNG", None)
  if rng is not None:
    rng.bit_generator.state = np.random.default_rng(1).bit_generator.state


@pytest.fixture(autouse=True)
def few_programs():
  """Compiled programs stay until told otherwise, and Linux lets a process map no more than 65,530 pieces of memory."""
  begin = time.monotonic()
  yield
  maps = pathlib.Path("/proc/self/maps")  # Reading it takes longer than most tests, of which those compile nothing.
  if time.monotonic() - begin > 0.5 and maps.exists() and maps.read_bytes().count(b"\n") > 25_000:
    import jax  # pylint: disable=g-import-not-at-top

    jax.clear_caches()
    gc.collect()
