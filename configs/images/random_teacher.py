"""Random teacher: a student matches a network that was never trained, and comes to know more than it.

Sarnthein, Bachmann, Anagnostidis, Hofmann, "Random Teachers are Good Teachers", arXiv 2302.12091; code safelix/dinopl.

    demo       ViT of width 64, depth 3, whole scenes at 32 px, patch 4, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 256, 100 epochs: linear probe 46.0 % against the teacher's 35.5 %,
               and 39.0 % on pixels, in the paper

The two see the same image, un-augmented; the teacher is frozen at its random start, with temperature 1 and no centre.
What the student learns is how to get back to it, from `near`: 0 would be the teacher itself, 1 an independent draw.
`--config.networks.student.near="('teacher', 1.0)"` is the paper's control.

On CIFAR-10 alpha is the paper's 1e-10. That is below float32's rounding, so nearly all weights are the teacher's own;
the student leaves because its BatchNorm normalises by the batch, which the teacher's does not. A network without
BatchNorm would stay: the demo's alpha is 1e-3. Compute is float32 throughout. The last layer's weights are normalised,
as the paper says; the repository's Lightning code leaves that out by mistake.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  p = common.pick(
    preset,
    demo=dict(
      alpha=1e-3,
      net=dict(fn="vit", image_size=32, patch_size=4, **common.TINY),
      head=dict(common.TINY_HEAD, hidden=256, prototypes=1024),
    ),
    cifar10=dict(alpha=1e-10, net=common.BACKBONES["cifar10"], head=dict(hidden=2048, bottleneck=256, prototypes=65536)),
  )
  config = common.base(preset)
  net = dict(**p.net, heads=dict(logits=dict(fn="dino_head", reads=("features",), **p.head)))
  config.dtype = "float32"
  config.views = dict(v=common.view(preset, size=32) | dict(fn="resize_view"))
  config.networks = dict(teacher=dict(net, frozen=True), student=dict(net, near=("teacher", p.alpha)))
  config.passes = dict(t=dict(net="teacher", reads=("v",)), s=dict(net="student", reads=("v",)))
  config.targets = dict(y=dict(fn="sinkhorn", reads=("t/logits",), temp=1.0, iterations=0))  # the plain softmax
  config.losses = dict(match=dict(fn="prototype_loss", reads=("s/logits", "y"), student_temp=1.0))

  config.optim.update(dict(name="adamw", lr=1e-3, lr_schedule="constant"))
  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
  else:
    config.update(dict(batch_size=256, total_epochs=100.0))
  return config
