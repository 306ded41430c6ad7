"""Small images in files, as tests need them."""

import io

import numpy as np
from PIL import Image


def picture(seed, size=(40, 30), mode="RGB", kind="JPEG"):
    """Returns the content of an image file: smooth, and different for each seed."""
    colors = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    image = Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.convert(mode).save(file, kind)
    return file.getvalue()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def write_folder(root, train=7, val=3, classes=("cat", "dog", "eel")):
    """Lays out images by split and class; the train split has a CMYK and a PNG."""
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                seed = 1000 * (split == "val") + 100 * label + index
                size = (40 + index, 30) if index % 2 else (30, 40 + index)
                content = picture(seed, size)
                if (split, index) == ("train", 0):
                    content = picture(seed, size, "CMYK")
                (folder / f"{index}.jpg").write_bytes(content)
            if split == "train":
                png = picture(100 * label + 50, kind="PNG")
                (folder / "drawing.png").write_bytes(png)
    return root
