"""What the backend remembers: the database, predictions, tokens."""
