"""What mkdocs calls while it builds the site: pages made out of the tree, and links from pages to the tree's files."""

import functools
import pathlib
import posixpath
import re

from docs import methods, reference
from jssl.config import config_modules

ROOT = pathlib.Path(__file__).parents[1]
# Pages that are files elsewhere in the tree.
COPIES = {
  "README.md": "index.md",
  "experiments/README.md": "results.md",
  "PAPERS.md": "papers.md",
  "CONTRIBUTING.md": "contributing.md",
  "CHANGELOG.md": "changelog.md",
  "SECURITY.md": "security.md",
}


@functools.cache
def generated() -> dict[str, tuple[str, str]]:
  """Page -> its text, and the file from which its links go out; of pages of methods and of the API it is the README."""
  pages = {page: ((ROOT / file).read_text(), file) for file, page in COPIES.items()}
  for folder, module in (("methods", methods), ("api", reference)):
    pages |= {f"{folder}/{name}.md": (text, "README.md") for name, text in module.pages().items()}
  return pages


def on_files(files, config):
  """Adds what is generated to the files, and to the nav where that names `methods/index.md` and `api/index.md`."""
  from mkdocs.structure.files import File  # pylint: disable=g-import-not-at-top

  for page, (text, _) in generated().items():
    files.append(File.generated(config, page, content=text))
  for image in re.findall(r"!\[.*?\]\((\S+?)\)", (ROOT / "README.md").read_text()):
    files.append(File.generated(config, image, abs_src_path=str(ROOT / image)))
  for entry in config["nav"]:
    for listed in entry.values() if isinstance(entry, dict) else ():
      if isinstance(listed, list) and str(listed[0]).endswith("/index.md"):
        folder = posixpath.dirname(listed[0])
        listed += [page for page in generated() if page.startswith(f"{folder}/") and page not in listed]
  return files


def on_page_markdown(markdown, page, config, files):
  del files
  uri = page.file.src_uri
  _, file = generated().get(uri, ("", f"docs/{uri}"))
  return linked(markdown, file, uri, config["repo_url"])


def linked(markdown: str, file: str, page: str, repository: str | None) -> str:
  """The text of `file` with its links to the tree's files as those of `page`.

  A file that is a page is linked as that, another one in the repository; where its address is not known, the link's text is
  left alone. What there is not stays as it is, for mkdocs to complain of.
  """

  def link(found):
    text, target, anchor = found[1], found[2], found[3] or ""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
    if "://" in target or target.startswith("mailto:") or not (ROOT / place).exists():
      return found[0]
    own = _page(place)
    if own or text.startswith("!"):
      return f"{text}({posixpath.relpath(own or place, posixpath.dirname(page) or '.')}{anchor})"
    return f"{text}({repository.rstrip('/')}/blob/main/{place}{anchor})" if repository else text[1:-1]

  parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
  pattern = r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)#\s]+)(#[^)\s]*)?\)"
  return "".join(part if part.startswith("```") else re.sub(pattern, link, part) for part in parts)


@functools.cache
def _page(place: str) -> str | None:
  """The page that a file or a folder of the tree is, if it is one."""
  folder, _, name = place.rpartition("/")
  configs = {module.removeprefix("jssl.").replace(".", "/") + ".py": method for method, module in config_modules().items()}
  if place in COPIES:
    return COPIES[place]
  if place in configs:
    return f"methods/{configs[place]}.md"
  if folder == "jssl" and name in reference.ROOMS:
    return f"api/{name}.md"
  return place.removeprefix("docs/") if place.startswith("docs/") and place.endswith(".md") else None
