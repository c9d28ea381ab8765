"""Label Studio's regions <-> masks: brush, polygon and rectangle, in both directions."""

from backend.label_studio.regions.decode import Decoded, decode_annotation
from backend.label_studio.regions.encode import encode_prediction

__all__ = ["Decoded", "decode_annotation", "encode_prediction"]
