"""The error that ends a demonstration with a message instead of a traceback."""


class DemoError(RuntimeError):
    """Label Studio, the backend or the data set is not as the demonstration needs it."""
