"""Work on several machines, by ray: the parts of a pool, its similarity rows, the rows of a grid.

`cluster` connects to ray; it is the one file that imports it, when it is first used. `actors` give
work to processes that may die. `blocks` are the images that an actor scores at a time;
`score_parts` scores them, `edges` computes similarity rows by part, `grid` makes the rows of a
simulation, `stream` scores images that the caller reads.
Nothing else imports this folder before somebody asks for ray.
"""
