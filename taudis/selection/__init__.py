"""Sections 3.2 to 3.4 and appendix D of the paper: order the images of a pool for annotation."""
