"""How good a model is: matching, metrics, comparison of models, thresholds of pre-annotations."""
