"""Reads and writes files: COCO files, images, and pools of scored instances."""
