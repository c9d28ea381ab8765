"""Evaluation of models: matching, metrics, comparison of models, thresholds of pre-annotations."""
