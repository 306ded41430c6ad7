"""Fine-tuning as a config asks for it: which layers, and runs that do it."""

import jax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.convert import main as convert
from alexnet_jax.errors import InputError
from alexnet_jax.train import train_and_evaluate
from alexnet_jax.transfer.freezing import frozen_layers
from tests.helpers import assert_same_bits, checkpoint_of, metrics_of

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")


class TestSettings:
    PARAMS = {"conv1": {"kernel": 0}, "conv2": {"kernel": 0}, "fc8": {"kernel": 0}}
    STATE = {"batch_stats": {"norm1": {"mean": 0}}}

    def frozen(self, **changes):
        optim = default_config().optim
        optim.update(changes)
        return frozen_layers(optim, self.PARAMS, self.STATE)

    def test_layers(self):
        assert self.frozen() == frozenset()
        assert self.frozen(freeze="conv*,norm1") == {"conv1", "conv2", "norm1"}
        assert self.frozen(freeze=("conv1",), rates={"conv*": 2.0}) == {"conv1"}

    def test_a_rate_of_zero_freezes(self):
        assert self.frozen(rates={"conv*": 0.0, "fc8": 2.0}) == {"conv1", "conv2"}
        assert self.frozen(rates={"*": 0.0, "fc8": 1.0}) == {"conv1", "conv2"}

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"freeze": "cov*"}, "optim.freeze: no layer is named 'cov*'; the near"),
            ({"freeze": "*"}, "optim.freeze: '*' leaves no layer to learn; one of con"),
            ({"freeze": ("conv*", "fc8")}, "('conv*', 'fc8') leaves no layer to learn"),
            ({"freeze": "*", "rates": {"fc8": 2.0}}, "optim.freeze: '*' leaves no la"),
            ({"rates": {"*": 0.0}}, "optim.rates: ('*=0.0',) leaves no layer to learn"),
            (
                {"freeze": "conv*", "rates": {"fc8": 0.0}},
                "optim.rates: ('fc8=0.0',) leaves no layer to learn",
            ),
            ({"rates": {"fc9": 2.0}}, "optim.rates: no layer is named 'fc9'; the nea"),
            ({"rates": {"norm1": 2.0}}, "optim.rates: no layer is named 'norm1'"),
            (
                {"freeze": "conv*", "rates": {"conv1": 2.0}},
                "all layers named 'conv1' are frozen by optim.freeze 'conv*'; leave",
            ),
        ],
    )
    def test_errors(self, changes, expected):
        with pytest.raises(InputError) as error:
            self.frozen(**changes)
        assert expected in str(error.value) and "\n" not in str(error.value)


class TestRun:
    @pytest.fixture
    def tuned(self, config, trained):
        config.checkpoint.init_from, config.model.num_classes = str(trained), 12
        config.optim.freeze, config.optim.rates = "conv*", {"fc5": 2.0}
        config.optim.learning_rate, config.num_epochs = 0.01, 1
        config.data.scale = "standard"
        return config

    @pytest.mark.heavy
    def test_it_says_what_it_does(self, tuned, trained, tmp_path, capsys):
        tuned.num_train_steps = 1
        train_and_evaluate(tuned, tmp_path)
        out = capsys.readouterr().out
        assert "\nfrozen    conv1, conv2: 2,572 parameters\nrates     fc5 × 2\n" in out
        old, new = checkpoint_of(trained, 8), checkpoint_of(tmp_path, 1)
        for layer in ("conv1", "conv2"):
            assert_same_bits(old["params"][layer], new["params"][layer])
        memory = jax.tree.leaves_with_path(new["opt_state"])
        assert not [path for path, _ in memory if "conv" in jax.tree_util.keystr(path)]

    @pytest.mark.heavy
    def test_a_copy_of_its_weights_goes_on(self, tuned, tmp_path):
        run, copy = tmp_path / "run", tmp_path / "copy"
        tuned.num_train_steps = 1
        train_and_evaluate(tuned, run)
        convert([str(run), f"--to={copy}"])
        trained, kept = checkpoint_of(run, 1), checkpoint_of(copy, 0)
        assert_same_bits(trained["params"], kept["params"])
        train_and_evaluate(tuned, copy)
        gone_on = checkpoint_of(copy, 1)
        assert_same_bits(gone_on["params"]["conv1"], kept["params"]["conv1"])
        assert (gone_on["params"]["fc5"]["bias"] != kept["params"]["fc5"]["bias"]).any()

    @pytest.mark.heavy
    def test_a_resumed_run_is_the_uninterrupted_one(self, tuned, tmp_path):
        train_and_evaluate(tuned, tmp_path / "whole")
        for tuned.num_train_steps in (2, 4):
            train_and_evaluate(tuned, tmp_path / "parts")
        whole, parts = (
            checkpoint_of(tmp_path / name, 4) for name in ("whole", "parts")
        )
        assert_same_bits(whole, parts)
        names = ("step", "train/loss", "test/loss")
        assert (
            metrics_of(tmp_path / "whole", *names)[-1:]
            == metrics_of(tmp_path / "parts", *names)[-1:]
        )
        tuned.num_epochs, tuned.optim.freeze = 2, "conv1"
        with pytest.raises(InputError, match="optim.freeze was .*conv.*, is .*conv1"):
            train_and_evaluate(tuned, tmp_path / "whole")

    @pytest.mark.heavy
    def test_a_fresh_layer_that_is_frozen_is_named(self, tuned, tmp_path, capsys):
        tuned.checkpoint.init_layers, tuned.num_train_steps = "conv1", 1
        train_and_evaluate(tuned, tmp_path)
        assert "warning   conv2: drawn fresh and frozen\n" in capsys.readouterr().out
