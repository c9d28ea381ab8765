"""Label Studio's regions <-> masks: brush, polygon and rectangle, in both directions."""

from backend.regions.decode import Decoded, decode_annotation
from backend.regions.encode import encode_prediction

__all__ = ["Decoded", "decode_annotation", "encode_prediction"]
