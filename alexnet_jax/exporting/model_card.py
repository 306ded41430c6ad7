"""A model card in the layout of Hugging Face's hub: front matter in YAML, then text.

Source: huggingface/hub-docs, modelcard.md ("Model card metadata").
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import yaml

from alexnet_jax import __version__
from alexnet_jax.atomic import read_regular
from alexnet_jax.config import (
    default_config,
    flatten_config,
    shown_values,
    size_text,
)
from alexnet_jax.errors import InputError
from alexnet_jax.exporting.folder import MARK
from alexnet_jax.exporting.usage import dtype_of, how_to_use, views_of
from alexnet_jax.inspection.tables import short_name
from alexnet_jax.preprocessing.normalize import MEASURED
from alexnet_jax.run.imported import read_imported
from alexnet_jax.run.rows import METRICS_FILE, Row, best_of, is_evaluation, scan_rows
from alexnet_jax.terminal.text import printable
from alexnet_jax.trained import TrainedModel

# Keys that name folders of the machine that the run was on.
PLACES = ("data.manual_dir", "data.data_dir", "checkpoint.init_from", "optim.params")
UNKNOWN_LICENSE = "unknown"  # as the hub calls it
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,59}")
# What the hub calls data sets, by their names here; a card lists no others.
_OF_HUB = {
    **{name: name for name in ("mnist", "fashion_mnist", "cifar10", "cifar100")},
    **dict.fromkeys(("imagenet2012", "imagenet2012_256"), "imagenet-1k"),
}


def check_license(text: str) -> str:
    """Returns a license's identifier as the hub writes them, such as `cc-by-4.0`.

    Raises:
      InputError: It is none.
    """
    if not _LICENSE.fullmatch(text):
        raise InputError(
            "--license must be an identifier such as apache-2.0, cc-by-nc-4.0, other "
            f"or {UNKNOWN_LICENSE}, in small letters; got {text[:60]!r}"
        )
    return text


def model_card(
    net: TrainedModel,
    form: str,
    *,
    notes: Sequence[str] = (),
    checked: str = "",
    with_preprocessing: bool = False,
    license_name: str = UNKNOWN_LICENSE,
) -> str:
    """Returns the text of `README.md`. No number in it is not the run's own.

    Args:
      net: The network.
      form: The format of the file beside it.
      notes: On how it was written.
      checked: What came of opening it again.
      with_preprocessing: Whether an ONNX graph takes stored bytes.
      license_name: Of the weights; the code's says nothing of them.
    """
    rows = [
        row for row in scan_rows(net.workdir / METRICS_FILE).rows if is_evaluation(row)
    ]
    front = yaml.safe_dump(
        _front_matter(net, rows, license_name), sort_keys=False, allow_unicode=True
    )
    blocks = [
        f"---\n{front}---\n\n{MARK}\n",
        *_about(net, license_name),
        *_evaluation(net, rows, form),
        *how_to_use(net, form, notes, checked, with_preprocessing),
        *_origin(net),
    ]
    return "\n".join(blocks)


def _front_matter(
    net: TrainedModel, rows: Sequence[Row], license_name: str
) -> dict[str, Any]:
    name = short_name(net.config.model.name)
    data = net.spec.name.split(" ")[0]
    front: dict[str, Any] = {
        "license": license_name,
        "library_name": "alexnet_jax",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "alexnet", "jax", name],
    }
    if data in _OF_HUB and not _is_assumed(net):
        front["datasets"] = [_OF_HUB[data]]
    if rows:
        front["metrics"] = ["accuracy"]
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {
                "type": _OF_HUB.get(data, data),
                "name": net.spec.name,
                "split": "test",
            },
            "metrics": [
                {
                    "type": "accuracy",
                    "name": f"top-1, {what}{_way(net)}",
                    "value": value,
                }
                for what, value in _accuracies(net, rows)
            ],
        }
    ]
    front["model-index"] = [
        {
            "name": f"{name}, {printable(net.config.name)}",
            "results": results if rows else [],
        }
    ]
    if not rows:
        del front["model-index"]
    return front


def _accuracies(net: TrainedModel, rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Returns the run's last test result up to these weights, and its best."""
    if not rows:
        return []
    last = [row for row in rows if row["step"] <= net.step][-1:]
    named = [("last", row) for row in last] + [("best of the run", best_of(rows))]
    return [
        (f"{what}, step {row['step']:,}", round(float(row["test/top1"]), 6))
        for what, row in named
    ]


def _way(net: TrainedModel) -> str:
    """Returns how the run evaluates, if not one view in float32."""
    views = f", averaged over {net.views} views" if net.views > 1 else ""
    return views + (f", in {net.config.dtype}" if net.config.dtype != "float32" else "")


def _is_assumed(net: TrainedModel) -> bool:
    """Whether the weights' data are a guess, after which none were trained on."""
    imported = read_imported(net.workdir)
    return imported is not None and imported.assumed and net.step == 0


def _about(net: TrainedModel, license_name: str) -> list[str]:
    config, spec = net.config, net.spec
    network, name = type(net.model), short_name(config.model.name)
    what = " ".join((network.__doc__ or "").split("\n\n")[0].split())
    count = sum(leaf.size for leaf in jax.tree.leaves(net.weights["params"]))
    shape = size_text(spec.image_shape[:2])
    source = f" Source: {network.reference.source}." if network.reference else ""
    said = (
        "The license of the weights is not known: nobody has said it."
        if license_name == UNKNOWN_LICENSE
        else f"The weights' license: {license_name}."
    )
    data = (
        f"{spec.name}, {len(spec.class_names):,} classes, images of "
        f"{shape}×{spec.image_shape[-1]}, shown at "
        f"{size_text(config.data.image_size)}."
    )
    if _is_assumed(net):
        data = (
            "Not known: the file that the weights come from does not say. Images are "
            f"prepared as those of {data}"
        )
    scale = config.data.scale
    if (net.model.author_scale if scale == "author" else scale) in MEASURED:
        data += f" Their statistics: {spec.statistics.source}."
    data += " `preprocessing.json` says what is done to an image."
    width = f" of width {config.model.width:g}" if config.model.width != 1 else ""
    return [
        f"# {name}, {printable(config.name)}\n",
        f"`{name}`{width}: {what}{source}\n",
        f"{count:,} parameters, as they were at step {net.step:,} of a run in "
        f"{config.dtype}. {said}\n",
        f"## Training data\n\n{data}\n",
    ]


def _evaluation(net: TrainedModel, rows: Sequence[Row], form: str) -> list[str]:
    if not rows:
        return ["## Evaluation\n\nNo test result was recorded with these weights.\n"]
    lines = [f"Of the test images{_way(net)}:\n", "| | top-1, % |", "| --- | ---: |"]
    lines += [f"| {what} | {100 * top1:.2f} |" for what, top1 in _accuracies(net, rows)]
    if views_of(net, form) != net.views or dtype_of(net, form) != net.config.dtype:
        lines.append("\nThey are the run's, not the file's, as its notes below say.")
    return ["## Evaluation\n", "\n".join(lines) + "\n"]


def _origin(net: TrainedModel) -> list[str]:
    versions = {**_record(net.workdir / "config.json").get("versions", {})}
    exported = {"alexnet_jax": __version__, "jax": jax.__version__}
    defaults, config = (
        shown_values(flatten_config(config))
        for config in (default_config(), net.config)
    )
    changed = {
        key: value
        for key, value in config.items()
        if value != defaults[key] and key not in PLACES
    }
    if "model.name" in changed:
        changed["model.name"] = short_name(changed["model.name"])
    width = max(map(len, changed), default=0)
    lines = [f"{key:{width}}  {json.dumps(value)}" for key, value in changed.items()]
    blocks = [
        "## Config\n\nWhere it differs from the defaults of `alexnet_jax`; "
        "`config.json` has all of it.\n",
        "\n".join(["```", *lines, "```\n"]),
    ]
    source = read_imported(net.workdir)
    word = "Imported" if source and not net.step else "Trained"
    blocks += [f"## Versions\n\n{word}: {_listed(versions)}.\n"] if versions else []
    blocks.append(f"Exported: {_listed(exported)}.\n")
    if source:
        known = {"file": source.source, "form": source.form, "sha256": source.sha256}
        blocks.append(
            f"## Source of the weights\n\nThe run began with imported weights: "
            f"{_listed({key: text for key, text in known.items() if text})}.\n"
        )
    return blocks


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _record(path: Path) -> dict[str, Any]:
    """Returns an object of JSON; an empty one if there is none to be read."""
    try:
        found = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
