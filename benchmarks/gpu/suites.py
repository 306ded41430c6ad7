"""The suites: what is measured, the most valuable first.

1. Are our forms right on this card, and how fast are steps beside the peer's.
2. The job: a run from the command to the prompt, resumed runs, evaluation, reading.
3. The flagships: ten epochs of each recipe for Fashion-MNIST with several seeds, and
   the fastest way to 91 %. A second start continues what was cut short.

In little (`small`) each suite has the same kinds of parts with LeNet-5 on the digits.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.runner import Part
from benchmarks.gpu.steps import SIDES

_LONG_S = 300  # in little nothing is short of time
_EAGER = ["ours", "flax", "torch", "torch.graph"]
_COMPILED = ["ours", "torch.compile"]
# A profile then names each kernel by its operation.
_NO_GRAPHS = {"XLA_FLAGS": "--xla_gpu_enable_command_buffer="}
# Compiles in a few seconds: for numbers, not for speed.
_QUICK = {"XLA_FLAGS": "--xla_gpu_autotune_level=0"}
# Tests whose numbers should be a GPU's as well; of networks they are marked as heavy.
_GOLDEN = ["tests/golden", "-mnot slow"]
_LAYERS = ["tests/layers", "-mnot heavy and not slow"]
_FEW = ["tests/golden", "-m", "slow", "-knormalization"]
_NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}  # each process chooses anew


class Place(NamedTuple):
    """Where a suite reads and writes.

    Attributes:
      work: Folder of runs, prepared data and compiled code.
      results: The suite's results.
      manual_dir: Folder of Fashion-MNIST's four files.
    """

    work: str
    results: str
    manual_dir: str | None = None


def suite(number: int, place: Place, *, small: bool = False) -> list[Part]:
    """Returns the parts of a suite, 1 to 3, in order."""
    makers: dict[int, Callable[[Place, bool], list[Part]]]
    makers = {1: _steps, 2: _job, 3: _flagships}
    card = _part("card", "card", 90, small=small)
    card = card._replace(required=True)  # without a GPU figures would be a CPU's
    return [card, *makers[number](place, small)]


def _part(
    name: str,
    module: str,
    limit_s: float,
    environment: dict[str, str] | None = None,
    /,
    **work: Any,
) -> Part:
    return Part(name, f"benchmarks.gpu.{module}", work, limit_s, environment or {})


def _step(
    place: Place, model: str, dtype: str, batch_size: int, limit_s: float, **more: Any
) -> Part:
    what = " evaluation" if more.get("mode") == "eval" else ""
    what += " compiled" if more.get("sides") == _COMPILED else ""
    return _part(
        f"steps {model} {dtype} {batch_size}{what}",
        "steps",
        limit_s,
        model=model,
        dtype=dtype,
        batch_size=batch_size,
        results=place.results,
        **more,
    )


def _profile(place: Place, model: str, dtype: str, batch_size: int, steps: int) -> Part:
    return _part(
        f"profile {model} {dtype} {batch_size}",
        "profiling",
        60,
        _NO_GRAPHS,
        model=model,
        dtype=dtype,
        batch_size=batch_size,
        folder=str(Path(place.work, "kept", "profiles")),
        steps=steps,
    )


def _steps(place: Place, small: bool) -> list[Part]:
    if small:
        little: dict[str, Any] = {
            "sides": ["ours", "flax", "torch"],
            "turn_s": 0.01,
            "repeats": 2,
        }
        return [
            _part("forms", "forms", _LONG_S, _QUICK, models=["lenet5"], batch_size=2),
            _part("tests", "golden", _LONG_S, paths=_FEW, platform="cpu"),
            _step(place, "lenet5", "bfloat16", 4, _LONG_S, **little),
            _profile(place, "lenet5", "float32", 4, 2),
        ]
    d2l, paper = "alexnet_d2l", "alexnet_paper"
    others = ("alexnet_torchvision", "alexnet_half")
    return [
        _part(
            "forms d2l, paper", "forms", 100, _QUICK, models=[d2l, paper], batch_size=16
        ),
        _step(place, d2l, "bfloat16", 128, 150),
        _profile(place, d2l, "bfloat16", 128, 20),
        _step(place, paper, "bfloat16", 128, 150),
        _part("tests", "golden", 120, _QUICK, paths=_GOLDEN, platform="cuda"),
        _step(place, d2l, "bfloat16", 512, 60, sides=_EAGER),
        _step(place, d2l, "float32", 128, 60, sides=_EAGER),
        _profile(place, paper, "bfloat16", 128, 20),
        *(_step(place, name, "bfloat16", 128, 60, sides=_EAGER) for name in others),
        _part(
            "forms of the others",
            "forms",
            120,
            _QUICK,
            models=["alexnet_torchvision", "alexnet_2012", "alexnet_caffe", "lenet5"],
            batch_size=16,
        ),
        _part("tests of layers", "golden", 90, _QUICK, paths=_LAYERS, platform="cuda"),
        *(_step(place, name, "bfloat16", 128, 150, sides=_COMPILED) for name in others),
        _step(place, paper, "bfloat16", 512, 150),
        _step(place, d2l, "bfloat16", 2048, 150),
        _step(place, paper, "float32", 128, 150),
    ]


def _data(place: Place, small: bool) -> Part:
    name = "digits" if small else "fashion_mnist"
    folder = str(Path(place.work, "data"))
    manual_dir = None if small else place.manual_dir
    return _part(
        f"data {name}", "data", 150, name=name, data_dir=folder, manual_dir=manual_dir
    )


def _flags(place: Place, config: str, *more: str) -> list[str]:
    folder = Path(place.work, "data")
    return [f"--config=experiments/{config}", f"--config.data.data_dir={folder}", *more]


def _little(place: Place) -> list[str]:
    lenet = ["--config.model.name=lenet5", "--config.data.image_size=28"]
    lenet += ["--config.model.init=author", "--config.batch_size=400"]
    return _flags(place, "digits.py", *lenet, "--config.num_epochs=1")


def _job(place: Place, small: bool) -> list[Part]:
    runs = {"work": place.work}
    if small:
        flags = _little(place)
        little: dict[str, Any] = {"sides": ["ours"], "turn_s": 0.01, "repeats": 1}
        read = {"images": 131, "workers": 1, "repeats": 1, "batches": 1}
        return [
            _data(place, small),
            _part("resume", "resume", _LONG_S, flags=flags, steps=2, **runs),
            _part("starts", "starts", _LONG_S, flags=flags, **runs),
            _step(place, "lenet5", "float32", 4, _LONG_S, mode="eval", **little),
            Part("input", "benchmarks.input", read, _LONG_S),
        ]
    half = _flags(place, "fashion.py:half", "--config.dtype=bfloat16")
    d2l = _flags(place, "fashion.py:d2l", "--config.dtype=bfloat16")
    one_epoch = [*d2l, "--config.num_epochs=1"]
    resume = {"flags": half, "steps": 100, **runs}
    evaluation: dict[str, Any] = {"mode": "eval", "sides": [*SIDES]}
    return [
        _data(place, small),
        _part(
            "half", "runs", 90, name="half", flags=half, seeds=[0], anew=True, **runs
        ),
        _part("resume", "resume", 150, _NO_CACHE, **resume),
        _part("starts d2l", "starts", 120, flags=one_epoch, **runs),
        _step(place, "alexnet_d2l", "bfloat16", 500, 120, **evaluation),
        Part("input", "benchmarks.input", {"workers": 8}, 90),
        _part(
            "resume without deterministic",
            *("resume", 120, _NO_CACHE),
            deterministic=False,
            **resume,
        ),
    ]


def _flagships(place: Place, small: bool) -> list[Part]:
    def run(
        name: str, flags: list[str], seeds: list[int], limit_s: float, **more: Any
    ) -> Part:
        work = {"name": name, "flags": flags, "seeds": seeds, "work": place.work}
        return _part(name, "runs", limit_s, **work, **more)

    if small:
        return [_data(place, small), run("digits", _little(place), [0, 1], _LONG_S)]

    def fashion(variant: str, *more: str) -> list[str]:
        return _flags(place, f"fashion.py:{variant}", *more)

    three, bfloat16 = [0, 1, 2], "--config.dtype=bfloat16"
    lecun = "--config.model.init=lecun"
    fast = _flags(place, "speedrun.py")
    d2l, seed003, half = ({"published": one} for one in (0.8824, 0.9047, 0.90))
    return [
        _data(place, small),
        run("d2l-float32", fashion("d2l"), [0], 120, **d2l),
        run("speedrun", fast, [0, 1, 2, 3, 4], 150),
        run("d2l-bfloat16", fashion("d2l", bfloat16), three, 150, **d2l),
        run("seed003-bfloat16", fashion("seed003", bfloat16), three, 150, **seed003),
        run("half-bfloat16", fashion("half", bfloat16, lecun), three, 120, **half),
        run("d2l-float32-more", fashion("d2l"), [1, 2], 150, **d2l),
        run("seed003-float32", fashion("seed003"), three, 200, **seed003),
        run("half-float32", fashion("half", lecun), three, 150, **half),
    ]
