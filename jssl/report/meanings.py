"""What a curve of a run means, in a line."""

from collections.abc import Mapping
import inspect
import re

from jssl import nodes
from jssl.errors import ConfigError

# By the end of a metric's name, the first that fits. The numbers of `monitor/` are measured on held-out images.
_MEANINGS = (
  (
    r"monitor/.*knn.*",
    "Held-out images whose nearest neighbours have their class: should rise. Flat: nothing new is learnt.",
  ),
  (r"monitor/.*(probe|linear).*", "A linear classifier beside the run, which does not teach it: should rise."),
  (
    r"monitor/.*(rankme|lidar|participation).*",
    "Dimensions that the features use. A fall towards 1 is a collapse of dimensions.",
  ),
  (r"monitor/seconds", "The time that these measurements took."),
  (r"param\w*_norm/.*", "How large a network's weights are: growth that does not slow down precedes trouble."),
  (
    r"update_norm/.*",
    "How far a step moves a network's weights: near 0 it does not learn, jumps are a rate that is too high.",
  ),
  (r"ema_distance/.*", "How far an EMA network is from what it follows, as a share of that: it falls as the run settles."),
  (r"dimensions/.*", "Dimensions that the embeddings of a batch use: near 1 they lie on a line, which is a collapse."),
  (r"loss", "The weighted sum of all losses, which the optimizer lowers. It says little of what the features are worth."),
  (r".*gradient_norm.*", "How long the gradient is, before clipping. Spikes: steps that are too large, or odd examples."),
  (r"nonfinite", "Updates left out so far because the loss or the gradient was not finite: should stay at 0."),
  (r"(examples|images)_per_second", "Speed, without the time spent on compiling."),
  (r"unreadable", "Files that could not be read so far, in whose place others were taken."),
  (r"(.*/)?lr|.*learning_rate", "The learning rate."),
  (
    r"spread/.*|monitor/.*/spread",
    "How far apart the embeddings of a batch point: near 0 all are alike (collapse), near 1 they spread.",
  ),
  (
    r".*teacher_entropy",
    "How undecided the teacher is, as a share of ln K. Near 1 it says nothing, near 0 the same of all: both are a collapse.",
  ),
  (r".*code_entropy", "How evenly the visual words are used, as a share of the most. Near 0 one word stands for all."),
  (r".*/kl", "What the student still has to learn of the teacher: the loss without the teacher's own entropy."),
  (r".*/accuracy", "How often the answer that the loss asks for comes first. It depends on the number of choices."),
  (r".*/hidden", "The share of the image that is hidden, or that the loss looks at."),
  (r".*/(invariance|cosine)", "How well two views of an image agree."),
  (r".*/variance", "The part that keeps every dimension varying: 0 where all do."),
  (r".*/(covariance|off_diagonal)", "How far dimensions repeat each other: lower is less redundant."),
  (r".*/diagonal", "The mean correlation of a dimension with itself in the other view: 1 is the aim."),
  (r".*/used", "The share of the prototypes that the batch uses: near 0 is a collapse to few."),
  (r".*/second_moment", "The mean square of the embeddings: 1 is that of a standard normal distribution."),
  (r".*/distance", "How far apart neighbours are: a fall to 0 is a collapse."),
  (r".*/objective", "The objective over the whole data set, as a moving average estimates it."),
  (r".*/weight", "The weight of this loss at this step, as its schedule has it."),
  (r".*/(temp|temperature|.*_temp)", "The temperature at this step: lower is sharper."),
  (r".*/(decay|momentum)", "How slowly an average follows: 1 is not at all."),
  (r".*/log_variance", "The learnt logarithm of a loss's weight: higher weighs it less."),
)


def meaning(name: str, losses: Mapping[str, str] = {}) -> str:
  """What a metric means.

  Args:
    name: of the metric.
    losses: name of a loss -> what it is, see `loss_meanings`.
  """
  if name in losses:
    return losses[name]
  found = next((words for pattern, words in _MEANINGS if re.fullmatch(pattern, name)), "")
  writer = name.partition("/")[0]
  return found or (f"Reported by '{writer}'." if "/" in name else "")


def loss_meanings(config) -> dict[str, str]:
  """The first sentence of what each loss's function says of itself."""
  found = {}
  for name, entry in config.losses.items():
    try:
      fn = nodes.resolve(f"config.losses.{name}", entry.fn, "losses")
    except ConfigError:
      continue
    fn = getattr(fn, "apply", fn)
    first = (inspect.getdoc(fn) or "").partition("\n\n")[0].replace("\n", " ")
    sentence = re.split(r"(?<=\.)\s", first)[0].replace("`", "")
    title = entry.fn if isinstance(entry.fn, str) else fn.__name__
    found[name] = f"{title}: {sentence}" if sentence else title
  return found
