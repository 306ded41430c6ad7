"""The page of `demo`, by hand: a process of its own, a real browser."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.explanation.notes import percent
from alexnet_jax.reporting.predictions import predict_files
from alexnet_jax.trained import TrainedModel

pytest.importorskip("gradio")
SOON_MS = 60_000
SEVEN = [(0.25, 0.15), (0.75, 0.15), (0.45, 0.9)]


def start(run, *flags, **environment):
    """A process that serves the page of a run, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet_jax.demo", str(run), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    for line in process.stdout:
        if found := re.match(r"page      (\S+) \(Ctrl-C ends it\)", line):
            return process, found[1]
    raise AssertionError(process.stderr.read())


def end(process):
    """Ends it as Ctrl-C does, which is one line; returns nothing else."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "error: interrupted\n")


@pytest.fixture(scope="module")
def address(trained):
    process, found = start(trained)
    yield found
    end(process)


@pytest.fixture
def opened(page, address):
    """Opens the page and notes what it asks other hosts for, and its errors."""
    faults = []

    def make(width=1280, theme="light"):
        # Gradio's own scripts warn of methods that it has not written.
        made = page(width, theme, alone=False)
        made.on("request", lambda one: faults.append(one.url) if is_far(one) else None)
        made.on("pageerror", lambda error: faults.append(str(error)))
        made.on("console", lambda m: faults.append(m.text) if m.type == "error" else 0)
        made.set_default_timeout(SOON_MS)
        made.goto(address)
        made.wait_for_selector("#canvas canvas")
        return made

    def is_far(request):
        inside = ("data:", "blob:")
        return not request.url.startswith((address, *inside))

    yield make
    assert not faults


def draw(page, points):
    box = page.locator("canvas").bounding_box()

    def move(point):
        x, y = point
        page.mouse.move(
            box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4
        )

    move(points[0])
    page.mouse.down()
    for point in points[1:]:
        move(point)
    page.mouse.up()


def answered(page):
    """The classes and the percentages that the page shows."""
    page.wait_for_selector("#answer .answer")
    names = page.locator("#answer .name").all_inner_texts()
    return [
        *zip(names, page.locator("#answer .percent").all_inner_texts(), strict=True)
    ]


def predicted(run, path, invert=False):
    ((found),) = predict_files(TrainedModel(run), [path], invert)
    return [(one["class"], percent(one["probability"])) for one in found["predictions"]]


@pytest.fixture
def one(tmp_path):
    """Dark on white, as on paper, and larger than the data's images."""
    pixels = np.full((90, 120, 3), 255, np.uint8)
    pixels[10:80, 55:68] = 20
    path = tmp_path / "one.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def cut_off(too_wide):
    """What is too wide, but for the icons of Gradio's own buttons."""
    return lambda page: [one for one in too_wide(page) if "icon-button" not in one]


def drop(page, path):
    """Drops a file where pictures are dropped."""
    held = page.evaluate_handle(
        """([bytes, name]) => {
          const held = new DataTransfer();
          const type = "image/png";
          held.items.add(new File([new Uint8Array(bytes)], name, { type }));
          return held;
        }""",
        [[*path.read_bytes()], path.name],
    )
    target = page.locator("#file button").first
    for event in ("dragenter", "dragover", "drop"):
        target.dispatch_event(event, {"dataTransfer": held})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_lesson(opened, cut_off, trained, one, tmp_path, width, theme):
    page = opened(width, theme)
    dark = page.evaluate("document.body.classList.contains('dark')")
    assert dark == (theme == "dark")
    assert cut_off(page) == []
    # Draws, bright on black as the digits are.
    draw(page, SEVEN)
    first = answered(page)
    drawn = page.evaluate("document.querySelector('canvas').toDataURL()")
    path = tmp_path / "drawn.png"
    path.write_bytes(urllib.request.urlopen(drawn).read())
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels[0, 0] == 0 and pixels.max() == 255 and pixels.mean() < 128
    assert first == predicted(trained, path)
    assert page.locator("#maps figure").count() == 6
    # Another stroke is another answer; undone, it is the first again.
    text = page.locator("#answer").inner_text()
    changed = "(old) => document.querySelector('#answer').innerText !== old"
    draw(page, [(0.1, 0.5), (0.9, 0.5)])
    page.wait_for_function(changed, arg=text)
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(changed.replace("!==", "==="), arg=text)
    assert answered(page) == first
    # Another layer, and why.
    page.get_by_label("Layer").click()
    page.get_by_role("option", name=re.compile("^conv2 ")).click()
    page.wait_for_function("document.querySelectorAll('#maps figure').length === 16")
    page.get_by_role("button", name="Explain").click()
    page.wait_for_selector("#explained img")
    shown = page.locator("#explained img")
    assert shown.count() == 4
    assert f": {first[0][0]}, " in shown.last.get_attribute("alt")
    assert shown.last.evaluate("(one) => one.complete && one.clientWidth > 100")
    assert cut_off(page) == []
    # A file, dropped; it is dark on white, which a line says.
    page.get_by_role("tab", name="Picture").click()
    drop(page, one)
    page.wait_for_selector("#answer .remark")
    assert answered(page) == predicted(trained, one)
    assert not page.locator("#explained img").count()  # of the drawing
    page.get_by_label("Exchange light and dark").check()
    page.wait_for_selector("#answer .remark", state="detached")
    assert answered(page) == predicted(trained, one, invert=True)
    assert cut_off(page) == []
    # One of the test images.
    page.get_by_role("tab", name="Examples").click()
    page.locator(".choices button").nth(3).click()
    page.wait_for_selector("#answer:has-text('Its label is 3')")
    page.locator(".filters summary").click()
    page.wait_for_selector(".filters img")
    assert cut_off(page) == []
    # A canvas that is cleared is no picture.
    page.get_by_role("tab", name="Draw").click()
    page.get_by_role("button", name="Clear").click()
    page.wait_for_selector("#answer .empty")


def test_a_picture_is_pasted(opened, address, trained, one):
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name="Picture").click()
    page.evaluate(
        """async (bytes) => {
          const type = "image/png";
          const picture = new Blob([new Uint8Array(bytes)], { type });
          await navigator.clipboard.write([new ClipboardItem({ [type]: picture })]);
        }""",
        [*one.read_bytes()],
    )
    page.get_by_label("Paste from clipboard").click()
    assert answered(page) == predicted(trained, one)


def test_a_picture_is_photographed(opened):
    page = opened()
    page.context.grant_permissions(["camera"])
    page.get_by_role("tab", name="Picture").click()
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#file video").wait_for()
    page.get_by_role("button", name="capture photo").click()
    assert len(answered(page)) == 5


def test_a_broken_file_is_a_line(opened, tmp_path):
    page = opened()
    page.get_by_role("tab", name="Picture").click()
    broken = tmp_path / "mine.png"
    broken.write_bytes(b"no picture at all")
    drop(page, broken)
    page.wait_for_selector("#answer .failed")
    line = page.locator("#answer .failed").inner_text()
    assert line.startswith("mine.png: is not a picture that Pillow can read; save it")
    assert "/" not in line and "\n" not in line


def status(address, path, data=None, **headers):
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_no_file_of_the_machine_is_served(trained, tmp_path):
    process, address = start(trained)  # its own: Gradio logs what it refuses
    secret = tmp_path / "secret.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(secret)
    assert status(address, f"/gradio_api/file={secret}")[0] in (403, 404)
    assert status(address, f"/gradio_api/file={Path(__file__)}")[0] in (403, 404)
    assert status(address, "/gradio_api/info")[0] == 404
    assert status(address, "/", Host="elsewhere.example")[0] == 421
    # Nor read, for one who names it instead of sending it.
    config = json.loads(status(address, "/config")[1])
    (file,) = (one["id"] for one in config["components"] if one["type"] == "image")
    index, call = next(
        (place, one)
        for place, one in enumerate(config["dependencies"])
        if [file, "change"] in one["targets"]
    )
    held = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    body = {"data": [held, False, "conv1"], "fn_index": call.get("id", index)}
    body |= {"session_hash": "visitor"}
    joined = status(
        address,
        "/gradio_api/queue/join",
        json.dumps(body).encode(),
        Content_Type="application/json",
    )
    assert joined[0] == 200
    heard = status(address, "/gradio_api/queue/data?session_hash=visitor")[1].decode()
    assert '"success":false' in heard and "figure" not in heard
    assert str(secret) not in heard
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_longer_upload_is_refused(address):
    """Before any of it is read."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", "34000000")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_nothing_is_left_after_ctrl_c(trained, tmp_path):
    process, address = start(trained, TMPDIR=str(tmp_path), GRADIO_SHARE="True")
    boundary = "x"
    body = (
        f"--{boundary}\r\nContent-Disposition: form-data; name=files; "
        'filename="a.png"\r\n\r\nnothing\r\n' + f"--{boundary}--\r\n"
    )
    kind = f"multipart/form-data; boundary={boundary}"
    code, _ = status(address, "/gradio_api/upload", body.encode(), Content_Type=kind)
    assert code == 200
    assert [path for path in tmp_path.rglob("a.png")]
    end(process)
    assert not [*tmp_path.glob("alexnet-demo-*")]
