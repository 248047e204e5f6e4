"""The pages under docs/: their code runs, their commands are ones that there are, and their links lead somewhere."""

import doctest
import pathlib
import re
import shlex
import sys

import numpy as np
from PIL import Image
import pytest

from docs import hooks, methods, reference
from experiments import papers
from jssl import losses
from jssl.__main__ import COMMANDS
from jssl.config import default_config, load_config, override

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
  str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
# Pages whose code trains nothing and traces no method.
QUICK = {f"docs/cookbook/{name}.md" for name in ("collapse", "many_hosts", "not_finite", "one_gpu", "own_loss", "own_mask")}
QUICK |= {f"docs/{name}.md" for name in ("choices", "data", "runs", "studies")}


def blocks(text: str, language: str) -> list[str]:
  return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def with_code():
  for page, text in PAGES.items():
    if blocks(text, "python"):
      yield pytest.param(page, marks=[] if page in QUICK else pytest.mark.slow)


@pytest.fixture
def place(tmp_path, monkeypatch):
  """A folder to work in, as a reader's: `photos`, and `dinov2-small` as the hub has it, but with random weights."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  before = set(sys.modules)
  rng = np.random.default_rng(0)
  for i in range(32):
    path = tmp_path / "photos" / ("cats" if i % 2 else "dogs") / f"{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (64, 72, 3), dtype=np.uint8)).save(path)
  yield tmp_path
  for name in set(sys.modules) - before:
    if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
      del sys.modules[name]


def write_modules(text: str) -> None:
  """The blocks that begin with a file's name, as that file."""
  for block in blocks(text, "python"):
    if name := re.match(r"# (\w+\.py)\n", block):
      pathlib.Path(name[1]).write_text(block)


@pytest.mark.parametrize("page", [*with_code()])
def test_code_of_a_page(page, place):
  text = PAGES[page]
  write_modules(text)
  if "dinov2-small" in text:
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained("dinov2-small")
  names, runner = {"__name__": "page"}, doctest.DocTestRunner(verbose=False)
  for i, block in enumerate(blocks(text, "python")):
    if block.startswith(">>>"):
      runner.run(doctest.DocTestParser().get_doctest(block, names, page, None, 0), clear_globs=False)
    else:
      exec(compile(block, f"{page}, block {i}", "exec"), names)  # noqa: S102
  assert not runner.summarize(verbose=False).failed


def commands(text: str):
  for block in blocks(text, "sh"):
    for line in block.replace("\\\n", "").splitlines():
      words = shlex.split(line, comments=True)
      if "-m" in words:
        yield words[words.index("-m") + 1], words[words.index("-m") + 2 :]


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if [*commands(text)]])
def test_commands_of_a_page(page, place):
  write_modules(PAGES[page])
  known = {module: name for name, (module, _) in COMMANDS.items()} | {"jssl.report": "report"}
  for module, words in commands(PAGES[page]):
    assert module in known, module
    file = ROOT / (module.replace(".", "/") + ("/__main__.py" if module == "jssl.report" else ".py"))
    flags = {word.split("=")[0] for word in words if word.startswith("--") and not word.startswith("--config.")}
    assert [flag for flag in flags if f'"{flag}"' not in file.read_text()] == []
    config = load_config(words[words.index("--config") + 1]) if "--config" in words else default_config()
    override(config, [word for word in words if word.startswith("--config.")])


def test_links_of_the_pages():
  """They are those of files: mkdocs holds that those of the site lead somewhere too."""
  for page, text in PAGES.items():
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", prose):
      assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), (page, target)
  navigation = (ROOT / "mkdocs.yml").read_text()
  assert [page for page in PAGES if page != "README.md" and page.removeprefix("docs/") not in navigation] == []


def test_links_become_those_of_the_site():
  link = lambda text, repository=None: hooks.linked(text, "docs/cookbook/own_loss.md", "cookbook/own_loss.md", repository)
  assert link("[a](../data.md#x)") == "[a](../data.md#x)"
  assert link("[a](../../README.md#methods)") == "[a](../index.md#methods)"
  assert link("[`mae`](../../configs/images/mae.py)") == "[`mae`](../methods/mae.md)"
  assert link("[losses](../../jssl/losses)") == "[losses](../api/losses.md)"
  assert link("[a](../../jssl/train.py)") == "a"
  assert link("[a](../../jssl/train.py)", "https://h/o/r/") == "[a](https://h/o/r/blob/main/jssl/train.py)"
  for text in ("[a](https://x.y)", "[a](#there)", "[a](nothing.md)", "```\n[a](../../jssl/train.py)\n```"):
    assert link(text) == text


def test_page_of_a_method():
  text = methods.page("mae", papers.methods()["mae"])
  assert text.startswith("# MAE\n\nEncode a quarter of the patches, decode the others' pixels.")
  assert "Paper: [MAE](https://arxiv.org/abs/2111.06377)." in text
  assert re.search(r"^masking  m +random_patch_mask .* m/mask bool\[64,64\]$", text, re.MULTILINE)
  assert "MAE, fine-tuned with 10 labels a class, is better than the same network from scratch | **shown** | +0.1" in text
  assert "facebookresearch/mae: PRETRAIN.md" in text and "Five optimizer steps" in text
  assert 'config.losses = dict(rec=dict(fn="mae_loss"' in text


def test_pages_of_the_api():
  text = reference.page(losses)
  assert [name for name in losses.__all__ if f"## `{name}`" not in text] == []
  assert "momentum" in text.partition("## `tico_loss`")[2].partition("\n## ")[0]  # a Stateful: what its `apply` says
  found = reference.markdown(
    "Says a < b.\n\nArgs:\n  x: `[n]`,\n    more of it.\n  y, z: two.\n\nReturns:\n  a*b.\n\nExample:\n\n  >>> 1\n  1"
  )
  assert found == (
    "Says a \\< b.\n\n**Args**\n\n- `x`: `[n]`,\n  more of it.\n- `y, z`: two.\n\n**Returns**\n\na\\*b.\n\n"
    "**Example**\n\n```pycon\n>>> 1\n1\n```"
  )


def test_what_the_readme_says_is_checked():
  """Which methods are held against the authors' code, and how."""
  steps = methods.stepwise()
  assert len(steps) == 14
  cells = dict(re.findall(r"^\| \[`(\w+)`\]\(.*\| ([\w, ]+) \|$", PAGES["README.md"], re.MULTILINE))
  assert len(cells) > 45
  for name, cell in cells.items():
    kinds = [*["preset"] * (name in methods.FACTS), *["steps"] * (name in steps)]
    assert cell == (", ".join(kinds) or "paper"), name
