"""Work on several machines with ray; optional.

    cluster       connects to ray; the only file that imports ray, at its first use
    actors        gives work to processes that may die
    blocks        the images that an actor scores at a time
    score_parts   scores a list of images, block by block
    stream        scores images that the caller reads
    edges         computes the edges of the similarity graph
    grid          makes the rows of a simulation

This folder is imported only for commands that use ray.
"""
