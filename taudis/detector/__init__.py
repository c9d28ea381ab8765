"""The paper, section 3.1: the Mask R-CNN that each round trains, and its use to detect objects."""
