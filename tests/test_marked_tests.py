"""`make test` collects tests of a real Label Studio from their folders alone."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
FOLDERS = {"studio", "browser", "contract"}


def test_tests_of_a_real_label_studio_lie_in_the_folders_that_make_test_names():
    marked = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        if any(f"pytest.mark.{name}" in path.read_text("utf-8") for name in ("studio", "browser"))
    }
    outside = {name for name in marked if name.split("/")[0] not in FOLDERS}
    assert len(marked) > 20 and outside == set()
