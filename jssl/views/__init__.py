"""What a network sees: pure functions from a key and an image to an image."""

from jssl.views.colour import (CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD, adjust_brightness, adjust_colors,
                               adjust_contrast, adjust_hue, adjust_saturation, batch_color_jitter, color_jitter,
                               gaussian_blur, grayscale, normalize, random_gaussian_blur, random_grayscale,
                               random_solarize, solarize)
from jssl.views.fourier import fourier_augment, low_frequency_crop, replace_low_amplitudes, standardize_styles
from jssl.views.geometry import (center_crop, horizontal_flip, random_crop_box, random_horizontal_flip,
                                 random_resized_crop, resize, resize_shorter_side, resized_crop)
from jssl.views.lab import rgb_to_lab, split_lab
from jssl.views.mixing import cutmix, mix_pairs, mixup
from jssl.views.pipeline import augment, color_view, resize_view
from jssl.views.pretext import rotate, tile_pair
from jssl.views.randaugment import rand_augment

__all__ = [
    "CIFAR_MEAN", "CIFAR_STD", "IMAGENET_MEAN", "IMAGENET_STD", "adjust_brightness", "adjust_colors",
    "adjust_contrast", "adjust_hue", "adjust_saturation", "augment", "batch_color_jitter", "center_crop",
    "color_jitter", "color_view", "cutmix", "fourier_augment", "gaussian_blur", "grayscale", "horizontal_flip",
    "low_frequency_crop", "mix_pairs", "mixup", "normalize", "rand_augment", "random_crop_box",
    "random_gaussian_blur", "random_grayscale", "random_horizontal_flip", "random_resized_crop", "random_solarize",
    "replace_low_amplitudes", "resize", "resize_shorter_side", "resize_view", "resized_crop", "rgb_to_lab",
    "rotate", "solarize", "split_lab", "standardize_styles", "tile_pair",
]
