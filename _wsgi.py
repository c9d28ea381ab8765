"""The entry point of the web process: `gunicorn _wsgi:app`.

Run directly (`python _wsgi.py`, as `label-studio-ml start .` does) this file serves and keeps a
worker running beside it (backend.commands.serve). It takes the arguments that label-studio-ml's own
`_wsgi.py` takes, except `--with`: settings are environment variables here.
"""

from __future__ import annotations

import argparse
import sys

from backend.errors import BackendError
from backend.logs import setup_logging
from backend.settings import Settings, load_settings


def parse(arguments: list[str]) -> Settings:
    """Settings from the environment, with what label-studio-ml's command line may add.

    Raises:
        SettingsError: a setting that cannot be used.
        SystemExit: arguments that are not known.
    """
    parser = argparse.ArgumentParser(description="TAUDIS for Label Studio: web process and worker")
    parser.add_argument("-p", "--port", help="port to listen on (PORT)")
    parser.add_argument("--host", help="address to listen on (HOST)")
    parser.add_argument("--model-dir", help="data directory (MODEL_DIR)")
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.add_argument("-d", "--debug", action="store_true", help="the same as --log-level DEBUG")
    # label-studio-ml 2.x passes these two on; from ML_SERVER_BASIC_AUTH_USER and _PASS, too
    parser.add_argument("--basic-auth-user", help="user name for callers (BASIC_AUTH_USER)")
    parser.add_argument("--basic-auth-pass", help="password for callers (BASIC_AUTH_PASS)")
    parser.add_argument("--check", action="store_true", help="check the settings and end")
    given = vars(parser.parse_args(arguments))
    if given.pop("debug"):
        given["log_level"] = "DEBUG"
    check = given.pop("check")
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    if check:
        from backend.settings import check_bind

        check_bind(settings)
        parser.exit(0, "The settings can be used.\n")
    return settings


def main(arguments: list[str]) -> int:
    """Serve until told to stop. Returns the exit code."""
    from backend.commands.serve import serve

    try:
        settings = parse(arguments)
        setup_logging(settings.log_level)
        serve(settings)
    except BackendError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif __name__ != "__mp_main__":  # a spawned process imports its parent's main file under that name
    from backend.web.wsgi import app as app
