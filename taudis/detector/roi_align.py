"""RoI align on a CPU as one weighted sum of rows: the samples of torchvision's in less time.

Each cell of a RoI is a weighted sum of 16 cells of a feature map. `embedding_bag` computes it for
all channels of a cell at once; torchvision's kernel goes through the channels one by one, forward
and backward.

Letters: B images, R RoIs, C channels of the feature maps, P cells a side.
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
SAMPLES = 2  # a side of each cell of RoI align, as in torchvision's detectors


class RoITable:
    """The cells of all feature maps of a batch as rows of one table, to read RoIs from."""

    def __init__(self, *parts: Sequence[Tensor]) -> None:
        """`parts` of a batch, each its maps [b,C,h,w], finest first, of the strides STRIDES."""
        levels = list(zip(*parts, strict=True))
        self.table = torch.cat(
            [part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]) for part in chain(*levels)]
        )
        # int32: the rows that RoIs read are many, and their numbers are written three times.
        self.heights, self.widths = torch.tensor(
            [level[0].shape[2:] for level in levels], dtype=torch.int32
        ).unbind(1)
        self.images = sum(len(part) for part in levels[0])
        counts = self.images * self.heights * self.widths
        self.first = (counts.cumsum(0) - counts).int()
        finest = STRIDES[0].bit_length() - 1
        self.level_of = LevelMapper(finest, finest + len(levels) - 1)

    def maps(self) -> list[Tensor]:
        """The feature maps [B,C,h,w] of the whole batch, channels last, in the table's memory."""
        shapes = list(zip(self.heights.tolist(), self.widths.tolist(), strict=True))
        parts = torch.split(self.table, [self.images * height * width for height, width in shapes])
        return [
            rows.view(self.images, height, width, -1).permute(0, 3, 1, 2)
            for rows, (height, width) in zip(parts, shapes, strict=True)
        ]

    def pooled(self, rois: Tensor, image: Tensor, cells: int) -> Tensor:
        """RoI align of `rois` [R,4] px in the images [R]: rows [R*cells*cells, C], x fastest.

        torchvision's MultiScaleRoIAlign with `aligned=False`, up to rounding.
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
    """Rows (or columns) that each cell of RoI align reads, and their weights: [R,cells,4].

    low, high: borders of the RoIs [R] in cells of the feature map, which has `count` [R] of them.
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
    """Whether `RoITable` reads what this RoI align of torchvision reads."""
    return pool.sampling_ratio == SAMPLES and len(pool.featmap_names) == len(STRIDES)


class _ByTable(nn.Module):
    """MultiScaleRoIAlign by a `RoITable`, with gradients."""

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.cells, self.names = pool.output_size[0], pool.featmap_names

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], _: list[tuple[int, int]]
    ) -> Tensor:
        """The boxes [R,4] px of each image, read from the maps [B,C,h,w]: [sum of R,C,P,P]."""
        levels = [features[name].float() for name in self.names]
        image = torch.cat([torch.full((len(each),), row) for row, each in enumerate(boxes)])
        rows = RoITable(levels).pooled(torch.cat(boxes), image, self.cells)
        channels = levels[0].shape[1]
        return rows.view(len(image), self.cells, self.cells, channels).permute(0, 3, 1, 2)


@contextmanager
def read_by_table(model: MaskRCNN) -> Iterator[None]:
    """While open, a model on a CPU reads its RoIs by `RoITable`, up to rounding the same."""
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
