"""Targets: what the student must predict. No gradient flows through them."""

from jssl.targets.centers import centered_softmax
from jssl.targets.pixels import patch_pixels, patchify, patchify_mask, unpatchify
from jssl.targets.tokens import layer_norm_tokens, same, take_tokens

__all__ = [
    "centered_softmax", "layer_norm_tokens", "patch_pixels", "patchify", "patchify_mask", "same", "take_tokens",
    "unpatchify",
]
