"""Networks in the names of other codes: `save` writes what `load`, and these codes, read."""

from collections.abc import Callable, Sequence
import pathlib
from typing import Any, NamedTuple

from jssl.arrays import by
from jssl.errors import ConfigError, nearest
from jssl.files import dump_json, user_path, write_whole
from jssl.interop import big_vision, files, huggingface_write, huggingface_write_mae, timm
from jssl.interop.formats import Preprocessing, Written
from jssl.interop.pretrained import held, Pretrained


class Goal(NamedTuple):
  """A format that networks are written in.

  Attributes:
    write: what of a network's weights and numbers it has place for.
    file: the name of the file with the weights.
    library: that reads it, as a model card names it.
    use: how, in Python; `{path}` is the folder, `{model}` the class there.
    kinds: of networks that it holds, by their function.
    write_mae: the same of an encoder with a decoder of MAE, normalised pixels or not; None if it has no place for one.
  """

  write: Callable[[Pretrained, Preprocessing], Written]
  file: str
  library: str
  use: str
  kinds: tuple[str, ...] = ("vit",)
  write_mae: Callable[[Pretrained, Pretrained, bool], Written] | None = None


GOALS = dict(
  hf=Goal(
    huggingface_write.write,
    "model.safetensors",
    "transformers",
    'transformers.{model}.from_pretrained("{path}")',
    tuple(huggingface_write.WRITERS),
    huggingface_write_mae.write,
  ),
  timm=Goal(timm.write, "model.safetensors", "timm", 'timm.create_model("local-dir:{path}", pretrained=True)'),
  big_vision=Goal(big_vision.write, "model.npz", "big_vision", 'dict(numpy.load("{path}/model.npz"))'),
)


def save(
  found: Pretrained,
  path: str | pathlib.Path,
  format: str,  # the field's word for it  # noqa: A002
  *,
  decoder: Pretrained | None = None,
  norm_pix_loss: bool | None = None,
  size: int | tuple[int, int] | None = None,
  preprocessing: Preprocessing | None = None,
  license: str | None = None,  # as model cards call it  # noqa: A002
  about: Sequence[str] = (),
) -> Written:
  """Writes a network for other codes: weights, `config.json`, `preprocessor_config.json` and a model card, `README.md`.

  `load(path, format)` gives the same network back; positions that are fixed become a table on the way, which `load` knows
  again.

  Args:
    found: the network, without heads (`found.backbone()`); adapters are merged.
    path: a folder, which is made and must be empty.
    format: a key of `GOALS`: "hf" (transformers), "timm" or "big_vision".
    decoder: MAE's, beside the encoder, without heads, for "hf" (ViTMAEForPreTraining).
    norm_pix_loss: whether the decoder predicts each patch's pixels normalised, which no array tells.
    size: of the images that it will see, for which positions are made as the network makes them; None for those of the
      network, where it has one (a ViT). At yet other sizes each code makes positions its own way.
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
  backbone = held(format, found, goal.kinds)
  native, sides = getattr(backbone, "image_size", None), (size, size) if isinstance(size, int) else size
  shown = native or sides
  if preprocessing is None and shown is None:
    raise ConfigError(f"fn='{found.network['fn']}' is for images of any size: give the `size` of those that it will see")
  seen = preprocessing or Preprocessing(shown, found.mean, found.std)
  notes: tuple[str, ...] = ()
  if sides is not None:
    sides = tuple(sides)
    if native is not None and sides != native:
      found = found.tabled(cls_position=backbone.cls_position, size=sides)
      made = backbone.position not in ("rope", "none")
      notes = (f"positions are made for images of {by(sides)} pixels, its own are for {by(native)}",) if made else ()
    seen = seen if sides == seen.size else seen._replace(size=sides, resize_to=None)
  written = _written(format, found, seen, decoder, norm_pix_loss)
  written = written._replace(notes=(*notes, *written.notes))
  folder.mkdir(parents=True, exist_ok=True)
  files.write(folder / goal.file, written.weights)
  write_whole(folder / "config.json", dump_json(written.config, indent=2))
  if seen.mean is not None:
    write_whole(folder / "preprocessor_config.json", dump_json(_processor(seen), indent=2))
  write_whole(folder / "README.md", _card(folder, found, goal, written, seen, license, about))
  return written


def _written(name: str, found: Pretrained, seen: Preprocessing, decoder: Pretrained | None, norm_pix_loss) -> Written:
  goal = GOALS[name]
  if decoder is None:
    if norm_pix_loss is not None:
      raise ConfigError("norm_pix_loss is said of a decoder: give the decoder too")
    return goal.write(found, seen)
  if goal.write_mae is None:
    raise ConfigError(f"{name} holds a backbone alone, not a decoder beside it")
  if norm_pix_loss is None:
    raise ConfigError("whether the decoder predicts normalised pixels is in no array: give norm_pix_loss=True or False")
  return goal.write_mae(found, decoder, norm_pix_loss)


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
    f"{_kind(found, written)}, from `{found.source}`, written by jssl.",
    "",
    f"    {goal.use.format(path=folder, model=(written.config.get('architectures') or ('',))[0])}",
    "",
    f"Images: {resized}centre crop {by(seen.size)}{colours}.",
    "",
    f"Licence of the weights: {license or 'not known; that of their source, and of its data, holds'}.",
    "",
    f"Network: `{found.network['fn']}({', '.join(numbers)})`.",
    *(["", "Notes:", "", *(f"- {note}." for note in notes)] if notes else []),
    *(["", *about] if about else []),
  ]
  return "\n".join(lines) + "\n"


def _kind(found: Pretrained, written: Written) -> str:
  net: Any = found.module.backbone
  if found.network["fn"] != "vit":
    return f"A backbone of the kind `{found.network['fn']}`"
  decoder = " with MAE's decoder" if "decoder_hidden_size" in written.config else ""
  size = f"{net.depth} blocks of width {net.width} on patches of {by(net.patch_size)} pixels"
  return f"A vision transformer{decoder} of {size}"
