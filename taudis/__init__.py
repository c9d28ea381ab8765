"""TAUDIS: two-step active learning for instance segmentation (Yu et al.), and the model it asks.

The paper in code, nothing else: no Label Studio, no web, no environment variables.
Read the modules in the order of the paper: `instances`, `uncertainty`, `similarity`, `cover`,
`vote`, `select`, `strategies`; then the detector: `mask_rcnn`, `scoring`, `training`,
`evaluation`, `checkpoint`.

Axis letters, used in every shape comment:

    N  instances in the pool          I  images in the pool
    K  labels, without background     M  side of a mask, in cells (28)
    D  width of an instance embedding C  candidates (alpha * B)
    k  chosen instances (beta * B)    B  budget, in images
    H  image height, px               W  image width, px
    n  instances of one image
"""

from taudis.types import Instances, LabelMap, Pool, Selection, Target, Uncertainty

__version__ = "0.1.0"

__all__ = ["Instances", "LabelMap", "Pool", "Selection", "Target", "Uncertainty"]
