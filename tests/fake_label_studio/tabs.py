"""Calls about the Data Manager's tabs."""

from tests.fake_label_studio.answers import Refused, found


def add_routes(route):
    """Register this module's calls."""
    route("GET", "/api/dm/views/", list_tabs)
    route("POST", "/api/dm/views/", create_tab)
    route("DELETE", "/api/dm/views/<int:tab>/", delete_tab)


def list_tabs(call):
    """GET /api/dm/views/?project=."""
    with call.records.lock:
        project = found(call.records.projects, call.query["project"], "Project")
        return 200, [_row(project, number) for number in project.tabs]


def create_tab(call):
    """POST /api/dm/views/."""
    with call.records.lock:
        project = found(call.records.projects, call.body["project"], "Project")
        number = call.records.number("tab")
        project.tabs[number] = call.body["data"]
        return 201, _row(project, number)


def delete_tab(call, tab):
    """DELETE /api/dm/views/<id>/."""
    with call.records.lock:
        for project in call.records.projects.values():
            if project.tabs.pop(tab, None) is not None:
                return 204, None
    raise Refused(404, "No View matches the given query.")


def _row(project, number):
    return {"id": number, "project": project.id, "data": project.tabs[number]}
