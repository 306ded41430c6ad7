"""What the parts make of what they have measured."""

import json

import numpy as np
import pytest

from benchmarks.gpu import card, forms, golden, profiling, resume, runs, steps

EVENTS = [  # operation, kernel, start, end: the third within the second
    ("conv.1", "sm90_xmma_fprop", 0.0, 40.0),
    ("fusion.2", "loop_fusion", 50.0, 90.0),
    ("copy.3", "copy", 60.0, 80.0),
]


def test_the_card_must_be_a_gpu():
    rows = card.measure()
    assert "cores" in next(rows)["words"]
    with pytest.raises(SystemExit, match="^JAX sees no GPU; --small tries"):
        next(rows)


@pytest.mark.parametrize(
    ("lines", "status", "rows"),
    [
        (["t.py::a PASSED [ 1%]", "t.py::b[x y] FAILED", "t.py::c SKIPPED (no)"], 1, 2),
        (["No module named pytest"], 1, None),
        (["t.py::a PASSED"], 2, None),
    ],
)
def test_the_tests_are_counted(monkeypatch, lines, status, rows):
    script = f"print({chr(10).join(lines)!r}); raise SystemExit({status})"
    popen = golden.subprocess.Popen
    monkeypatch.setattr(
        golden.subprocess,
        "Popen",
        lambda command, **more: popen([command[0], "-c", script], **more),
    )
    if rows is None:
        with pytest.raises(RuntimeError, match=f"^pytest ended with {status}$"):
            [*golden.measure(["tests"], "cpu")]
        return
    failed, counted = golden.measure(["tests"], "cpu")
    assert failed["test"] == "t.py::b[x y]" and failed["ok"] is False
    assert counted["passed"] == counted["failed"] == counted["skipped"] == 1


def test_time_in_which_two_kernels_run_counts_once():
    assert profiling.span(EVENTS) == (90.0, 80.0)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("custom-call.7", "cudnn_conv_wgrad"), "convolutions"),
        (("dot.1", "nvjet_hsh_128x256"), "matrix products"),
        (("select-and-scatter.1", "x"), "window searches and scatters"),
        (("input_reduce_fusion", "input_reduce_fusion"), "reductions"),
        (("MemcpyD2D", "MemcpyD2D"), "copies"),
        (("wrapped_convert", "loop_convert_fusion"), "fusions"),
        (("x", "y"), "all else"),
    ],
)
def test_kernels_have_kinds(names, kind):
    assert profiling.kind_of(*names) == kind


def test_a_profile_in_words():
    kinds = {"copies": 0.5, "convolutions": 1.5}
    assert profiling.in_words(2.5, 2.0, 114.0, kinds) == (
        "2.5 ms, 20% of them idle, 114 kernels: "
        "1.5 ms (75%) in convolutions, 0.5 ms (25%) in copies"
    )


class FakeSide:
    """Takes as many milliseconds a step as its name says."""

    def __init__(self, context, side, **work):
        if side == "broken":
            raise steps.RunError("broken: it does not compile")
        self.compile_s, self.name = 1.0, side

    def seconds(self, count):
        return (
            count * {"ours": 0.001, "torch": 0.002, "torch.compile": 0.0015}[self.name]
        )

    def kernels(self):
        return 100.0 if self.name == "ours" else None

    def memory(self):
        return (1.0, 2.0) if self.name == "ours" else (1.0, None)

    def close(self):
        return self.memory()


def test_steps_in_words(monkeypatch, tmp_path):
    results = tmp_path / "results.jsonl"
    card_row = {"precision": "default", "dtype": "bfloat16", "matrix_tflops": 1.0}
    results.write_text(json.dumps(card_row) + "\n")
    monkeypatch.setattr(steps, "Side", FakeSide)
    sides = ["ours", "broken", "torch.compile", "torch"]
    how = {"sides": sides, "results": str(results), "turn_s": 0.01}
    rows = [*steps.measure("lenet5", "bfloat16", 10, **how)]
    told = [row["words"].partition(": ")[2] for row in rows if "words" in row]
    rate = "TFLOP/s, {} of the matrix rate".format
    faster = "ours is {0} × as fast ({0} to {0})".format
    tflops = 3 * 2 * 416_520 * 10_000 / 1e12  # of LeNet's multiply-adds an image
    assert told == [
        f"ours 10,000 images/s, 1 ms a step, {tflops:.3g} {rate('2%')}",
        f"torch 5,000 images/s, 2 ms a step, {tflops / 2:.3g} {rate('1%')}; "
        + faster("2.00"),
        "ours holds 1.00 GB of the host, 2.00 GB of the card",
        "torch holds 1.00 GB of the host",
        "torch.compile 6,667 images/s, 1.5 ms a step, "
        f"{tflops / 1.5:.3g} {rate('2%')}; " + faster("1.50"),
        "torch.compile holds 1.00 GB of the host",
        "ours, 100 kernels a step",
        "torch, kernels unseen",
        "torch.compile, kernels unseen",
    ]
    (broken,) = (row for row in rows if "error" in row)
    assert broken["side"] == "broken"
    # Without ours the others are measured too.
    rows = [*steps.measure("lenet5", "bfloat16", 10, sides=["broken", "torch"])]
    assert [row["images_per_s"] for row in rows if "ms" in row] == [pytest.approx(5000)]
    with pytest.raises(steps.RunError, match="no side ran lenet5 in float32"):
        [*steps.measure("lenet5", "float32", 10, sides=["broken"])]


def test_a_side_that_fails_loses_no_other(monkeypatch):
    """Its own times until then are kept, and memory is asked for before profiles."""

    class Failing(FakeSide):
        turns = 0

        def seconds(self, count):
            self.turns += 1
            if self.name == "torch" and self.turns > 3:
                raise steps.RunError("torch: out of memory")
            return super().seconds(count)

        def kernels(self):
            raise steps.RunError(f"{self.name}: no CUPTI")

    monkeypatch.setattr(steps, "Side", Failing)
    how = {"sides": ["ours", "torch"], "turn_s": 0.01}
    rows = [*steps.measure("lenet5", "bfloat16", 10, **how)]
    timed = {row["side"]: row["ms"] for row in rows if "ms" in row}
    assert timed == {"ours": pytest.approx(1.0), "torch": pytest.approx(2.0)}
    assert [row["side"] for row in rows if "host_gb" in row] == ["ours"]
    errors = {row["error"] for row in rows if "error" in row}
    assert errors == {"torch: out of memory", "ours: no CUPTI"}


def test_a_form_that_is_wrong_is_told(monkeypatch):
    def answer(name, batch_size, numbers, *, plain):
        off = 0.0 if plain else {"highest": 2e-5, "float32": 1.0, "bfloat16": np.nan}
        off = off if plain else off[numbers]
        return np.ones(4), {"kernel": np.full(3, 1 + off), "bias": np.full(3, 1e-9)}

    monkeypatch.setattr(forms, "_answer", answer)
    rows = [*forms.measure(["lenet5"], 2)]
    assert [row["ok"] for row in rows] == [True, False, False]
    assert "lenet5, float32: WRONG, off by 1.0e+00, in one" in rows[1]["words"]


def test_distances_of_logits_and_gradients():
    wanted = (
        np.full(4, 2.0),
        {"a": np.full(100, 3.0), "b": np.ones(1), "c": np.zeros(1)},
    )
    got = (
        np.full(4, 2.02),
        {"a": np.full(100, 3.0), "b": np.full(1, 1.3), "c": np.zeros(1)},
    )
    assert forms.distances(got, wanted) == pytest.approx((0.01, 0.3))
    assert forms.distances(wanted, wanted) == (0.0, 0.0)


@pytest.mark.heavy
def test_a_run_is_summed_up(trained, tmp_path):
    row = runs.summarize(trained)
    assert (row["step"], row["epoch"], row["dtype"]) == (8, 2.0, "float32")
    assert row["top1"] == row["by_epoch"][-1] <= row["best"]
    assert len(row["by_epoch"]) == 2
    assert row["time_s"] > row["eval_s"] > 0
    assert runs.summarize(tmp_path) is None
    runs.keep(trained, tmp_path / "kept")
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"metrics.jsonl", "config.json"} <= names
    assert "checkpoints" not in names


def test_runs_of_several_seeds(trained, tmp_path, monkeypatch):
    def train(flags, workdir):
        assert flags == ["--config=x", "--seeds=0,1"]
        (workdir / "seed-1").parent.mkdir(parents=True)
        (workdir / "seed-1").symlink_to(trained)
        return 143

    monkeypatch.setattr(runs, "train", train)
    first, second, mean = runs.measure("a", ["--config=x"], [0, 1], str(tmp_path), 0.9)
    assert first == {"run": "a", "seed": 0, "error": "no test; status 143"}
    assert second["seed"] == 1 and second["top1"] == mean["top1"]
    assert "1 seeds (published: 0.9)" in mean["words"]
    assert (tmp_path / "kept/a/seed-1/metrics.jsonl").exists()
    monkeypatch.setattr(runs, "train", lambda *_: 1)
    with pytest.raises(SystemExit, match="^b: no seed reached a test; status 1$"):
        [*runs.measure("b", [], [0], str(tmp_path))]


@pytest.mark.parametrize("differ", [False, True])
def test_continued_runs_are_compared(differ, trained, tmp_path, monkeypatch):
    lengths = []

    def train(flags, workdir):
        lengths.append((workdir.name, flags[-1].rpartition("=")[2]))
        return 0

    def state(workdir, step):
        assert step == 6
        return [np.arange(3.0) + 1e-3 * (differ and "continued" in workdir.name)]

    monkeypatch.setattr(resume, "train", train)
    monkeypatch.setattr(resume, "_state", state)
    again, continued = resume.measure(["--config=x"], 6, str(tmp_path))
    assert again["same_bits"] and continued["same_bits"] is not differ
    assert [length for _, length in lengths] == ["6", "6", "3", "6"]
    words = "1 of 1 arrays differ, by 7.7e-04" if differ else "continued: the same bits"
    assert words in continued["words"]
    monkeypatch.setattr(resume, "train", lambda *_: 1)
    with pytest.raises(RuntimeError, match="^alone: the run ended with 1$"):
        [*resume.measure([], 6, str(tmp_path))]


def test_a_checkpoint_s_arrays_are_read(trained):
    arrays = resume._state(trained, 8)
    assert any(array.shape == (5, 5, 1, 6) for array in arrays)
