"""What is done to an image before a network sees it, for whoever does it elsewhere."""

import io
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from alexnet_jax.atomic import write_file
from alexnet_jax.data.pictures import has_dark_background
from alexnet_jax.preprocessing.pipeline import Pipeline, scale_and_resize
from alexnet_jax.trained import TrainedModel

FILE, MEAN_FILE = "preprocessing.json", "mean_image.npy"


def write_preprocessing(
    folder: Path, net: TrainedModel, pipeline: Pipeline, *, views: int | None = None
) -> None:
    """Writes `preprocessing.json`, and `mean_image.npy` if there is one.

    Args:
      folder: Where to.
      net: The network.
      pipeline: Its own.
      views: Of an image, whose probabilities the file beside it averages; the run's, if
        not given.

    Raises:
      OSError: A file cannot be written.
    """
    text = json.dumps(
        describe(net, pipeline, views or net.views), indent=1, ensure_ascii=False
    )
    write_file(folder / FILE, text + "\n")
    if _has_mean_image(pipeline):
        buffer = io.BytesIO()
        np.save(buffer, _mean_image(pipeline))
        write_file(folder / MEAN_FILE, buffer.getvalue())


def describe(net: TrainedModel, pipeline: Pipeline, views: int) -> dict[str, Any]:
    """Returns what `preprocessing.json` holds."""
    *stored, channels = net.spec.image_shape
    scale, data = pipeline.scale, net.config.data
    mean: Any = None
    if _has_mean_image(pipeline):
        mean = MEAN_FILE
    elif scale.mean is not None:
        mean = scale.mean.reshape(-1).tolist()
    picture = _describe_picture(net)
    steps = [*picture.pop("steps"), f"that is (N, {', '.join(map(str, stored))}, "
             f"{channels}) uint8"]  # fmt: skip
    if tuple(stored) != pipeline.canvas:
        steps.append(
            "divided by 255 and resized to canvas, bilinearly at half-pixel centers, "
            "antialiased where it shrinks"
        )
    # In 2012 the mean image was not moved with a crop.
    is_fixed = views > 1 and _has_mean_image(pipeline) and not scale.moves
    if mean is not None and not is_fixed:
        steps.append("mean is subtracted from image / 255")
    if views > 1:
        steps.append(
            "the center and the corners of image_size are cropped, each also mirrored: "
            f"{views} views, whose probabilities are averaged"
        )
    elif pipeline.canvas != pipeline.size:
        steps.append("the center of image_size is cropped")
    if is_fixed:
        steps.append(
            "the center of mean, of image_size, is subtracted from each view / 255"
        )
    steps.append("multiplied by factor")
    if scale.reversed:
        steps.append("channels reversed: blue, green, red")
    return {
        "steps": steps,
        "stored_size": stored,
        **picture,
        "canvas": list(pipeline.canvas),
        "image_size": list(pipeline.size),
        "scale": net.model.author_scale if data.scale == "author" else data.scale,
        "mean": mean,
        "factor": np.broadcast_to(scale.factor.reshape(-1), channels).tolist(),
        "channels": "BGR" if scale.reversed else _mode(channels),
        "views": views,
        "class_names": [net.class_name(k) for k in range(net.config.model.num_classes)],
    }


def _describe_picture(net: TrainedModel) -> dict[str, Any]:
    """Returns how a file becomes an image of `stored_size`, as `read_picture` does it.

    `steps` say so in words, to be redone elsewhere; the others, for programs.
    """
    (height, width, channels), data = net.spec.image_shape, net.config.data
    streamed, way = net.spec.streamed, data.resize
    dark = not streamed and has_dark_background(net.spec.statistics.mean_image)
    if not streamed:  # whatever the config says, which is of images on disk
        way = "bicubic"
    fit = data.fit if streamed else "pad" if dark else "box"
    factor = (2 if streamed else 4) if way == "bicubic" else 0
    least = [factor * height, factor * width]
    background = "black" if dark else "white"
    sides, corner = {
        "bicubic": ("rounded, half to even", "rounded down"),
        "bilinear": ("rounded down", "rounded, half to even"),
        "opencv": ("rounded, half to even", "rounded down"),
    }[way]
    by = f"the {way} filter" + (
        " of bytes, by cv2.INTER_LINEAR" if way == "opencv" else " of Pillow"
    )
    fits = {
        "crop": f"resized by {by} to cover stored_size in its own proportions, its "
        f"longer side {sides}; the center cropped, its corner half of what is too "
        f"much, {corner}",
        "warp": f"resized by {by} to stored_size, its proportions ignored",
        "box": "its largest central box of stored_size's proportions resized by "
        f"{by}, as ImageOps.fit does",
        "pad": "padded on both sides to stored_size's proportions with the median of "
        "the pixels of its border, truncated to an integer, by channel; resized by "
        f"{by}, as ImageOps.pad and ImageOps.fit do",
    }
    steps = [
        "a file is decoded and turned upright by its EXIF orientation",
        "16 bits are divided by 257 and rounded, floats multiplied by 255",
        f"transparent parts are laid over {background}",
        f"it is converted to mode {_mode(channels)}",
        fits[fit],
    ]
    if factor:
        steps[0] += (
            f"; an RGB or gray JPEG is decoded at 1/2, 1/4 or 1/8 (libjpeg's draft) "
            f"while it is at least {least[0]} high and {least[1]} wide"
        )
    return {
        "steps": steps,
        "mode": _mode(channels),
        "fit": fit,
        "filter": way,
        "draft": least if factor else None,
        "background": background,
        "rounding": {"side": sides, "corner": corner},
    }


def _mode(channels: int) -> str:
    return {1: "L", 3: "RGB"}.get(channels, f"{channels} channels")


def _has_mean_image(pipeline: Pipeline) -> bool:
    mean = pipeline.scale.mean
    return mean is not None and mean.shape[1:3] != (1, 1)


def _mean_image(pipeline: Pipeline) -> np.ndarray:
    """Returns what is subtracted from a canvas, `(h, w, C) float32` in [0, 1].

    Whether it moves with a crop makes no difference to the central one.
    """
    mean = jnp.asarray(pipeline.scale.mean)
    return np.asarray(scale_and_resize(mean, pipeline.canvas))[0]
