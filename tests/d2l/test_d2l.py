"""d2l's names: the book's code, users' networks and data, and what goes wrong."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax import d2l
from alexnet_jax.d2l.board import save_curves
from alexnet_jax.d2l.by_loop import settings
from alexnet_jax.errors import InputError
from alexnet_jax.preprocessing.pipeline import scale_and_resize

ROOT = Path(__file__).parents[2]


class UserNet(d2l.Classifier):
    """As a reader writes it: unnamed layers, a lambda, BatchNorm."""

    lr: float = 0.05
    num_classes: int = 10
    training: bool = True

    def setup(self):
        self.net = nn.Sequential(
            [
                nn.Conv(features=8, kernel_size=(3, 3), strides=2),
                nn.BatchNorm(not self.training, momentum=0.9),
                nn.relu,
                lambda x: x.reshape((x.shape[0], -1)),
                nn.Dense(features=32),
                nn.relu,
                nn.Dropout(0.1, deterministic=not self.training),
                nn.Dense(features=self.num_classes),
            ]
        )


class SharpNet(d2l.Classifier):
    """Gives each label a loss of its own."""

    lr: float = 0.0
    num_classes: int = 4
    training: bool = True

    def setup(self):
        bias = nn.initializers.constant(jnp.array([9.0, 6.0, 3.0, 0.0]))
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        self.net = nn.Sequential([flatten, nn.Dense(4, bias_init=bias)])


class OwnData:
    """A user's own data: dataloaders, and nothing else."""

    def __init__(self, digits):
        self.digits = digits

    def train_dataloader(self):
        pairs = self.digits.train_dataloader()
        return [(np.asarray(x, np.float64), np.asarray(y, np.int64)) for x, y in pairs]

    def val_dataloader(self):
        return list(self.digits.val_dataloader())


@pytest.fixture(scope="module")
def digits(data_dir):
    return d2l.Digits(batch_size=100, resize=(16, 16), data_dir=str(data_dir))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where a script's curves are saved."""
    monkeypatch.chdir(tmp_path)


class TestData:
    def test_loaders_give_d2ls_batches(self, digits):
        train, val = digits.train_dataloader(), digits.get_dataloader(train=False)
        assert (len(train), len(val)) == (15, 3)
        batches = list(val)
        assert [len(y) for _, y in batches] == [100, 100, 97]
        images, labels = batches[0]
        assert images.shape == (100, 16, 16, 1) and images.dtype == jnp.float32
        assert float(images.min()) >= 0 and 0.9 < float(images.max()) <= 1
        assert labels.dtype == jnp.int32
        assert digits.train[0].shape == (1500, 8, 8, 1)

    def test_the_composition_of_batches_changes(self, digits):
        loader = digits.train_dataloader()
        first, second = (sorted(next(iter(loader))[1].tolist()) for _ in range(2))
        assert first != second

    @pytest.mark.slow
    def test_labels_and_pictures(self, digits):
        batch = next(iter(digits.val_dataloader()))
        assert digits.text_labels([3, 0]) == ["3", "0"]
        axes = digits.visualize(batch, nrows=2, ncols=4)
        titles = [one.get_title() for one in axes]
        assert titles == digits.text_labels(batch[1][:8])
        assert digits.visualize(batch, labels=["a", "b"])[0].get_title() == "a"

    @pytest.mark.slow
    def test_fashion_mnist_has_d2ls_labels(self, fashion_dir):
        data = d2l.FashionMNIST(
            batch_size=128, resize=(224, 224), data_dir=str(fashion_dir)
        )
        names = (
            "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle boot"
        )
        assert " ".join(data.labels) == names
        assert (len(data.train_dataloader()), len(data.val_dataloader())) == (469, 79)
        images, _ = next(iter(data.train_dataloader()))
        assert images.shape == (128, 224, 224, 1)


class TestRectangles:
    def test_a_data_set_is_resized(self, data_dir):
        wide = d2l.Digits(batch_size=297, resize=[12, 20], data_dir=str(data_dir))
        ((images, _),) = wide.val_dataloader()
        assert images.shape == (297, 12, 20, 1)
        expected = scale_and_resize(wide.val[0], (12, 20))
        np.testing.assert_allclose(images, expected, atol=1e-6)

    def test_numpys_integers_are_taken(self, data_dir):
        for resize in (np.array([12, 20]), (np.int64(12), np.int32(20))):
            wide = d2l.Digits(np.int64(297), resize, data_dir=str(data_dir))
            assert wide.resize == (12, 20) and type(wide.resize[0]) is int
        for resize in (np.array([12.5, 20]), np.ones((2, 2), int), np.int64(12), "ab"):
            with pytest.raises(InputError, match="^resize must be a pair of pixels"):
                d2l.Digits(8, resize, data_dir=str(data_dir))

    @pytest.mark.slow
    @pytest.mark.parametrize("resize", [None, [6, 8], np.array([6, 8])])
    def test_the_networks_input_is_that_of_the_data(self, resize):
        class Wide:
            def train_dataloader(self):
                return [(np.zeros((4, 5, 9, 1)), np.zeros(4))]

            val_dataloader = train_dataloader

        data = Wide()
        if resize is not None:
            data.resize = resize
        trainer = d2l.Trainer(max_epochs=1)
        trainer.fit(FlatNet(), data)
        leaves = jax.tree.leaves(trainer.state.params)
        (kernel,) = (leaf for leaf in leaves if leaf.ndim == 2)
        height, width = (5, 9) if resize is None else resize
        assert kernel.shape == (height * width, 10)


class FlatNet(d2l.Classifier):
    """A layer whose parameters tell the size of its input."""

    def setup(self):
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        self.net = nn.Sequential([flatten, nn.Dense(10)])


class TestTrainer:
    @pytest.mark.heavy
    def test_a_users_network_trains(self, digits, capsys):
        trainer = d2l.Trainer(max_epochs=4, num_gpus=1)
        model = UserNet(lr=0.1)
        trainer.fit(model, digits, key=jax.random.PRNGKey(3))
        out = capsys.readouterr().out
        assert "num_gpus: there is no GPU here; the CPU is used" in out
        assert (trainer.epoch, trainer.train_batch_idx) == (4, 60)
        curves = trainer.board.data
        assert [len(curves[k]) for k in ("train_loss", "val_loss", "val_acc")] == [
            8,
            4,
            4,
        ]
        assert curves["val_acc"][-1][1] > 0.85
        assert [x for x, _ in curves["val_acc"]] == [1, 2, 3, 4]
        images, labels = next(iter(digits.val_dataloader()))
        state = trainer.state
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits = model.clone(training=False).apply(variables, images)
        assert (np.asarray(logits).argmax(-1) == np.asarray(labels)).mean() > 0.8
        assert trainer.picture == Path("user-net.png") and trainer.picture.exists()
        assert "curves    user-net.png" in out and "epoch 4/4 | train loss" in out

    @pytest.mark.slow
    def test_the_curves_points_are_of_half_epochs(self, digits):
        """Two halves weigh as much as the whole."""
        trainer = d2l.Trainer(max_epochs=1)
        rows = []
        draw = trainer._draw
        trainer._draw = lambda row: (rows.append(row), draw(row))
        trainer.fit(d2l.LeNet(), d2l.Digits(100, (28, 28), data_dir=digits_dir(digits)))
        (x1, first), (x2, second) = trainer.board.data["train_loss"]
        assert (x1, x2) == (8 / 15, 1.0)
        whole = rows[-1]["train/loss"]
        assert (8 * first + 7 * second) / 15 == pytest.approx(whole, rel=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("sizes", "epochs", "max_steps", "windows"),
        [
            ((4, 4, 4, 1), 2, None, [(0, 1), (2, 3)] * 2),  # a short last batch
            ((4, 4, 1), 1, None, [(0, 1), (2,)]),  # an odd number of steps
            ((4,), 2, None, [(0,), (0,)]),  # one step an epoch
            ((4, 1), 2, 3, [(0,), (1,), (0,)]),  # ends in the middle of an epoch
            ((4, 4, 4, 1), 1, 3, [(0, 1), (2,)]),
        ],
    )
    def test_a_point_is_the_mean_of_its_own_examples(
        self, sizes, epochs, max_steps, windows
    ):
        """As the loss of each is known: at rate 0 nothing changes."""
        generator = np.random.default_rng(0)
        batches = [
            (
                generator.random((size, 4, 4, 1), np.float32),
                np.full(size, index, np.int32),  # the labels' losses differ much
            )
            for index, size in enumerate(sizes)
        ]

        class Data:
            def train_dataloader(self):
                return batches

            val_dataloader = train_dataloader

        model = SharpNet(lr=0.0)
        trainer = d2l.Trainer(max_epochs=epochs, max_steps=max_steps)
        trainer.fit(model, Data())
        losses = [
            optax.softmax_cross_entropy_with_integer_labels(
                model.apply({"params": trainer.state.params}, image), label
            )
            for image, label in batches
        ]
        expected = [
            np.concatenate([losses[index] for index in window]).mean()
            for window in windows
        ]
        points = [y for _, y in trainer.board.data["train_loss"]]
        assert points == pytest.approx(expected, rel=1e-5)
        assert max(expected) - min(expected) > 1 or len(sizes) == 1

    @pytest.mark.slow
    def test_data_of_ones_own(self, digits):
        trainer = d2l.Trainer(max_epochs=3)
        trainer.fit(UserNet(), OwnData(digits))
        assert trainer.train_batch_idx == 45
        assert trainer.board.data["val_acc"][-1][1] > 0.8

    @pytest.mark.slow
    def test_the_same_key_gives_the_same_network(self, digits):
        states = []
        for seed in (1, 1, 2):
            trainer = d2l.Trainer(max_epochs=1, max_steps=3)
            trainer.fit(UserNet(), digits, key=jax.random.key(seed))
            states.append(jax.tree.leaves(trainer.state.params))
        same = [np.array_equal(a, b) for a, b in zip(*states[:2], strict=True)]
        assert all(same) and not np.array_equal(states[0][-1], states[2][-1])

    @pytest.mark.slow
    def test_several_gpus_share_a_batch(self, digits, monkeypatch):
        monkeypatch.setattr("alexnet_jax.d2l.trainer.gpus", jax.devices)
        curves = []
        for count in (1, 4):
            trainer = d2l.Trainer(max_epochs=1, num_gpus=count)
            trainer.fit(PlainNet(), digits)
            assert len(trainer.state.step.devices()) == count
            curves.append(trainer.board.data["val_loss"])
        np.testing.assert_allclose(*curves, rtol=1e-4)

    @pytest.mark.slow
    def test_the_gradient_is_clipped(self, digits):
        def change(clip):
            trainer = d2l.Trainer(max_epochs=1, gradient_clip_val=clip, max_steps=1)
            trainer.fit(PlainNet(lr=1.0), digits)
            fresh = d2l.Trainer(max_epochs=1, max_steps=1)
            fresh.fit(PlainNet(lr=0.0), digits)
            pairs = jax.tree.map(
                lambda a, b: a - b, trainer.state.params, fresh.state.params
            )
            return np.sqrt(
                sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(pairs))
            )

        assert change(0) > 0.1
        assert change(0.01) == pytest.approx(0.01, rel=1e-3)


class PlainNet(d2l.Classifier):
    """No dropout, no BatchNorm: equal on any number of devices."""

    def setup(self):
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        self.net = nn.Sequential([flatten, nn.Dense(self.num_classes)])


def digits_dir(digits):
    return str(digits.data.folder.parents[2])


class TestBadInput:
    def test_something_else_than_logits(self, digits):
        class Wrong(d2l.Classifier):
            def setup(self):
                self.net = nn.Sequential([nn.Conv(7, (3, 3))])

        with pytest.raises(
            InputError, match="Wrong must return .batch, 10.*Conv, returns"
        ):
            d2l.Trainer(max_epochs=1).fit(Wrong(), digits)

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (nn.Dense(10), "^model must be an alexnet_jax.Classifier .*; got Dense$"),
            (PlainNet, r"got the class; write PlainNet\(\)$"),
            (d2l.Classifier(), "^Classifier must fill self.net with .*; got NoneType"),
            (PlainNet(initializer="he"), "^PlainNet: layer layers_1 does not follow "),
            (PlainNet(num_classes=0), "^model.num_classes must be an integer of at"),
        ],
    )
    def test_something_else_than_a_network(self, digits, model, message):
        with pytest.raises(InputError, match=message):
            d2l.Trainer(max_epochs=1).fit(model, digits)

    def test_data_without_loaders(self):
        with pytest.raises(InputError, match="data: list has no train_dataloader"):
            d2l.Trainer(max_epochs=1).fit(UserNet(), [1, 2])

    def test_a_data_module_that_defines_none(self, digits):
        class Half(d2l.DataModule):
            def train_dataloader(self):
                return digits.train_dataloader()

        for data, name in ((d2l.DataModule(), "train"), (Half(), "val")):
            message = f"data: .* defines no {name}_dataloader.*; define one that"
            with pytest.raises(InputError, match=message):
                d2l.Trainer(max_epochs=1).fit(UserNet(), data)

    def test_a_loader_that_is_empty(self, digits):
        class Empty(OwnData):
            def val_dataloader(self):
                return []

        with pytest.raises(InputError, match="data: the loader is empty; it must give"):
            d2l.Trainer(max_epochs=1).fit(UserNet(), Empty(digits))

    @pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "2", None])
    @pytest.mark.parametrize("kind", ["train", "valid"])
    def test_points_of_an_epoch(self, digits, kind, value):
        model, name = UserNet(), f"plot_{kind}_per_epoch"
        setattr(model, name, value)
        with pytest.raises(InputError, match=f"UserNet.{name} must be a number above"):
            d2l.Trainer(max_epochs=1).fit(model, digits)

    def test_a_norm_too_large_for_a_float(self, digits):
        with pytest.raises(InputError, match="^gradient_clip_val must be a number"):
            d2l.Trainer(max_epochs=1, gradient_clip_val=10**400).fit(UserNet(), digits)

    @pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "0"])
    def test_seeds(self, seed):
        with pytest.raises(InputError, match="^seed must be "):
            d2l.Digits(seed=seed)

    def test_folders(self, tmp_path):
        with pytest.raises(InputError, match="^data.data_dir must be a path"):
            d2l.Digits(data_dir="")
        data = d2l.Digits(data_dir=tmp_path / "data")
        assert (tmp_path / "data" / "digits").is_dir() and len(data.val[0]) == 297

    def test_more_gpus_than_there_are(self, monkeypatch):
        with pytest.raises(InputError, match="num_gpus must be at most 0.*got 2"):
            d2l.Trainer(max_epochs=1, num_gpus=2)

    def test_folders_that_are_none(self):
        for key in ("manual_dir", "data_dir"):
            with pytest.raises(
                InputError, match=f"^{key} must be a path or None; got 5"
            ):
                d2l.Digits(**{key: 5})

    @pytest.mark.parametrize(
        ("values", "line"),
        [
            ({"max_epochs": 1.5}, "max_epochs must be an integer; got 1.5"),
            ({"max_epochs": True}, "max_epochs must be an integer; got True"),
            ({"max_epochs": 1, "max_steps": "a"}, "max_steps must be an integer or N"),
            ({"max_epochs": 1, "gradient_clip_val": [1, 2]}, "gradient_clip_val must"),
        ],
    )
    def test_numbers_of_a_trainer(self, values, line):
        with pytest.raises(InputError, match=f"^{line}"):
            settings(d2l.Trainer(**values))
        found = settings(d2l.Trainer(np.int64(3), max_steps=np.int32(7)))
        assert (found.num_epochs, found.num_train_steps) == (3, 7)

    @pytest.mark.parametrize("resize", [224, (28,), (0, 0), "ab", (9, 9, 1), (1.5, 1)])
    def test_a_resize_that_is_no_pair(self, resize):
        with pytest.raises(InputError, match="resize must be "):
            d2l.Digits(resize=resize)


def test_progress_board_means_every_n(tmp_path):
    board = d2l.ProgressBoard(xlabel="x", display=False)
    for x in range(6):
        board.draw(x, x**2, "square", every_n=3)
    assert board.data == {"square": [(1.0, 5 / 3), (4.0, 50 / 3)]}
    board.save(tmp_path / "board.svg")
    assert "<svg" in (tmp_path / "board.svg").read_text()


def test_progress_board_draws_into_axes_of_ones_own():
    figure, (left, right) = d2l.plt.subplots(1, 2)
    boards = [d2l.ProgressBoard(axes=left), d2l.ProgressBoard(fig=figure, axes=right)]
    for board in boards:
        for x in range(2):
            board.draw(x, x, "line")
            assert board.figure() is figure
    assert [len(axes.lines) for axes in (left, right)] == [1, 1]
    figure = d2l.plt.figure()
    board = d2l.ProgressBoard(fig=figure)
    board.draw(0, 1, "point")
    assert board.figure() is board.figure() is figure
    assert len(figure.axes) == len(figure.axes[0].lines) == 1
    d2l.plt.close("all")


def test_a_label_with_dollar_signs_is_no_formula(tmp_path):
    board = d2l.ProgressBoard(xlabel=r"$\foo$", ylabel="$x^$", display=False)
    board.draw(1, 1, "$^$")
    board.save(tmp_path / "board.png")
    assert (tmp_path / "board.png").stat().st_size > 1000


def test_curves_replace_earlier_ones_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("cat.png").write_bytes(b"theirs")
    board = d2l.ProgressBoard()
    for _ in range(2):
        assert save_curves(board, "cat") == Path("cat-2.png")
        assert save_curves(board, "dog") == Path("dog.png")
    assert Path("cat.png").read_bytes() == b"theirs"
    assert sorted(map(str, Path().iterdir())) == ["cat-2.png", "cat.png", "dog.png"]


def test_curves_that_cannot_be_written_end_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    board = d2l.ProgressBoard()

    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(board, "save", fail)
    assert save_curves(board, "cat") is None
    line = "curves    cat.png cannot be written: Permission denied\n"
    assert capsys.readouterr().out == line


def test_a_picture_is_not_written_through_a_link(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "board.png").symlink_to(tmp_path / "theirs")
    d2l.ProgressBoard().save(tmp_path / "board.png")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (tmp_path / "board.png").read_bytes()[:4] == b"\x89PNG"
