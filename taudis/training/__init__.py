"""Appendix C of the paper: training the detector."""
