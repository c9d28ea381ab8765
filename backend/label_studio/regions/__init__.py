"""Converts Label Studio's regions to masks and back. Read `decode` and `encode` first.

decode     an annotation to the ground truth of one image
encode     a detection to a prediction's regions
results    which entries of a `result` list are regions
problems   kinds of regions that cannot be used
crop       a mask and its position
brush, bitmask, polygon, ellipse, rectangle, vector   one shape each
"""

from backend.label_studio.regions.decode import Decoded, decode_annotation
from backend.label_studio.regions.encode import encode_prediction

__all__ = ["Decoded", "decode_annotation", "encode_prediction"]
