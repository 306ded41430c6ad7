"""Summaries of networks and their layouts."""

from alexnet_jax.inspection.tables import align, summarize
from alexnet_jax.summary import main


def test_a_summary_prints_what_the_command_prints(capsys):
    summary = summarize("alexnet_half", (1, 224, 224, 1), 10)
    main(["alexnet_half", "--input-shape=224,224,1", "--num-classes=10"])
    printed = capsys.readouterr().out.splitlines()
    assert str(summary).splitlines() == [line.rstrip() for line in printed]
    assert summary.params == 14_590_314 and f"{summary.params:,}" in str(summary)


def test_a_batch_changes_shapes_but_no_counts():
    one, batch = (summarize("alexnet_half", (n, 224, 224, 1), 10) for n in (1, 8))
    assert batch.layers[0].output_shape == (8, 55, 55, 48)
    assert (batch.macs, batch.activation_bytes) == (one.macs, one.activation_bytes)


def test_rows_keep_each_networks_order():
    names = ["alexnet_2012", "alexnet_caffe", "caffenet"]
    columns = [summarize(name).layers for name in names]
    rows = align(columns)
    for place, layers in enumerate(columns):
        assert [row[place] for row in rows if row[place]] == layers
    assert all(len({layer.name for layer in row if layer}) == 1 for row in rows)


def test_a_summary_is_plain_text_in_a_notebook(monkeypatch):
    """There Rich shows tables by itself, and kernels ask for colors."""
    wanted = str(summarize("lenet5"))
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert str(summarize("lenet5")) == wanted
    assert len(wanted.splitlines()) > 10 and "\x1b" not in wanted
