"""The error that ends a demonstration with a message instead of a traceback."""


class DemoError(RuntimeError):
    """The demonstration cannot continue: Label Studio, the backend or the data set failed."""
