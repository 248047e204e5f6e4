"""What a network sees: pure functions from a key and an image to an image."""

from jssl.views.colour import (CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD, adjust_brightness, adjust_colors,
                               adjust_contrast, adjust_hue, adjust_saturation, color_jitter, gaussian_blur, grayscale,
                               normalize, random_gaussian_blur, random_grayscale, random_solarize, solarize)
from jssl.views.geometry import (center_crop, horizontal_flip, random_crop_box, random_horizontal_flip,
                                 random_resized_crop, resize, resize_shorter_side, resized_crop)
from jssl.views.pipeline import augment, resize_view

__all__ = [
    "CIFAR_MEAN", "CIFAR_STD", "IMAGENET_MEAN", "IMAGENET_STD", "adjust_brightness", "adjust_colors", "adjust_contrast",
    "adjust_hue", "adjust_saturation", "augment", "center_crop", "color_jitter", "gaussian_blur", "grayscale",
    "horizontal_flip", "normalize", "random_crop_box", "random_gaussian_blur", "random_grayscale",
    "random_horizontal_flip", "random_resized_crop", "random_solarize", "resize", "resize_shorter_side", "resize_view",
    "resized_crop", "solarize",
]
