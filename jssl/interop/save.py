"""Networks in the names of other codes: `save` writes what `load`, and these codes, read."""

from collections.abc import Callable, Sequence
import pathlib
from typing import Any, NamedTuple

from jssl.arrays import by
from jssl.errors import ConfigError, nearest
from jssl.files import dump_json, user_path, write_whole
from jssl.interop import big_vision, files, huggingface_write, timm
from jssl.interop.formats import Preprocessing, Written
from jssl.interop.pretrained import held_vit, Pretrained


class Goal(NamedTuple):
  """A format that networks are written in.

  Attributes:
    write: what of a network's weights and numbers it has place for.
    file: the name of the file with the weights.
    library: that reads it, as a model card names it.
    use: how, in Python; `{path}` is the folder.
  """

  write: Callable[[Pretrained, Preprocessing], Written]
  file: str
  library: str
  use: str


GOALS = dict(
  hf=Goal(huggingface_write.write, "model.safetensors", "transformers", 'transformers.AutoModel.from_pretrained("{path}")'),
  timm=Goal(timm.write, "model.safetensors", "timm", 'timm.create_model("local-dir:{path}", pretrained=True)'),
  big_vision=Goal(big_vision.write, "model.npz", "big_vision", 'dict(numpy.load("{path}/model.npz"))'),
)


def save(
  found: Pretrained,
  path: str | pathlib.Path,
  format: str,  # the field's word for it  # noqa: A002
  *,
  size: int | tuple[int, int] | None = None,
  preprocessing: Preprocessing | None = None,
  license: str | None = None,  # as model cards call it  # noqa: A002
  about: Sequence[str] = (),
) -> Written:
  """Writes a ViT for other codes: weights, `config.json`, `preprocessor_config.json` and a model card, `README.md`.

  `load(path, format)` gives the same network back; positions that are fixed become a table on the way, which `load` knows
  again.

  Args:
    found: the network, without heads (`found.backbone()`); adapters are merged.
    path: a folder, which is made and must be empty.
    format: a key of `GOALS`: "hf" (transformers), "timm" or "big_vision".
    size: of the images that it will see, for which positions are made as the network makes them; None for those of the
      network. At yet other sizes each code makes positions its own way.
    preprocessing: of the images; None for the network's own mean, std and image size.
    license: of the weights, such as "apache-2.0", for the card; None if it is not known.
    about: lines of the card in Markdown: where the weights come from.

  Returns:
    what was written, with what stayed behind.

  Raises:
    ConfigError: the format has no place for the network; says for what of it. Or the folder is not empty.
  """
  if format not in GOALS:
    raise ConfigError(f"networks are not written as '{format}'; {nearest(format, GOALS)}")
  folder, goal = user_path(path), GOALS[format]
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise ConfigError(f"{folder} is there already: name another folder")
  found = found.merged()
  vit = held_vit(format, found)
  seen = preprocessing or Preprocessing(vit.image_size, found.mean, found.std)
  notes: tuple[str, ...] = ()
  if size is not None:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if sides != vit.image_size:
      found = found.tabled(cls_position=vit.cls_position, size=sides)
      notes = (f"positions are made for images of {by(sides)} pixels, its own are for {by(vit.image_size)}",)
    seen = seen if sides == seen.size else seen._replace(size=sides, resize_to=None)
  written = goal.write(found, seen)
  written = written._replace(notes=(*notes, *written.notes))
  folder.mkdir(parents=True, exist_ok=True)
  files.write(folder / goal.file, written.weights)
  write_whole(folder / "config.json", dump_json(written.config, indent=2))
  if seen.mean is not None:
    write_whole(folder / "preprocessor_config.json", dump_json(_processor(seen), indent=2))
  write_whole(folder / "README.md", _card(folder, found, goal, written, seen, license, about))
  return written


def _processor(seen: Preprocessing) -> dict[str, Any]:
  """The view as an image processor of transformers."""
  height, width = seen.size
  return dict(
    image_processor_type="BitImageProcessor",
    do_convert_rgb=True,
    do_resize=True,
    size=dict(shortest_edge=seen.resize_to or max(height, width)),
    resample=dict(bilinear=2, bicubic=3)[seen.interpolation],
    do_center_crop=True,
    crop_size=dict(height=height, width=width),
    do_rescale=True,
    rescale_factor=1 / 255,
    do_normalize=True,
    image_mean=list(seen.mean or ()),
    image_std=list(seen.std or ()),
  )


def _card(folder, found: Pretrained, goal: Goal, written: Written, seen: Preprocessing, license, about) -> str:  # noqa: A002
  vit: Any = found.module.backbone
  numbers = [f"{key}={value!r}" for key, value in sorted(found.network.items()) if key != "fn"]
  head = [f"library_name: {goal.library}", "tags: [image-feature-extraction, self-supervised-learning, jssl]"]
  head += [f"license: {license}"] if license else []
  colours = f", mean {seen.mean}, std {seen.std}" if seen.mean is not None else "; mean and std are not known"
  resized = f"shorter side to {seen.resize_to or max(seen.size)} pixels ({seen.interpolation}), "
  left = (
    f"`{name}` stays behind: the format has no place for it, and features do not depend on it" for name in written.left
  )
  notes = [*found.notes, *written.notes, *left]
  lines = [
    "---",
    *head,
    "---",
    f"# {folder.name}",
    "",
    f"A vision transformer of {vit.depth} blocks of width {vit.width} on patches of {by(vit.patch_size)} pixels, "
    f"from `{found.source}`, written by jssl.",
    "",
    f"    {goal.use.format(path=folder)}",
    "",
    f"Images: {resized}centre crop {by(seen.size)}{colours}.",
    "",
    f"Licence of the weights: {license or 'not known; that of their source, and of its data, holds'}.",
    "",
    f"Network: `vit({', '.join(numbers)})`.",
    *(["", "Notes:", "", *(f"- {note}." for note in notes)] if notes else []),
    *(["", *about] if about else []),
  ]
  return "\n".join(lines) + "\n"
