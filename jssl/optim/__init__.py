"""From a config's numbers to one optax transformation.

Parameters are spoken of by path, `"student/backbone/Transformer/encoderblock_0/LayerNorm_0/scale"`, and picked by
regular expressions that are searched in it (`re.search`). An expression that picks nothing is an error.

    adamw   clip -> Adam -> + wd w -> x lr          decoupled decay, as torch and optax have it: lr wd w
    lamb    clip -> Adam -> + wd w -> trust ratio -> x lr
    sgd     clip -> + wd w -> momentum -> x lr      coupled decay, as torch has it
    lars    clip -> + wd w -> trust ratio -> momentum -> x lr
    larc    the same with NVIDIA apex's trust ratio, eta |w| / (|g| + wd |w| + 1e-8), as SwAV has it

With `classic_momentum` the last two change places: of a step that was taken at another rate the momentum keeps that rate. So
has SimCLR's LARS; torch's SGD, and the LARS of Barlow Twins, VICReg and BYOL, have the order above.

Biases and parameters of one dimension (norms, scales) are neither decayed nor adapted by a trust ratio: a parameter
counts as a bias by its name, since the biases of an attention are `[heads, head_dim]`. This is DINO's rule
(facebookresearch/dino, utils.py), by which class tokens and position embeddings are decayed; `no_decay` adds to it, and
`decay` takes from it what the authors keep in an array of two dimensions, or with `(".",)` everything, as torch does if
it is given one list of parameters.

Known deviations. LAMB leaves undecayed parameters unadapted, like You et al.'s code and unlike `optax.lamb`. Schedules
move at every step where some official codes move once an epoch, and reach the peak at step `warmup`, one step after
codes that draw the warm-up with `linspace(0, peak, warmup)`. I-JEPA's and MSN's codes read those of their rates and decay
one step ahead, SimMIM's its rates one step behind. A global norm is cut without the 1e-6 that torch adds to it.

`groups` gives some of the parameters numbers of their own, and the rest keeps those of `config.optim`:

    groups = dict(critic=dict(params="^critic/", lr=1e-4, b1=0.5, clip=None, every=5))

Each group is an optimizer for itself: a global norm is that of the group's gradient, and a group with `every=5` moves,
and its moments too, at every fifth update only, by the gradient of that step. A parameter belongs to the first group
that picks it.
"""

from jssl.optim.config import default_optim_config, layer_factors, NAMES
from jssl.optim.optimizer import make_optimizer, OptimState

__all__ = ["NAMES", "OptimState", "default_optim_config", "layer_factors", "make_optimizer"]
