"""Our gunicorn worker with a short time limit for a request."""

from backend.web import server
from backend.web.server import TimedWorker

server.READ_SECONDS = 0.5
QuickWorker = TimedWorker
