"""XLA's flags: some releases of jaxlib compute wrong sums on a CPU unless told not to."""

import functools
import importlib.metadata
import os
import re

_FLAG = "xla_cpu_experimental_ynn_fusion_type"
# From 0.10.2 on XLA hands sums of products and of broadcasts to YNNPACK: one wrong row in 32,769 (jax-ml/jax#39103), sums
# that differ from call to call (tensorflow/tensorflow#126812), crashes from rank 7 on (jax-ml/jax#39257). A jaxlib that does
# not know a flag ends the process, so releases that nobody has looked at are left as they are.
_FIRST, _AFTER_LAST = (0, 10, 2), (0, 13)
# YNNPACK's matrix products, which vision transformers gain by, were tried in 0.10.2 and found right; later ones go without.
_TRIED, _WITHOUT_SUMS, _WITHOUT_ALL = (0, 11), "-reduce", ""


def safe_flags(flags: str, jaxlib: str) -> str:
  """XLA_FLAGS with what this release of jaxlib needs for right sums; a user's own setting of that flag stays.

  Args:
    flags: XLA_FLAGS as they are.
    jaxlib: its version, "0.10.2".
  """
  version = _numbers(jaxlib)
  if not _FIRST <= version < _AFTER_LAST or _FLAG in flags:
    return flags
  return f"{flags} --{_FLAG}={_WITHOUT_SUMS if version < _TRIED else _WITHOUT_ALL}".lstrip()


def set_safe_flags() -> None:
  """Puts `safe_flags` into the environment, where XLA reads them when the first backend starts: after `import jax`."""
  flags = os.environ.get("XLA_FLAGS", "")
  safe = safe_flags(flags, _jaxlib())
  if safe != flags:
    os.environ["XLA_FLAGS"] = safe


def warn_of_wrong_sums(device) -> None:
  """Says so, once, if this process may sum wrong on the device: XLA_FLAGS have another setting, or it came too late."""
  if device.platform == "cpu" and _FIRST <= _numbers(_jaxlib()) < _AFTER_LAST:
    _warn_of_wrong_sums(device)


@functools.cache
def _warn_of_wrong_sums(device) -> None:
  import jax  # pylint: disable=g-import-not-at-top

  from jssl.logging import log  # pylint: disable=g-import-not-at-top

  rows = jax.ShapeDtypeStruct((32_769, 3), "float32", sharding=jax.sharding.SingleDeviceSharding(device))
  if "__ynn_fusion" in jax.jit(lambda x: (x * x).sum(-1)).lower(rows).compile().as_text():
    log.warning(
      "jaxlib %s sums wrong on a CPU as it is set now (jax-ml/jax#39103): leave --%s out of XLA_FLAGS, and import jssl "
      "before JAX computes anything",
      _jaxlib(),
      _FLAG,
    )


@functools.cache
def _jaxlib() -> str:
  return importlib.metadata.version("jaxlib")


def _numbers(version: str) -> tuple[int, ...]:
  return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
