"""Conditions of the loop, broken one by one, to see which fast test notices (`__main__`)."""
