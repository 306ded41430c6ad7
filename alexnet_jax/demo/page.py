"""The page: what stands where, and what happens when something is drawn or chosen."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.data.pictures import Picture
from alexnet_jax.demo import pieces
from alexnet_jax.demo.answers import Answers, Example
from alexnet_jax.errors import InputError

_HERE = Path(__file__).parent
_CANVAS = 320  # pixels of its longer side
_STROKE, _STROKE_PIXELS = 1 / 14, 1.1  # of the canvas, or in pixels of the data
_QUEUE = 64  # requests that wait; those of one page take each other's place
# Files of visitors: how often they are looked through, and how old they become.
_EVERY_S, _AGE_S = 60, 600
_NOTHING = '<p class="empty">Draw or choose a picture.</p>'
_DRAW = "Draw it large, as one of the training images would show it."


def create_page(answers: Answers, examples: list[Example]) -> Any:
    """Returns the page of a network, a `gradio.Blocks`.

    Args:
      answers: The network.
      examples: Pictures of its data set; there may be none.
    """
    gr: Any = importlib.import_module("gradio")
    network, spec = answers.network, answers.network.spec
    names = [network.class_name(i) for i in range(network.config.model.num_classes)]
    layers = [(pieces.layer_label(row), row.name) for row in answers.layers]
    size = network.input_shape[1:3]
    page = gr.Blocks(
        title=f"{answers.title}, {spec.name}",
        analytics_enabled=False,
        delete_cache=(_EVERY_S, _AGE_S),
    )
    with page:
        image: Any = gr.State(None, time_to_live=3600)
        gr.HTML(pieces.header(answers), elem_classes="header")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300, elem_classes="given"):
                # Photographs can hardly be drawn.
                first = "picture" if spec.streamed else "draw"
                with gr.Tabs(selected=first):
                    with gr.Tab("Draw", id="draw"):
                        canvas = _create_canvas(gr, answers)
                    with gr.Tab("Picture", id="picture"):
                        file = _create_file(gr)
                        invert = gr.Checkbox(
                            label=pieces.INVERT,
                            info="For a dark object on a light background, where the "
                            "training images show the reverse, or the other way round.",
                        )
                    if examples:
                        with gr.Tab("Examples", id="examples"):
                            shown = gr.HTML(
                                pieces.examples(examples),
                                elem_classes="examples",
                                js_on_load=_CHOOSE,
                            )
                            gr.HTML(
                                "<p class='caption'>Test images: the network was not "
                                "trained on them.</p>"
                            )
            with gr.Column(min_width=300, elem_classes="answered"):
                gr.HTML("<h2>Answer</h2>")
                answer = gr.HTML(_NOTHING, elem_id="answer")
                seen = gr.HTML("", elem_id="seen")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                gr.HTML(
                    "<h2>Feature maps</h2><p class='caption'>A feature map is what one "
                    "filter of a layer answers at every place of the picture.</p>"
                )
                layer = gr.Dropdown(
                    layers,
                    value=layers[0][1],
                    label="Layer",
                    info="From the first, which sees the pixels, to the last.",
                    filterable=len(layers) > 20,
                )
                maps = gr.HTML(_NOTHING, elem_id="maps")
            with gr.Column(min_width=300):
                gr.HTML(
                    "<h2>What the answer rests on</h2><p class='caption'>Three ways to "
                    "ask which part of the picture speaks for a class.</p>"
                )
                label = gr.Dropdown(
                    [("the most probable", -1), *((n, i) for i, n in enumerate(names))],
                    value=-1,
                    label="Class",
                )
                explain = gr.Button("Explain", variant="primary", elem_id="explain")
                explained = gr.HTML(_NOTHING, elem_id="explained")
        if (filters := answers.filters()) is not None:
            gr.HTML(pieces.filters(filters))

        def show(
            made: Callable[[], Picture] | None, chosen: str, label: str | None = None
        ) -> tuple:
            """Returns the state, and what the answer, the image and the maps become."""
            if made is None:
                return None, _NOTHING, "", _NOTHING, _NOTHING
            try:
                found = answers.answer(made(), label)
                of_layer = show_layer(found.image, chosen)
            except InputError as error:
                return None, pieces.error(str(error)), "", _NOTHING, _NOTHING
            view = pieces.seen(found, size)
            return found.image, pieces.answer(found), view, of_layer, ""

        def show_layer(image: np.ndarray | None, chosen: str) -> str:
            if image is None:
                return _NOTHING
            try:
                row = answers.row(chosen)
                output = answers.outputs(image)[row.name]
                return pieces.layer(row, output, size, names)
            except InputError as error:
                return pieces.error(str(error))

        def show_drawing(drawn: str, chosen: str) -> tuple:
            return show(
                (lambda: answers.read_drawing(drawn)) if drawn else None, chosen
            )

        def show_file(path: str | None, inverted: bool, chosen: str) -> tuple:
            make = (lambda: answers.read(Path(path), inverted)) if path else None
            return show(make, chosen)

        def show_example(chosen: str, event: Any) -> tuple:
            index = getattr(event, "index", None)
            if not isinstance(index, int) or not 0 <= index < len(examples):
                return show(None, chosen)
            one = examples[index]
            return show(lambda: Picture(one.image, ()), chosen, one.name)

        # Gradio finds by the annotation that the event is wanted.
        show_example.__annotations__["event"] = gr.EventData

        def show_explanation(image: np.ndarray | None, chosen: int | None) -> str:
            if image is None:
                return _NOTHING
            wanted = None if chosen is None or chosen < 0 else int(chosen)
            try:
                return pieces.explanation(answers, answers.explain(image, wanted))
            except InputError as error:
                return pieces.error(str(error))

        # One after the other, whoever asks: there is one network.
        alone = {
            "concurrency_id": "network",
            "concurrency_limit": 1,
            "api_visibility": "private",
        }
        views = [image, answer, seen, maps, explained]
        latest = {**alone, "trigger_mode": "always_last", "show_progress": "hidden"}
        canvas.input(show_drawing, [canvas, layer], views, **latest)
        slow = {**alone, "trigger_mode": "always_last", "show_progress_on": [answer]}
        for change in (file.change, invert.input):
            change(show_file, [file, invert, layer], views, **slow)
        if examples:
            shown.select(show_example, [layer], views, **slow)
        layer.input(show_layer, [image, layer], maps, **alone)
        explain.click(show_explanation, [image, label], explained, **alone)
    page.queue(max_size=_QUEUE, api_open=False)
    return page


_CHOOSE = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("select", { index: Number(button.dataset.index) });
});
"""


def _create_canvas(gr: Any, answers: Answers) -> Any:
    """Returns what is drawn on: as the data is, bright on black or dark on white."""
    height, width = answers.network.spec.image_shape[:2]
    scale = _CANVAS / max(height, width)
    sides = round(width * scale), round(height * scale)
    stroke = round(max(_STROKE * _CANVAS, _STROKE_PIXELS * scale))
    ground, ink = ("#000", "#fff") if answers.is_dark else ("#fff", "#000")
    template = f"""
      <canvas width="{sides[0]}" height="{sides[1]}" data-ground="{ground}"
        data-ink="{ink}" role="img" aria-label="Canvas to draw on"></canvas>
      <div class="tools">
        <label>Thickness <input type="range" min="{max(2, stroke // 3)}"
          max="{3 * stroke}" value="{stroke}"/></label>
        <button type="button">Undo</button><button type="button">Clear</button>
      </div>
      <p class="caption">{_DRAW}</p>"""
    return gr.HTML(
        "",
        html_template=template,
        js_on_load=_HERE.joinpath("canvas.js").read_text(encoding="utf-8"),
        elem_id="canvas",
    )


def _create_file(gr: Any) -> Any:
    """Returns where a picture is dropped, pasted, chosen or photographed."""
    file = gr.Image(
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        label="Picture",
        height=320,
        buttons=["fullscreen"],
        elem_id="file",
    )
    # Gradio would decode it, and in another way than `predict`.
    file.preprocess = lambda payload: payload and payload.path
    return file


def read_style() -> str:
    """Returns the page's own style sheet."""
    return _HERE.joinpath("page.css").read_text(encoding="utf-8")
