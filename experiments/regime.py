"""What a regime is, and forms of one on other data: a long tail, several styles, few images and labels."""

from collections.abc import Mapping
import dataclasses
import pathlib
import re
from typing import Any

from jssl import config as configs
from jssl import study
from jssl.configs import common

MODULE = "experiments.regimes"  # where functions are that the configs name
HERE = pathlib.Path(__file__).parent / "regimes"
ARM = "with labels"
HEAD_ROOM = 0.1  # by which labels beat the other controls


@dataclasses.dataclass(frozen=True)
class Regime:
  """One regime.

  Attributes:
    name: also of its folder.
    data: what is trained on, as `config.data` names it: name and options.
    train, test: what is evaluated on, as `config.evaluation` has them.
    classes: of its labels; 0 where the control with labels knows objects.
    net: the network, without heads.
    view: numbers of one random view, see `jssl.views.augment`.
    size: of the images in an evaluation, in pixels.
    steps, batch_size, lr: of AdamW with a tenth of the steps to warm up, weight decay 0.05.
    protocols: of its evaluation.
    metrics: title -> metric, by which head-room is measured.
    lower: metrics of which smaller numbers are better.
    controls: beside the network with labels.
    grey: whether images have one channel, and views are to have three.
    colours: whether images have any.
    places: whether the labels of the control are the objects of `scenes`.
  """

  name: str
  data: dict[str, Any]
  train: dict[str, Any]
  test: dict[str, Any]
  classes: int
  net: dict[str, Any]
  view: dict[str, Any]
  size: int
  steps: int
  batch_size: int = 128
  lr: float = 2e-3
  protocols: tuple[str, ...] = ("knn:k=20", "few_labels")
  metrics: dict[str, str] = dataclasses.field(default_factory=lambda: {"kNN": "knn/k20", "ten labels": "few_labels/n10"})
  lower: tuple[str, ...] = ()
  controls: tuple[str, ...] = ("random weights", "raw pixels")
  grey: bool = False
  colours: bool = True
  places: bool = False

  @property
  def folder(self) -> pathlib.Path:
    return HERE / self.name

  def put(self, config):
    """Puts data, steps, optimizer and evaluation into a config, in place; views and networks are the caller's."""
    config.optim.update(dict(name="adamw", lr=self.lr, lr_scale=None, warmup_fraction=0.1))
    with config.optim.ignore_type():  # a method's may be a schedule
      config.optim.weight_decay = 0.05
    return self._put_data(config)

  def _put_data(self, config):
    config.data.update(self.data)
    config.update(dict(batch_size=self.batch_size, total_steps=self.steps, log_every_steps=50, checkpoint_every_steps=250))
    evaluation = dict(train=self.train, test=self.test, size=self.size, protocols=self.protocols)
    config.evaluation.update(evaluation)
    return config

  def views(self, *names: str, **changes) -> dict[str, dict]:
    """Random views of these names, and what they are made of."""
    source = ("rgb", "extent=extent") if self.grey else common.IMAGE
    first = dict(rgb=dict(fn="as_rgb", reads=("image",))) if self.grey else {}
    return first | {name: dict(fn="augment", reads=source, **self.view | changes) for name in names}

  def method(self, name: str):
    """The demo of a method on this regime: its own losses, heads, masks and optimizer.

    Its views keep their sizes and what they do; they crop as much as the regime's do and have its colours, where they change
    any, and its statistics. Networks are as wide and deep as the regime's; those that see patches of 8 px are the regime's.
    Where places are evaluated, all see patches of the regime's size, without which no two could be compared. Blocks that are
    read count from the last one.
    """
    config = self._put_data(configs.load_config(name))
    vits = {name: network for name, network in config.networks.items() if network.get("fn") == "vit"}
    deeper = {name: self.net["depth"] - network.depth for name, network in vits.items()}
    for target in config.targets.values():
      target.reads = _blocks_moved(target.reads, next(iter(deeper.values()), 0))
    source = ("rgb", "extent=extent") if self.grey else common.IMAGE
    views = {view: entry.to_dict() for view, entry in config.views.items() if view != "object"}
    largest = max(entry["size"] for entry in views.values() if "size" in entry and entry["fn"] != "low_frequency_crop")
    for entry in views.values():
      if entry["reads"] in (common.IMAGE, ("object",)):
        entry["reads"] = source
        entry |= dict(scale=self.view["scale"]) if entry.get("size") == largest and "scale" in entry else {}
      entry |= {key: self.view[key] for key in ("mean", "std") if key in self.view and entry.get(key, 0.0) not in (0.0, 1.0)}
      if isinstance(entry.get("jitter"), tuple):
        entry |= {key: self.view[key] for key in ("jitter", "jitter_prob") if key in self.view and key in entry}
      entry |= dict(grayscale=self.view.get("grayscale", 0.0)) if "grayscale" in entry else {}
      entry |= dict(flip=self.view["flip"]) if "flip" in self.view and entry["fn"] == "augment" else {}
    config.views = self.views() | views
    for name, network in vits.items():
      if network.get("readout"):
        network.readout = tuple(block + deeper[name] for block in network.readout if block + deeper[name] > 0)
      if self.places:
        network.patch_size = self.net["patch_size"]
      same = ("width", "depth", "num_heads") + (("stem",) if network.patch_size == self.net["patch_size"] else ())
      network.update({key: self.net[key] for key in same if key in self.net})
    return config

  def labelled(self):
    """The config of the control with labels: the regime's network on its views, and a linear classifier.

    Where places are evaluated, patches of one object are to be alike, and no others.
    """
    config = self.put(configs.default_config())
    if self.places:
      return self._labelled_places(config)
    head = dict(fn="linear_head", output=self.classes, init="mae", reads=("features",))
    config.views = self.views("v")
    config.networks = dict(student=dict(**self.net, heads=dict(classes=head)))
    config.passes = dict(s=dict(net="student", reads=("v",)))
    config.losses = dict(ce=dict(fn="softmax_cross_entropy_loss", reads=("s/classes", "label")))
    return config

  def _labelled_places(self, config):
    """Views are whole images, of which a step sees as many patches as of the regime's views."""
    config.batch_size = self.batch_size * self.view["size"] ** 2 // self.size**2
    config.views = self.views("v", size=self.size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    config.networks = dict(student=self.net | dict(image_size=self.size))
    config.passes = dict(s=dict(net="student", reads=("v",)))
    patch = self.net["patch_size"]
    config.targets = dict(y=dict(fn=f"{MODULE}:patch_objects", reads=("segments",), patch=patch))
    config.losses = dict(con=dict(fn=f"{MODULE}:object_contrast_loss", reads=("s/patch_tokens", "y"), temperature=0.1))
    return config

  def study_table(self, rows, arm: str, columns: Mapping[str, str]) -> str:
    """The arms of a study on this regime, title -> metric, and below them the controls of one of them."""
    if not rows:
      return "Not measured yet."
    controls = {control: f"{control}/" for control in self.controls}
    chosen = [row for row in rows if row["arm"] == arm]
    return f"{study.rows_table(rows, columns)}\n\n{study.controls_table(chosen, self.metrics, controls)}"

  def claims(self) -> list[study.Claim]:
    """That there is head-room: labels beat each of the other controls."""
    return [
      study.claim(
        f"labels beat {control} by {title}",
        ARM,
        ARM,
        metric=(metric, f"{control}/{metric}"),
        at_least=HEAD_ROOM,
        lower=metric in self.lower,
      )
      for title, metric in self.metrics.items()
      for control in self.controls
    ]


def _blocks_moved(reads, by: int):
  """Names of arrays, of which those of blocks, `t/block04`, have numbers that are larger by so much."""
  if isinstance(reads, str):
    return re.sub(r"(?<=/block)\d+$", lambda number: f"{int(number[0]) + by:02d}", reads)
  return tuple(_blocks_moved(read, by) for read in reads)


def derived(entry: dict[str, Any], *by: dict[str, Any]) -> dict[str, Any]:
  """What functions of `jssl.data.algebra` make of data, as `config.data` names it."""
  return dict(name="derived", split=entry["split"], options=dict(of=dict(entry), by=by))


def long_tailed(regime: Regime, many: tuple[int, ...], medium: tuple[int, ...], few: tuple[int, ...]) -> Regime:
  """The regime on a long tail of its classes, of which the first has 100 times as many images as the last.

  What is evaluated on stays balanced; tests tell the three groups of classes apart.
  """
  tail = dict(fn="long_tail", factor=100.0, order=many + medium + few)
  return dataclasses.replace(
    regime,
    name=f"{regime.name}_long_tail",
    data=derived(regime.data, tail),
    test=derived(regime.test, dict(fn="merge_labels", groups=(many, medium, few), to="shot")),
    protocols=("knn:k=20,by=shot", "few_labels:by=shot"),
    metrics=regime.metrics | {"ten labels, few-shot classes": "few_labels/n10_group2"},
  )


def in_styles(regime: Regime, seen: tuple[str, ...], unseen: str) -> Regime:
  """The regime with each image in one of several styles, one of which neither training nor labels have.

  Tests tell the seen styles from the unseen one.
  """
  styled = dict(fn="styled", styles=seen)
  apart = dict(fn="merge_labels", of="domain", groups=(tuple(range(len(seen))), (len(seen),)), to="unseen")
  return dataclasses.replace(
    regime,
    name=f"{regime.name}_styles",
    data=derived(regime.train, styled),
    train=derived(regime.train, styled),
    test=derived(regime.test, dict(fn="styled", styles=(*seen, unseen)), apart),
    protocols=("knn:k=20,by=unseen", "few_labels:by=unseen"),
    metrics={
      "kNN, seen styles": "knn/k20_group0",
      "kNN, unseen style": "knn/k20_group1",
      "ten labels, unseen style": "few_labels/n10_group1",
    },
  )


def with_few(regime: Regime, share: float) -> Regime:
  """The regime on a share of its images, of which 1 % or 10 % have labels."""
  few = derived(regime.data, dict(fn="fraction", share=share))
  return dataclasses.replace(
    regime,
    name=f"{regime.name}_few",
    data=few,
    train=few,
    protocols=("knn:k=20", "few_labels:fractions=(0.01,0.1)"),
    metrics={"kNN": "knn/k20", "1 % of the labels": "few_labels/share0.01", "10 %": "few_labels/share0.1"},
  )
