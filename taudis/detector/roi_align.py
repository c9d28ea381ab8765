"""A faster RoI align on a CPU, with the samples of torchvision's.

Each cell of a RoI is a weighted sum of 16 cells of a feature map. `embedding_bag` computes this sum
for all channels at once, forward and backward. torchvision's kernel processes the channels one by
one.

Letters: B images, R RoIs, C channels of the feature maps, P cells per side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

STRIDES = (4, 8, 16, 32)  # of the feature maps that RoIs are read from
SAMPLES = 2  # samples per side of each cell, as in torchvision's detectors


class RoITable:
    """The cells of all feature maps of a batch, as rows of a table from which RoIs are read."""

    def __init__(self, *parts: Sequence[Tensor]) -> None:
        """parts: of a batch, each with its maps [b,C,h,w] of the strides STRIDES, finest first."""
        levels = list(zip(*parts, strict=True))
        self.table = torch.cat(
            [part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]) for part in chain(*levels)]
        )
        # int32 saves time, because `pooled` writes three large arrays of row numbers.
        self.heights, self.widths = torch.tensor(
            [level[0].shape[2:] for level in levels], dtype=torch.int32
        ).unbind(1)
        self.images = sum(len(part) for part in levels[0])
        counts = self.images * self.heights * self.widths
        self.first = (counts.cumsum(0) - counts).int()
        finest = STRIDES[0].bit_length() - 1
        self.level_of = LevelMapper(finest, finest + len(levels) - 1)

    def maps(self) -> list[Tensor]:
        """The feature maps [B,C,h,w] of the batch, channels last: views of the table."""
        shapes = list(zip(self.heights.tolist(), self.widths.tolist(), strict=True))
        parts = torch.split(self.table, [self.images * height * width for height, width in shapes])
        return [
            rows.view(self.images, height, width, -1).permute(0, 3, 1, 2)
            for rows, (height, width) in zip(parts, shapes, strict=True)
        ]

    def pooled(self, rois: Tensor, image: Tensor, cells: int) -> Tensor:
        """RoI align of `rois` [R,4] px in images `image` [R]: rows [R*cells*cells, C], x fastest.

        Equals torchvision's MultiScaleRoIAlign with `aligned=False`, up to rounding.
        """
        level = self.level_of([rois])
        height, width = self.heights[level], self.widths[level]
        scaled = rois / rois.new_tensor(STRIDES)[level, None]
        x1, y1, x2, y2 = scaled.unbind(1)
        rows, row_weights = _samples(y1, y2, height, cells)
        columns, column_weights = _samples(x1, x2, width, cells)
        start = self.first[level] + image.int() * height * width
        rows = start[:, None, None] + rows * width[:, None, None]
        at = rows[:, :, None, :, None] + columns[:, None, :, None, :]  # [R,P,P,4,4]
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        bag = 4 * SAMPLES * SAMPLES
        return functional.embedding_bag(
            at.reshape(-1, bag),
            self.table,
            mode="sum",
            per_sample_weights=weights.reshape(-1, bag).to(self.table.dtype),
        )


def _samples(low: Tensor, high: Tensor, count: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The rows (or columns) that each cell of RoI align reads, and their weights: [R,cells,4] each.

    low, high: borders of the RoIs [R], in rows of their feature map. count: its number of rows [R].
    """
    step = (high - low).clamp(min=1) / (cells * SAMPLES)
    at = low[:, None] + (torch.arange(cells * SAMPLES) + 0.5) * step[:, None]
    last = (count - 1)[:, None]
    inside = (at >= -1) & (at <= last + 1)
    at = at.clamp(min=0)
    below = at.int().minimum(last)
    share = torch.where(below < last, at - below, 0)
    weights = torch.stack((1 - share, share), -1) * (inside / SAMPLES)[..., None]
    rows = torch.stack((below, (below + 1).minimum(last)), -1)
    together = (len(low), cells, 2 * SAMPLES)
    return rows.view(together), weights.view(together)


def can_read(pool: MultiScaleRoIAlign) -> bool:
    """Whether `RoITable` supports the settings of this RoI align of torchvision."""
    return pool.sampling_ratio == SAMPLES and len(pool.featmap_names) == len(STRIDES)


class _ByTable(nn.Module):
    """MultiScaleRoIAlign by a `RoITable`, with gradients."""

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.cells, self.names = pool.output_size[0], pool.featmap_names

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], _: list[tuple[int, int]]
    ) -> Tensor:
        """RoI align of the boxes [R,4] px of each image: [sum of R,C,P,P]."""
        levels = [features[name].float() for name in self.names]
        image = torch.cat([torch.full((len(each),), row) for row, each in enumerate(boxes)])
        rows = RoITable(levels).pooled(torch.cat(boxes), image, self.cells)
        channels = levels[0].shape[1]
        return rows.view(len(image), self.cells, self.cells, channels).permute(0, 3, 1, 2)


@contextmanager
def read_by_table(model: MaskRCNN) -> Iterator[None]:
    """In this context, a model on a CPU reads its RoIs with `RoITable`; equal up to rounding."""
    heads = model.roi_heads
    pools = heads.box_roi_pool, heads.mask_roi_pool
    if not all(can_read(pool) for pool in pools):
        yield
        return
    heads.box_roi_pool, heads.mask_roi_pool = (_ByTable(pool) for pool in pools)
    try:
        yield
    finally:
        heads.box_roi_pool, heads.mask_roi_pool = pools
