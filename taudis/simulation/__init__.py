"""Section 4 of the paper on a labelled data set: simulated rounds of active learning, compared.

The steps of `python -m taudis simulate`: `split` divides the images, `presets` are the strategies
with their settings, `jobs` and `grid` what is to be done, `image_cache`, `data_set` and
`model_store` what is shared, `choosing` and `make_row` one row, `claims` and `row_log` how
processes share a run, `run` the run itself, `rerun` one row again, `cpu_cost` what it took.

Both commands: `row_format`, and `gate`, the signal gate.

The steps of `python -m taudis compare`, which import no torch: `result_rows`, `costs`, `curves`,
`paired_curves`, `statistics`, `comparison`, `report`, `curve_picture`.
"""
