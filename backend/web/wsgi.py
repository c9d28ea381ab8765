"""The app for gunicorn (`gunicorn backend.web.wsgi:app`), with settings from the environment."""

from backend.logs import setup_logging
from backend.settings import load_settings
from backend.web.app import create_app

_settings = load_settings()
setup_logging(_settings.log_level)
app = create_app(_settings)
