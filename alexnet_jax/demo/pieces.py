"""The pieces of the page as HTML: escaped, with pictures within, so in no file."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape

import matplotlib
import numpy as np
from PIL import Image

from alexnet_jax.demo.answers import Answer, Answers, Example
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.explanation.notes import percent
from alexnet_jax.inspection.layers import LayerRow
from alexnet_jax.inspection.tables import shape_text
from alexnet_jax.reporting.explanations import draw_explanations, heading_of
from alexnet_jax.reporting.files import to_png
from alexnet_jax.reporting.sections import Section
from alexnet_jax.reporting.themes import on_paper
from alexnet_jax.terminal.text import printable

INVERT = "Exchange light and dark"
_MAPS = 24  # of a layer, those that vary most
_CELLS_PER_ROW = 64  # of a dense layer's units, at most

# What a layer does, by its kind, for one who hears of it for the first time.
_KINDS = {
    "conv": "A convolution: each map comes from one small filter that is moved over "
    "the image below and answers where it finds its pattern.",
    "local": "Like a convolution, but with other weights at every place.",
    "dense": "A dense layer: each unit weighs all values of the layer below.",
    "relu": "Only positive answers go on; negative ones become 0.",
    "max_pool": "Of each small window only the strongest answer goes on: the maps "
    "become smaller, and where exactly a pattern lies matters less.",
    "avg_pool": "Of each small window the mean goes on: the maps become smaller.",
    "lrn": "Answers are divided by those of neighboring maps at the same place, so "
    "that strong ones quiet weak ones.",
    "batch_norm": "Each map is shifted and scaled by what was usual in training.",
    "flatten": "The maps, written as one long row of numbers.",
    "tanh": "Every answer is squeezed to between −1 and 1.",
    "sigmoid": "Every answer is squeezed to between 0 and 1.",
}


def picture(image: np.ndarray, alt: str) -> str:
    """Returns an image as an element of HTML.

    Args:
      image: `(h, w, C) uint8`, C 1 or 3.
      alt: What stands for it where it cannot be seen.
    """
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return _img(file.getvalue(), alt, 'class="pixels"')


def _img(png: bytes, alt: str, more: str = "") -> str:
    content = base64.b64encode(png).decode()
    text = escape(printable(alt))
    return f'<img {more} alt="{text}" src="data:image/png;base64,{content}"/>'


def header(answers: Answers) -> str:
    """Returns the title: what the network is."""
    facts = "".join(f"<li>{_text(fact)}</li>" for fact in answers.facts)
    return f"<h1>{_text(answers.title)}</h1><ul class='facts'>{facts}</ul>"


def error(line: str) -> str:
    """Returns a line on what went wrong."""
    return f'<p class="failed" role="alert">{_text(line)}.</p>'


def answer(found: Answer) -> str:
    """Returns the most probable classes as bars, the true one, and the notes."""
    rows = "".join(
        f'<li><span class="name">{_text(name)}</span>'
        f'<span class="bar"><i style="width:{100 * probability:.2f}%"></i></span>'
        f'<span class="percent">{percent(probability)}</span></li>'
        for name, probability in found.classes
    )
    label = ""
    if found.label is not None:
        label = f"<p class='caption'>Its label is {_text(found.label)}.</p>"
    return f'<ol class="answer">{rows}</ol>{label}{_notes(found.notes)}'


def seen(found: Answer, size: Sequence[int]) -> str:
    """Returns the picture as the network is given it.

    Args:
      found: The answer.
      size: Height and width that the network enlarges it to.
    """
    sides = _sides(found.image.shape[:2])
    enlarged = ""
    if tuple(size) != found.image.shape[:2]:
        enlarged = f", brought to {_sides(size)} for its first layer"
    return (
        f"<figure>{picture(found.image, 'The picture as the network sees it')}"
        f"<figcaption>This is what the network sees: {sides} pixels"
        f"{enlarged}.</figcaption></figure>"
    )


def examples(found: Sequence[Example]) -> str:
    """Returns pictures of the data set as buttons."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{_text(one.name)}">'
        f"{picture(one.image, '')}<span>{_text(one.name)}</span></button>"
        for index, one in enumerate(found)
    )
    return f'<div class="choices">{buttons}</div>'


def layer_label(row: LayerRow) -> str:
    """Returns what the list of layers calls one."""
    return f"{row.name} · {shape_text(row.output_shape[1:])}"


def layer(
    row: LayerRow, output: np.ndarray, size: Sequence[int], class_names: Sequence[str]
) -> str:
    """Returns what a layer makes of a picture: its maps, or its units.

    Args:
      row: The layer's of the table.
      output: `(h, w, N)` or `(N,) float32`.
      size: Height and width of what the first layer is given.
      class_names: Of the classes, which the last layer's units stand for.
    """
    said = _KINDS.get(row.kind) or _KINDS.get(row.kind.rpartition("_pool")[0] + "_pool")
    text = f"{said} " if said else ""
    if row.receptive_field and row.receptive_field > 1 and output.ndim == 3:
        field = row.receptive_field
        text += f"Each point of a map sees {field}×{field} of {_sides(size)} pixels. "
    if output.ndim == 1 or output.shape[:2] == (1, 1):
        units = output.reshape(-1)
        shown = _units(units, row.name)
        text += f"{units.size:,} units, a square each. "
        if units.size == len(class_names):
            top = _text(class_names[int(units.argmax())])
            text += f"One for each class; the highest is that of {top}. "
            if units.size <= _MAPS:
                shown = _grid(_colors(units[None, None]), class_names)
    else:
        shown, count = _maps(output), output.shape[-1]
        text += f"{count:,} map{'s' * (count > 1)}"
        text += f", of which the {_MAPS} that vary most" * (count > _MAPS)
        text += f" of {_sides(output.shape[:2])} points. "
    text += "White is 0, red positive, blue negative."
    return f"{shown}<p class='caption'>{text}</p>"


def _maps(output: np.ndarray) -> str:
    """Returns the maps of a layer that vary most, each an image, on one scale."""
    chosen = np.argsort(-output.std(axis=(0, 1)), kind="stable")[:_MAPS]
    return _grid(_colors(output[..., chosen]), [str(index) for index in chosen])


def _grid(colors: np.ndarray, names: Sequence[str]) -> str:
    """Returns images `(h, w, N, 3) uint8` beside each other, with their names."""
    figures = "".join(
        f"<figure>{picture(colors[..., place, :], name)}"
        f"<figcaption>{_text(name)}</figcaption></figure>"
        for place, name in enumerate(names)
    )
    return f'<div class="maps">{figures}</div>'


def _units(output: np.ndarray, name: str) -> str:
    """Returns the units of a dense layer, row by row; what is left of a row is gray."""
    columns = min(_CELLS_PER_ROW, len(output))
    rows = math.ceil(len(output) / columns)
    cells = np.full((rows * columns, 3), 128, np.uint8)
    cells[: len(output)] = _colors(output)
    shown = picture(cells.reshape(rows, columns, 3), f"Units of {name}")
    share = 100 * max(columns / _CELLS_PER_ROW, 0.5)
    return f'<div class="units" style="max-width:{share:.0f}%">{shown}</div>'


def _colors(values: np.ndarray) -> np.ndarray:
    """Returns values as colors, `(..., 3) uint8`: white is 0, red positive."""
    largest = float(np.abs(values).max()) or 1.0
    colors = matplotlib.colormaps["RdBu_r"](0.5 + 0.5 * values / largest, bytes=True)
    return np.ascontiguousarray(colors[..., :3])


def explanation(answers: Answers, found: Explanation) -> str:
    """Returns the figure of an explanation, with what its maps show."""
    title = heading_of(answers.network, found)
    png = to_png(draw_explanations([found], [title], columns=2))
    alt = f"Occlusion map, gradient and Grad-CAM of {', '.join(title)}"
    rows, columns = (round(0.2 * side) or 1 for side in found.image.shape[:2])
    maps = {
        "Occlusion": f"a patch of {rows}×{columns} pixels covers one place after the "
        "other. Red: without it the class is less probable, so the answer rests on it.",
        "Gradient": "bright pixels are those whose small change would change the "
        "answer most.",
        "Grad-CAM": "bright regions are where the maps of the last convolution speak "
        "for the class.",
    }
    lines = "".join(f"<li><b>{name}</b>: {text}</li>" for name, text in maps.items())
    return (
        f'<figure class="drawn">{_img(png, alt)}</figure>'
        f'<ul class="caption">{lines}</ul>{_notes(found.notes)}'
    )


def filters(found: Section) -> str:
    """Returns the figure of the first convolution's filters."""
    assert found.draw is not None
    with on_paper():
        png = to_png(found.draw())
    return (
        f"<details class='filters'><summary>{_text(found.title)}</summary>"
        f'<figure class="drawn">{_img(png, "Filters of the first convolution")}'
        "</figure><p class='caption'>The patterns that the first convolution looks "
        "for; after long training often edges, blobs, colors. Mid-gray is 0.</p>"
        "</details>"
    )


def _notes(notes: Iterable[str]) -> str:
    # What the command's flag is called here.
    here = (note.replace("--invert", f"“{INVERT}”") for note in notes)
    lines = (f"{note[:1].upper()}{note[1:]}." for note in here)
    return "".join(f'<p class="remark">{_text(line)}</p>' for line in lines)


def _sides(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _text(text: str) -> str:
    return escape(printable(text))
