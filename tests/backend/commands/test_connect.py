"""`connect` writes nothing before Label Studio has shown the project."""


def test_a_number_that_label_studio_does_not_know_leaves_nothing(loop):
    known = loop.project(2)
    said = loop.cli("connect", "--project", "99", well=False)
    assert "99" in said
    assert [project.id for project in loop.store.projects()] == [known.id]
    loop.turn()
    assert [project.id for project in loop.store.projects()] == [known.id]


def test_without_an_address_of_label_studio_it_names_the_setting(loop):
    said = loop.cli("connect", "--project", "99", well=False, LABEL_STUDIO_URL="")
    assert "LABEL_STUDIO_URL" in said
    assert loop.store.projects() == []


def test_a_project_whose_backend_is_refused_stays_disconnected(loop):
    project = loop.project(2)
    project.cli("disconnect")
    project.remove_backend()
    project.cli("connect", well=False, BACKEND_URL="http://127.0.0.1:9")
    assert loop.store.project(project.id).state.disconnected
