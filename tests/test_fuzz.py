"""Parsers of what others wrote: any text and any bytes give a value or an error of one line, never another exception.

The examples are the same every time; `pytest tests/test_fuzz.py --hypothesis-profile=search` looks for others.
"""

import io
import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pytest

from jssl import checkpoint, data, workdirs
from jssl import config as configs
from jssl.errors import ConfigError
from tests import methods

KEYS = st.sampled_from(sorted(configs.flatten(methods.small("mae")))) | st.text(max_size=20)
VALUES = st.text(max_size=20) | st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
).map(repr)
JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@given(
  st.lists(st.tuples(KEYS, VALUES).map(lambda pair: f"--config.{pair[0]}={pair[1]}") | st.text(max_size=30), max_size=3)
)
def test_overrides(arguments):
  config = methods.small("mae")
  try:
    configs.override(config, arguments)
    configs.check_config(config)
  except ConfigError as error:
    assert str(error)


@given(
  JSON
  | st.builds(lambda config, rest: {"config": config} | rest, JSON, st.dictionaries(st.text(max_size=5), JSON, max_size=2))
)
def test_configs_of_runs(tmp_path_factory, record):
  workdir = tmp_path_factory.mktemp("run")
  (workdir / "config.json").write_text(json.dumps(record))
  try:
    workdirs.trusted_config(workdir)
  except ConfigError as error:
    assert str(workdir) in str(error)


@given(st.text(max_size=40) | JSON.map(json.dumps))
def test_checksums(tmp_path_factory, text):
  """Whatever the record says, a checkpoint that is not what it says is damaged."""
  workdir = tmp_path_factory.mktemp("run")
  (workdir / "checkpoints" / "3").mkdir(parents=True)
  (workdir / "checkpoints" / "3" / "state").write_bytes(b"weights")
  path = checkpoint.checksums_path(workdir / "checkpoints", 3)
  path.parent.mkdir()
  path.write_text(text)
  assert "step 3" in checkpoint.find_damage(workdir / "checkpoints", 3)


def encoded(kind: str) -> bytes:
  file = io.BytesIO()
  Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)).save(file, kind)
  return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8), end=st.integers(0, 2000))
def test_image_folders(tmp_path_factory, kind, changes, end):
  """A whole image beside one with changed and missing bytes: the folder always gives two pictures of the right size."""
  content = bytearray(encoded(kind))
  for place, value in changes:
    content[place % len(content)] = value
  folder = tmp_path_factory.mktemp("images")
  (folder / "a.png").write_bytes(encoded("PNG"))
  (folder / f"b.{kind.lower()}").write_bytes(content[:end])
  batch = data.load(f"folder:{folder}", canvas=8).get([0, 1])
  assert batch["image"].shape == (2, 8, 8, 3) and batch["image"].dtype == np.uint8
  assert (batch["extent"] >= 1).all() and (batch["extent"] <= 8).all()
