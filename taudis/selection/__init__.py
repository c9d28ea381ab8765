"""The paper, sections 3.2 to 3.4 and appendix D: from a pool of instances to an order of images."""
