import pytest

from tests.faults.campaign import run, run_real


def test_short_campaign(data_dir, tmp_path):
    rows = run(tmp_path, data_dir, short=True).rows
    assert [name for name, *_ in rows][:2] == ["kill -9", "emptied folder: the newest"]


@pytest.mark.slow
def test_real_files(fashion_files, tmp_path):
    ((_, times, _),) = run_real(tmp_path, tmp_path / "tfds").rows
    assert times == 5


@pytest.mark.slow
def test_long_campaign(data_dir, tmp_path):
    rows = run(tmp_path, data_dir, short=False).rows
    assert dict((name, times) for name, times, _ in rows)["kill -9"] == 20
