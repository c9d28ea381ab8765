"""Section 3.1 of the paper: the model that each round trains, and the detection of objects."""
