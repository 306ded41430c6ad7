import pytest

from tests.faults.campaign import run, run_real


def test_short_campaign(data_dir, tmp_path):
    rows = run(tmp_path, data_dir, short=True)
    assert [name for name, *_ in rows] == [
        "kill -9 before a change of files",
        "emptied folder: the newest checkpoint",
        "write fails",
        "rename fails",
        "full disk",
    ]


@pytest.mark.slow
def test_real_files(fashion_files, tmp_path):
    ((_, times, _),) = run_real(tmp_path, tmp_path / "tfds")
    assert times == 5


@pytest.mark.slow
def test_long_campaign(data_dir, tmp_path):
    rows = run(tmp_path, data_dir, short=False)
    assert dict((name, times) for name, times, _ in rows)["kill -9"] == 20
