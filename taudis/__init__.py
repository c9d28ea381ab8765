"""TAUDIS: two-step active learning for instance segmentation (Yu et al.), and its detector.

This package does not use Label Studio, the web or environment variables. A folder imports only
files and folders above it in this list, except that `selection` and `detector` do not import each
other:

    types, errors, files, masks, memmap, time_left   used by all: Pool, Selection; atomic writes
    data/         COCO files, image files, and the pool of scored instances on disk
    selection/    sections 3.2 to 3.4 and appendix D: which images to label next; no torch
    selection/fast/  shortcuts of the similarity step: the same edges in less time
    detector/     section 3.1: Mask R-CNN (and Mask2Former), checkpoints, exports
    training/     appendix C: recipes, training samples, the training loop
    evaluation/   matching, mAP, its interval, comparison of models, thresholds of pre-annotations
    scoring       runs a detector over images and makes the pool
    simulation/   section 4: simulated rounds of active learning, and their comparison
    distributed/  scoring, similarities and simulations on a ray cluster; optional
    cli/          the commands of `python -m taudis`

Read in the order of the paper: `types`; in `selection/`: `uncertainty` and `candidates` (3.2),
`similarity`, `graph` and `cover` (3.3), `vote` (3.4), `algorithm1` (all steps), `strategies`
(baselines and variants); then `detector/mask_rcnn`, `training/train`, `evaluation/metrics` and
`scoring`.

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
