"""The demonstration: generated pictures, a real Label Studio, and annotators who label in it."""
