"""Data in any of its layouts, read into a Dataset: one module a layout."""

from fer_bench.data.readers.source import OpenedDataset, open_dataset

__all__ = ["OpenedDataset", "open_dataset"]
