"""`make demo`: runs the whole product against a real Label Studio, which the demo starts.

Environment variables:

- DEMO=auto: simulated annotators label, and a summary ends the run. Otherwise a person labels.
- DEMO_DATA, DEMO_IMAGES: a COCO data set instead of generated pictures.
- DEMO_LABELS: brush (default), bitmask, polygon or rectangle.
- DEMO_CROWDS: the meaning of objects with iscrowd 1 in that data set: objects, ignore, or ask
  (default), which refuses a data set that has many of them.
- DEMO_CONTROL: share of the queue in random order, 0 (default) to 0.5, to measure whether the
  strategy's order pays. With DEMO=auto the picture has the curves of both arms.

`demo.options` has the others.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from rich.console import Console

from demo import auto, by_hand
from demo.environment import start
from demo.errors import DemoError
from demo.options import options_from
from demo.summary import in_a_sentence, shortcomings
from taudis.errors import TaudisError


def main() -> int:
    """Run the demonstration. Returns the exit status."""
    # With DEMO=auto, stdout has only the JSON line.
    console = Console(stderr=os.environ.get("DEMO") == "auto")
    # SIGTERM and SIGHUP (a closed terminal) end the servers, like Ctrl-C.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    try:
        options = options_from(os.environ)
        with start(options, lambda text: console.print(f"[bold]*[/] {text}")) as environment:
            if not options.auto:
                by_hand.run(options, environment, console)
            summary = auto.run(options, environment, console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0
    except (DemoError, TaudisError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 1
    print(json.dumps(summary))
    wrong = shortcomings(summary, options)
    for text in wrong:
        console.print(f"[bold red]not as promised:[/] {text}", highlight=False)
    if not wrong:
        console.print(f"[bold green]as promised:[/] {in_a_sentence(summary)}", highlight=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
