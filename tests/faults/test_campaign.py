import pytest

from tests.faults.campaign import LONG, REAL, SHORT, Campaigns


@pytest.fixture(scope="module")
def campaigns(data_dir, tmp_path_factory):
    """Shares the runs that were left alone between the parts."""
    return Campaigns(tmp_path_factory.mktemp("campaigns"), data_dir)


@pytest.mark.parametrize(
    "name", ["calls", pytest.param("moments", marks=pytest.mark.slow)]
)
def test_short_campaign(campaigns, name):
    assert campaigns.run(SHORT[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_long_campaign(campaigns, name):
    assert campaigns.run(LONG[name])


@pytest.mark.slow
def test_real_files(fashion_files, tmp_path):
    (row,) = Campaigns(tmp_path, tmp_path / "tfds").run(REAL["real"])
    assert row[1] == 5
