"""`disconnect` says what it restored, and what stays in Label Studio."""

import pytest

from backend.commands.disconnect import in_words


@pytest.mark.slow
def test_what_was_not_set_is_told_in_words_and_what_stays_is_named(loop):
    project = loop.project(2)
    ours, said = project.version(), project.cli("disconnect")
    assert "''" not in said and "it serves no version of predictions" in said
    assert "task sampling is Sequential sampling" in said
    assert project.rows(ours), "the predictions stay"
    assert "keeps the labels, the predictions named taudis-" in said
    assert "No command here removes these predictions" in said and "Delete Predictions" in said
    again = project.cli("disconnect", well=False)
    assert "nothing to restore" in again


def test_a_version_that_serves_again_is_named():
    said = in_words(7, {"sampling": "Uniform sampling", "model_version": "theirs"})
    assert "it serves the version theirs" in said and "Uniform sampling" in said
