"""What vision did before: gradients by hand and a linear classifier.

  .venv/bin/python -m benchmarks.shallow [--manual-dir=DIR]

Histograms of oriented gradients of the Fashion-MNIST images, a support vector machine
on top, nothing learned before it: accuracy, time and parameters, to stand beside the
networks'.

Source: Dalal and Triggs 2005, as scikit-image and scikit-learn have it.
"""

import json
import time
from collections.abc import Sequence

import numpy as np

from alexnet_jax import cli
from alexnet_jax.config import default_config
from alexnet_jax.data import create_data
from benchmarks.arguments import check_modules


def describe(images: np.ndarray) -> np.ndarray:
    """Returns nine directions in 7×7 cells of 4×4 pixels, by blocks of 2×2 cells.

    Args:
      images: `(N, 28, 28, 1) uint8`.

    Returns:
      `(N, 1296) float32`.
    """
    from skimage.feature import hog

    settings = {"pixels_per_cell": (4, 4), "cells_per_block": (2, 2)}
    rows = [hog(image[..., 0], orientations=9, **settings) for image in images]
    return np.stack(rows).astype(np.float32)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints an object with what was measured."""
    parser = cli.Parser("benchmarks.shallow", __doc__)
    add = parser.add_argument
    add("--manual-dir", help="folder of the four original files")
    config = default_config()
    config.data.manual_dir = parser.parse_args(argv).manual_dir
    check_modules("shallow", "skimage", "sklearn")
    from sklearn.svm import LinearSVC

    data = create_data(config.data, batch_size=1, eval_batch_size=1, seed=config.seed)
    start = time.perf_counter()
    features = describe(data.train.image)
    features_s = time.perf_counter() - start
    start = time.perf_counter()
    classifier = LinearSVC(C=0.1, dual=False, random_state=0)
    classifier.fit(features, data.train.label)
    fit_s = time.perf_counter() - start
    found = {
        "test_top1": classifier.score(describe(data.test.image), data.test.label),
        "train_top1": classifier.score(features, data.train.label),
        "parameters": classifier.coef_.size + classifier.intercept_.size,
        "features_s": features_s,
        "fit_s": fit_s,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
