"""Makes a data directory by the code of a former build, and keeps its Label Studio running.

Started in the tree of that build, which is why it uses nothing of the present tree:

    python former_build.py DATA

Prints one line of JSON, then waits for the end of its input. The backend has ended by then.
"""

import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

from taudis.detector.checkpoint import save_checkpoint
from tests.backend.local_loop import LocalLoop
from tests.taudis.detector_cases import detector


def main(data):
    """Labels, a model, an order of it, a training and its order."""
    model = data.parent / "untrained"
    save_checkpoint(model, detector(), card={})
    loop = LocalLoop(data, model)
    with loop.studio:
        serve(loop)
        project = loop.project(8)
        project.give_model()
        labelled = project.label_some(4)
        made = project.train()
        end(loop)
        print(json.dumps({
            "studio": loop.studio.url, "url": loop.url, "project": project.id,
            "backend": project.backend, "outcome": made.outcome,
            "version": project.version(), "round": made.number,
            "order": open_order(project), "labelled": [row["id"] for row in labelled],
        }), flush=True)  # fmt: skip
        sys.stdin.read()


def open_order(project):
    """The tasks without a label, in the order of the served version."""
    free = {task["id"] for task in project.tasks() if not task["is_labeled"]}
    return [task for task in project.order() if task in free]


def serve(loop):
    """Serve the web app, as the context of a `LocalLoop` does."""
    threading.Thread(target=loop._web.serve_forever, args=(0.02,), daemon=True).start()


def end(loop):
    """End the backend, and leave its files."""
    loop._web.shutdown()
    loop._web.server_close()
    loop.app.extensions["taudis"].predictor.close()
    loop.store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
