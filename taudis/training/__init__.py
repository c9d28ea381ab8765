"""The paper, appendix C: training the detector."""
