"""The pieces of the page as HTML: escaped, with pictures within, so in no file."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from alexnet_jax.demo.answers import Answer, Answers, Example
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.explanation.notes import percent
from alexnet_jax.explanation.patches import create_patches
from alexnet_jax.inspection.layers import LayerRow
from alexnet_jax.inspection.tables import shape_text
from alexnet_jax.reporting.explanations import heading_of
from alexnet_jax.reporting.figures import map_colors, strongest_maps
from alexnet_jax.reporting.files import image_png
from alexnet_jax.reporting.html import block, details, figure, image, name, text
from alexnet_jax.reporting.maps import explanation_html
from alexnet_jax.reporting.sections import Section
from alexnet_jax.terminal.text import counted

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


def picture(pixels: np.ndarray, alt: str) -> str:
    """Returns an image as an element of HTML, pixel by pixel.

    Args:
      pixels: `(h, w, C) uint8`, C 1 or 3.
      alt: What stands for it where it cannot be seen.
    """
    return image(image_png(pixels), alt, kind="pixels")


def header(answers: Answers) -> str:
    """Returns the title: what the network is."""
    facts = "".join(f"<li>{text(fact)}</li>" for fact in answers.facts)
    return f"<h1>{text(answers.title)}</h1><ul class='facts'>{facts}</ul>"


def error(line: str) -> str:
    """Returns a line on what went wrong."""
    return f'<p class="failed" role="alert">{text(line)}.</p>'


def answer(found: Answer) -> str:
    """Returns the most probable classes as bars, the true one, and the notes."""
    rows = "".join(
        f'<li><span class="name">{name(said)}</span>'
        f'<span class="bar"><i style="width:{100 * probability:.2f}%"></i></span>'
        f'<span class="percent">{percent(probability)}</span></li>'
        for said, probability in found.classes
    )
    label = ""
    if found.label is not None:
        label = f"<p class='caption'>Its label is {name(found.label)}.</p>"
    return f'<ol class="answer">{rows}</ol>{label}{_notes(found.notes)}'


def seen(found: Answer, size: Sequence[int]) -> str:
    """Returns the picture as the network is given it.

    Args:
      found: The answer.
      size: Height and width that the network enlarges it to.
    """
    sides = shape_text(found.image.shape[:2])
    enlarged = ""
    if tuple(size) != found.image.shape[:2]:
        enlarged = f", brought to {shape_text(size)} for its first layer"
    return (
        f"<figure>{picture(found.image, 'The picture as the network sees it')}"
        f"<figcaption>This is what the network sees: {sides} pixels"
        f"{enlarged}.</figcaption></figure>"
    )


def examples(found: Sequence[Example]) -> str:
    """Returns pictures of the data set as buttons."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{text(one.name)}">'
        f"{picture(one.image, '')}<span>{name(one.name)}</span></button>"
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
    told = f"{said} " if said else ""
    if row.receptive_field and row.receptive_field > 1 and output.ndim == 3:
        # The table's counts padding, too.
        field = shape_text(min(row.receptive_field, side) for side in size)
        told += f"Each point of a map sees {field} of {shape_text(size)} pixels. "
    if output.ndim == 1 or output.shape[:2] == (1, 1):
        units = output.reshape(-1)
        shown = _units(units, row.name)
        told += f"{units.size:,} units, a square each. "
        if units.size == len(class_names):
            top = name(class_names[int(np.argmax(units))])
            told += f"One for each class; the highest is that of {top}. "
            if units.size <= _MAPS:
                shown = _grid(_cells(units), class_names)
    else:
        shown, count = _maps(output), output.shape[-1]
        told += counted(count, "map")
        told += f", of which the {_MAPS} that vary most" * (count > _MAPS)
        told += f" of {shape_text(output.shape[:2])} points. "
    told += "White is 0, red positive, blue negative."
    return f"{shown}<p class='caption'>{told}</p>"


def _maps(output: np.ndarray) -> str:
    """Returns the maps of a layer that vary most, each an image, on one scale."""
    chosen, _ = strongest_maps(output, _MAPS)
    return _grid(_colors(output, _MAPS), [str(index) for index in chosen])


def _grid(images: np.ndarray, names: Sequence[str]) -> str:
    """Returns images `(N, h, w, 3) uint8` beside each other, with their names."""
    pairs = zip(images, names, strict=True)
    return block("grid", (figure(picture(one, said), said) for one, said in pairs))


def _units(output: np.ndarray, said: str) -> str:
    """Returns the units of a dense layer, row by row; what is left of a row is gray."""
    count = output.size
    columns = min(_CELLS_PER_ROW, count)
    cells = np.full((math.ceil(count / columns) * columns, 3), 128, np.uint8)
    cells[:count] = _cells(output)[:, 0, 0]
    return block("units", [picture(cells.reshape(-1, columns, 3), f"Units of {said}")])


def _cells(output: np.ndarray) -> np.ndarray:
    """Returns a dense layer's units as maps of one point, `(N, 1, 1, 3) uint8`."""
    return _colors(output[None, None], output.size)  # which do not vary: in order


def _colors(output: np.ndarray, number: int) -> np.ndarray:
    return (255 * map_colors(output, number)).round().astype(np.uint8)


def explanation(answers: Answers, found: Explanation) -> str:
    """Returns the maps of an explanation, and what they show."""
    said, chance = heading_of(answers.network, found)
    patch = shape_text(create_patches(found.image.shape[:2])[0][2:])
    maps = {
        "Occlusion": f"a patch of {patch} pixels covers one place after the other. "
        "Red: without it the class is less probable, so the answer rests on it.",
        "Gradient": "bright pixels are those whose small change would change the "
        "answer most.",
        "Grad-CAM": "bright regions are where the maps of the last convolution speak "
        "for the class.",
    }
    lines = "".join(f"<li><b>{key}</b>: {line}</li>" for key, line in maps.items())
    return (
        f"<p>What speaks for <b>{name(said)}</b>, {chance}</p>"
        f"{explanation_html(found, f'{said}, {chance}')}"
        f'<ul class="caption">{lines}</ul>{_notes(found.notes)}'
    )


def filters(found: Section) -> str:
    """Returns the first convolution's filters, which a click shows."""
    said = (
        "The patterns that the first convolution looks for; after long training often "
        "edges, blobs, colors."
    )
    shown = f"<p class='caption'>{said}</p>{found.html}"
    return block("filters", [details("First-layer filters", shown)])


def _notes(notes: Iterable[str]) -> str:
    # What the command's flag is called here.
    here = (note.replace("--invert", f"“{INVERT}”") for note in notes)
    lines = (f"{note[:1].upper()}{note[1:]}." for note in here)
    return "".join(f'<p class="remark">{text(line)}</p>' for line in lines)
