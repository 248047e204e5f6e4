"""Processes: joining others in one run, being told to stop, and giving back memory."""

import contextlib
import ctypes
import pathlib
import resource
import signal
import sys
import threading

import jax

from jssl import logging
from jssl.errors import ConfigError

M_MMAP_THRESHOLD = -3  # of malloc.h


class Interrupt:
  """Turns SIGTERM and SIGINT into a request that the loop honours after the step in progress."""

  def __init__(self):
    self.requested = False

  def __enter__(self):
    self._before = {}
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._before[number] = signal.signal(number, self._request)
    return self

  def _request(self, number, frame):
    if self.requested and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.requested = True

  def __exit__(self, *exception):
    for number, handler in self._before.items():
      signal.signal(number, handler)


def trim_memory() -> None:
  """Gives back to the system what is free, where glibc would keep it: compiling leaves hundreds of MiB behind.

  From then on arrays of 16 MiB or more go back as soon as they are free, but for those that fit into what was free here.
  """
  with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 16 * 2**20)
    libc.malloc_trim(0)


def peak_mib() -> float:
  """The most memory that this process has held so far, in MiB.

  What the kernel tells of a process that replaced another's program (`ru_maxrss`) has that one's memory in it; `VmHWM`
  has not.
  """
  status = pathlib.Path("/proc/self/status")
  if status.exists():
    found = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(found["VmHWM"].split()[0]) / 1024
  unit = 2**20 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def join(place: str) -> None:
  """Starts `jax.distributed`; a process that is silent for 30 s ends the others.

  Args:
    place: "host:port,count,index", or "" where the cluster tells it.

  Raises:
    ConfigError: for anything else.
  """
  numbers = {}
  if place:
    try:
      address, count, index = place.split(",")
      numbers = dict(coordinator_address=address, num_processes=int(count), process_id=int(index))
    except ValueError as error:
      raise ConfigError(f"--distributed={place}: write HOST:PORT,COUNT,INDEX, such as 10.0.0.1:1234,2,0") from error
  jax.distributed.initialize(**numbers, heartbeat_timeout_seconds=30)
  if jax.process_index():  # The first process speaks for all.
    logging.log.setLevel("WARNING")
