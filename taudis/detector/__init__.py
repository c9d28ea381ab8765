"""The paper, section 3.1: the Mask R-CNN that a round trains and asks."""
