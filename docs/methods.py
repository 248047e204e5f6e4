"""A page for each method: what its config says of itself, what it is expanded to, and what was shown of it."""

import atexit
import functools
import importlib
import inspect
import re
import shutil
import tempfile

import jax
import numpy as np

from experiments import papers
from jssl.config import config_modules, load_config, total_steps
from jssl.errors import ConfigError
from jssl.explain import explain_method
from jssl.interop import Pretrained, save
from jssl.interop.pretrained import build
from jssl.method import Method
from jssl.schedules import Horizon
from tests.preset_facts import convolutional, distillation, masked

FACTS = masked.FACTS | distillation.FACTS | convolutional.FACTS
# What a demo reads: the embedded scenes.
EXAMPLES, SIZE = 4096, 64


def pages() -> dict[str, str]:
  """Name -> page, of all configs of images, and `index`."""
  known = papers.methods()
  table = (papers.ROOT / "README.md").read_text().partition("## Methods\n")[2].partition("\n## ")[0]
  return {"index": f"# Methods\n{table}"} | {name: page(name, known.get(name)) for name in sorted(config_modules())}


def page(name: str, paper: papers.Paper | None) -> str:
  """The page of a method; its links go out from the tree's root."""
  module = _module(name)
  first, _, rest = inspect.cleandoc(module.__doc__).partition("\n")
  lead = first.partition(": ")[2].strip() or first
  title = re.match(r"\[(.*?)\]", paper.paper)[1] if paper else name
  blocks = [
    f"# {title}",
    lead[0].upper() + lead[1:],
    rest.strip(),
    f"Paper: {paper.paper}." if paper else "",
    f"```sh\npython -m jssl.train --config {_demo(name)} --workdir runs/{name}\n```",
    "## What it is made of",
    "The demo, expanded, as `--explain` prints it: networks, and every name that a step writes, in order. "
    "[The four choices](docs/choices.md) says how to read and change it.",
    f"```text\n{expanded(name)}\n```",
    "## What was shown",
    shown(name),
    "## Held against",
    held_against(name),
    "## The config",
    f"`{module.__name__.removeprefix('jssl.').replace('.', '/')}.py`; `--config.key=value` changes any key of it.",
    f"```python\n{inspect.getsource(module).strip()}\n```",
  ]
  return "\n\n".join(block for block in blocks if block) + "\n"


def _module(name: str):
  return importlib.import_module(config_modules()[name])


def _demo(name: str) -> str:
  """How the demo is called: what it reads of another run or begins from, its docstring names."""
  found = re.search(rf"({name}:demo@[\w:/]+)", _module(name).__doc__ or "")
  return found[1] if found else f"{name}:demo"


def expanded(name: str) -> str:
  """The networks and the graph of a demo, of shapes alone."""
  config = _load_demo(name)
  steps = Horizon(total_steps(config, EXAMPLES), EXAMPLES / config.batch_size, config.batch_size)
  method = Method(config, num_examples=EXAMPLES, horizon=steps)
  shapes = dict(image=((SIZE, SIZE, 3), np.uint8), extent=((2,), np.int32), index=((), np.int32), label=((), np.int32))
  batch = {key: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype) for key, (shape, dtype) in shapes.items()}
  variables = jax.eval_shape(lambda: method.init(jax.random.key(0), batch))
  return explain_method(method, variables, batch).replace(_network(), "hf:/folder")


def _load_demo(name: str):
  """The demo; where that begins from a network that exists, from a small one."""
  try:
    return load_config(f"{name}:demo")
  except ConfigError:
    return load_config(f"{name}:demo@{_network()}")


@functools.cache
def _network() -> str:
  """A small ViT as transformers writes it, by its place."""
  folder = tempfile.mkdtemp()
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  entry = dict(fn="vit", image_size=32, patch_size=4, width=48, depth=2, num_heads=3)
  variables = build(entry).init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
  save(Pretrained("drawn", entry, variables, (0.5,) * 3, (0.5,) * 3, {}, (), ()), folder, "hf")
  return f"hf:{folder}"


def shown(name: str) -> str:
  """What the studies say of it."""
  found = papers.shown(name)
  if not found:
    return "Nothing was measured of it by itself."
  return f"{found}\n\nAll methods: [PAPERS.md](PAPERS.md) and [the ledger](experiments/README.md)."


def stepwise() -> set[str]:
  """The methods whose optimizer steps are compared with the authors' code in form: `METHODS` of the tests of parity."""
  texts = [path.read_text() for path in (papers.ROOT / "tests" / "parity").glob("test_steps_*.py")]
  lines = [line for text in texts for line in re.findall(r"^METHODS = dict\((.*)\)$", text, re.MULTILINE)]
  return {name for line in lines for name in re.findall(r"(\w+)=", line)}


def held_against(name: str) -> str:
  """Where the facts stand with which the imagenet preset is compared, and which tests compare more."""
  lines = []
  if name in FACTS:
    lines.append(f"- The `imagenet` preset: {FACTS[name].source} ([how](tests/preset_facts)).")
  if name in stepwise():
    lines.append("- Five optimizer steps: the authors' code in form, with PyTorch ([how](tests/parity)).")
  lines.append(
    "- Its losses, masks and targets: the paper's equations in NumPy's float64, value and gradient ([how](tests))."
  )
  return "\n".join(lines)
