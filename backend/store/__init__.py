"""The backend's stored data: the database, predictions, tokens."""
