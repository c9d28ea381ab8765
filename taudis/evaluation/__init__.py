"""How good a model is: matching, metrics, comparison of versions, thresholds."""
