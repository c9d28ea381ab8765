"""Decodes a picture short of memory, and then with enough, in a process of its own.

What came of it is a line each: the error's class, the shape.
"""

import io

from PIL import Image

from taudis.data.images import decode_image
from taudis.errors import DataError
from tests.faults.short_memory import limit

SIZE = (4_000, 3_000)  # px: 36 MB decoded
EXTRA_MB = 20


def png(size):
    """The bytes of a black picture."""
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    data = png(SIZE)
    decode_image(png((8, 8)))  # what is loaded at first use is there afterwards
    limit(EXTRA_MB)
    try:
        print(decode_image(data).shape)
    except (MemoryError, DataError) as error:
        limit(None)
        print(type(error).__name__)
    limit(None)
    print(decode_image(data).shape)
