"""Tables of a report's page."""

from alexnet_jax.reporting.html import table


def test_words_of_a_table_that_fits_are_not_broken():
    made = table("", ("run", "data"), [("a", "fashion_mnist")])
    assert '<table class="pairs whole"' in made and ">fashion_mnist<" in made


def test_names_of_a_wide_table_break_between_their_words():
    runs = [f"some_long_name_of_a_run_{number}" for number in range(8)]
    row = ("checkpoint.every_epochs", "0.0001", "a/b.c <d_e>", *runs[3:], "")
    made = table("", ("key", *runs), [row])
    assert '<table class="stacked"' in made
    assert ">checkpoint.<wbr/>every_<wbr/>epochs<" in made
    assert ">0.0001<" in made and ">a/b.<wbr/>c &lt;d_<wbr/>e&gt;<" in made
    assert 'data-column="some_long_name_of_a_run_1"' in made  # not in an attribute
