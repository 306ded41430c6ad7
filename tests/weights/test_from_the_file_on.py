"""Imported networks see a picture file as the frameworks they come from see it."""

import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.convert import main
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.predict import main as predict
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights import peers
from alexnet_jax.weights.conventions import CAFFE, TORCHVISION
from alexnet_jax.weights.torch_networks import logits as torch_logits
from tests.pictures import picture
from tests.weights import writers
from tests.weights.published import caffe_layers, torch_arrays, weights_of

NETWORKS = [
    *("alexnet_torchvision", "alexnet_caffe"),
    pytest.param("caffenet", marks=pytest.mark.slow),
]
PICTURES = {
    "ships.jpg": peers.PICTURE.read_bytes(),
    "landscape.jpg": picture(0, (421, 300)),
    "portrait.jpg": picture(1, (301, 502)),
    "large.jpg": picture(2, (1400, 1100)),
    "gray.jpg": picture(3, (400, 300), "L"),
    "gray.png": picture(3, (300, 277), "L", "PNG"),
    "cmyk.jpg": picture(4, (400, 300), "CMYK"),
    "palette.png": picture(5, (333, 300), "P", "PNG"),
    "tiny.jpg": picture(6, (40, 30)),
    "dot.png": picture(7, (1, 1), kind="PNG"),
    "wide.png": picture(8, (900, 40), kind="PNG"),
}
MEAN = np.float32([104.00698793, 116.66876762, 122.67891434])


def of_torchvision(content):
    """torchvision's `Resize(256)`, `CenterCrop(224)`, `ToTensor`, `Normalize`."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    width, height = image.size
    short, long = min(image.size), max(image.size)
    other = int(256 * long / short)
    size = (256, other) if width <= height else (other, 256)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (int(round((side - 224) / 2.0)) for side in size)
    image = np.asarray(image.crop((left, top, left + 224, top + 224)))
    mean, deviation = np.float32([0.485, 0.456, 0.406]), [0.229, 0.224, 0.225]
    return (image / np.float32(255) - mean) / np.float32(deviation)


def resize_rows(pixels, target, *, clamps):
    """One pass of OpenCV's linear resize of bytes: sums of 11 more bits."""
    side = len(pixels)
    sums = []
    for place in range(target):
        exact = np.float32((place + 0.5) * (side / target) - 0.5)
        low = int(np.floor(exact))
        share = exact - np.float32(low)
        if clamps and not 0 <= low < side - 1:
            share = np.float32(0)
        weights = [int(np.rint(one * 2048)) for one in (1 - share, share)]
        rows = (min(max(low + one, 0), side - 1) for one in (0, 1))
        sums.append(
            [(pixels[row], one) for row, one in zip(rows, weights, strict=True)]
        )
    return sums


def of_opencv(content):
    """Caffe's `convert_imageset`: `cv::imread`, `cv::resize` to 256×256; BGR."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    pixels = np.asarray(image)[..., ::-1].astype(np.int32)
    columns = resize_rows(pixels.transpose(1, 0, 2), 256, clamps=True)
    wide = np.stack([a * p + b * q for (a, p), (b, q) in columns], axis=1)
    rows = resize_rows(wide >> 4, 256, clamps=False)
    return np.stack(
        [((p * a >> 16) + (q * b >> 16) + 2) >> 2 for (a, p), (b, q) in rows]
    )


def of_caffe(content):
    """Less the mean by channel, the central 227 pixels; blue first."""
    return (of_opencv(content) - MEAN).astype(np.float32)[14:241, 14:241]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def imported(network, tmp_path_factory):
    """A run of a network's file with the pictures beside it, and its weights."""
    folder = tmp_path_factory.mktemp(network)
    params = weights_of(network)
    if network == "alexnet_torchvision":
        writers.save_torch(folder / "w", writers.state_dict(torch_arrays(params)))
    else:
        writers.save_caffe(folder / "w", caffe_layers(params, network), is_v1=True)
    main([str(folder / "w"), f"--to={folder / 'run'}"])
    for name, content in PICTURES.items():
        (folder / name).write_bytes(content)
    return folder, TrainedModel(folder / "run"), params


def assert_close(found, wanted):
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def logits_of(net, *paths):
    data = net.config.data
    how = {"fit": data.fit, "way": data.resize}
    return net.logits(np.stack([read_picture(p, net.spec, **how).image for p in paths]))


@pytest.mark.slow
def test_pixels_and_logits_are_those_of_the_source(network, imported, capsys):
    folder, net, params = imported
    published, look = params, of_torchvision
    if network != "alexnet_torchvision":
        look, kernel = of_caffe, params["conv1"]["kernel"][:, :, ::-1]
        published = params | {"conv1": params["conv1"] | {"kernel": kernel}}
    seen = np.stack([look(content) for content in PICTURES.values()])
    apply = net.model.apply
    wanted = np.asarray(jax.jit(apply)({"params": published}, seen))
    found = logits_of(net, *(folder / name for name in PICTURES))
    for one, row in zip(found, wanted, strict=True):
        assert_close(one, row)
    predict([str(folder / "run"), *(str(folder / one) for one in PICTURES), "--json"])
    for found, row in zip(json.loads(capsys.readouterr().out), wanted, strict=True):
        rows = np.exp(row - row.max())
        rows /= rows.sum()
        for one in found["predictions"]:
            probability = rows[int(one["class"])]
            assert one["probability"] == pytest.approx(probability, abs=1e-4)


@pytest.mark.heavy
def test_other_filters_give_other_logits(network, imported):
    """So the agreement above is the filter's."""
    folder, net, _ = imported
    path = folder / "ships.jpg"
    (found,) = logits_of(net, path)
    image = read_picture(path, net.spec, fit=net.config.data.fit).image  # bicubic
    other = net.logits(image[None])[0]
    assert np.abs(found - other).max() > 1e-3 * np.abs(found).max()


@pytest.mark.slow
def test_the_frameworks_themselves(network, imported):
    """PyTorch's network, of the file, behind torchvision's or OpenCV's pixels."""
    torch = pytest.importorskip("torch")
    folder, net, params = imported
    if network == "alexnet_torchvision":
        transforms = pytest.importorskip("torchvision.transforms")
        preset = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        arrays, convention = torch_arrays(params), TORCHVISION
    else:
        cv2 = pytest.importorskip("cv2")
        convention = CAFFE
        arrays = {
            f"{name}/{part}": blob
            for name, _, blobs in caffe_layers(params, network)
            for part, blob in enumerate(blobs)
        }
    for name, content in PICTURES.items():
        if network == "alexnet_torchvision":
            image = Image.open(folder / name).convert("RGB")
            seen = preset(image)[None].numpy()
        else:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            image = cv2.resize(image, (256, 256))
            data = net.config.data
            ours = read_picture(
                folder / name, net.spec, fit=data.fit, way=data.resize
            ).image[..., ::-1]
            exact = image if name != "cmyk.jpg" else ours  # another table of inks
            assert np.abs(ours.astype(int) - exact).max() <= 1, name
            seen = (ours - MEAN).astype(np.float32)[14:241, 14:241]
            seen = seen.transpose(2, 0, 1)[None].copy()
        wanted = torch_logits(torch, network, convention, arrays, seen)
        assert_close(logits_of(net, folder / name)[0], wanted)


@pytest.mark.slow
def test_the_report_has_pytorchs_logits(imported, capsys):
    pytest.importorskip("torch")
    folder, *_ = imported
    flags = ["--check", "--json", str(folder / "w")]
    main(flags)
    found = json.loads(capsys.readouterr().out)["logits"]
    assert found["difference"] < 1e-4 and found["tool"].startswith("PyTorch ")


@pytest.mark.slow
def test_torchvisions_network_takes_the_weights(tmp_path):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = models.alexnet(num_classes=9).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    main([str(tmp_path / "w.pth"), f"--to={tmp_path / 'run'}"])
    image = of_torchvision(PICTURES["ships.jpg"]).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        wanted = network(torch.from_numpy(image.copy()))[0].numpy()
    (found,) = logits_of(TrainedModel(tmp_path / "run"), peers.PICTURE)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
