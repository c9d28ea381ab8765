"""The Label Studio SDK for tests that need it: importing the whole package takes 8 s."""

import importlib
import importlib.util
import warnings
from functools import cache
from pathlib import Path


@cache
def sdk(name):
    """A module of the SDK, such as "converter"; the SDK still uses pydantic's old validators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"label_studio_sdk.{name}")


@cache
def sdk_brush():
    """Its `converter/brush.py` by itself: that file needs NumPy and Pillow alone."""
    package = Path(importlib.util.find_spec("label_studio_sdk").origin).parent
    spec = importlib.util.spec_from_file_location("sdk_brush", package / "converter/brush.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
