"""Section 4 of the paper: simulated rounds of active learning on a labelled data set.

`python -m taudis simulate` trains a model for each strategy, seed and round, and writes a row for
each model:

    split, data_set, image_cache   training and test images
    presets, jobs, grid            strategies with settings, rows to make, settings of all rows
    choosing, make_row             the choice of images, and the row of a model
    model_store, claims, row_log   models and rows on disk, shared by several processes
    run, rerun, cpu_cost           the run, a row made again, the CPU time of a run

`python -m taudis compare` compares the strategies, without importing torch: `result_rows`, `costs`,
`curves`, `paired_curves`, `statistics`, `comparison`, `report`, `curve_picture`.

Both use `row_format` and `gate`, the test whether more labels improve the model at all.
"""
