"""Files that the rest reads and writes: COCO files, images, pools of scored instances."""
