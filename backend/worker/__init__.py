"""The worker process: what takes minutes, in the order of a round."""
