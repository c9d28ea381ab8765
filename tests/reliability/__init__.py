"""The fault tests: the rows that they show, their records, and the page that is made of them.

A test of a row of `faults.ROWS` has the marker `fault`, and records its figures:

    @pytest.mark.fault("F3", "answers", "rounds")
    def test_webhooks_in_a_training(figures, full):
        number = 10_000 if full else 500
        ...
        figures(webhooks=number, p99_ms=12.5)

The marker names the row, and the parts of the row that the test shows; without parts it shows the
whole row. `full` is True in `make torture`. `python -m tests.reliability run` runs all of them.
"""
