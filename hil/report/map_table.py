"""The map of an exhaustive campaign as a Parquet file, for other programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.bundle import load_bundle
from hil.campaign.exhaustive_run import load_exhaustive
from hil.campaign.workload import load_workload
from hil.report.bit_map import LayerMap, layer_maps

TABLE_FILE = "map.parquet"


def write_map_table(directory: Path, path: Path | None = None) -> tuple[Path, int]:
    """Write a row for each tensor, output channel and bit position; give the file and the number of rows.

    Columns are ``layer``, ``tensor``, ``channel``, ``bit``, and the shares ``wrong`` and ``critical`` of the faults and
    inputs that struck there. The metadata says what was struck and by which software.

    Raises
    ------
    ConfigError
        pyarrow is not installed.
    DataError
        The directory holds no finished exhaustive campaign, or one of another region than the weights.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError("Parquet files need pyarrow: pip install 'flightnode[parquet]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    result = load_exhaustive(directory)
    if result.about["region"] != "weights":
        raise DataError(f"{directory}: region {result.about['region']} has no layers and channels, only weights have")
    maps = layer_maps(load_workload(load_bundle(directory)).image, result)
    parts = [_rows(layer) for layer in maps]
    names = ("layer", "tensor", "channel", "bit", "wrong", "critical")
    columns = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
    about = {str(key): str(value) for key, value in result.about.items()}
    table = pa.table(columns).replace_schema_metadata(about)
    path = path if path is not None else directory / TABLE_FILE
    pq.write_table(table, path)
    return path, table.num_rows


def _rows(layer: LayerMap) -> tuple[np.ndarray, ...]:
    """Give the columns of a tensor, without cells that nothing struck."""
    bit, channel = np.nonzero(~np.isnan(layer.wrong))
    size = len(bit)
    return (
        np.full(size, layer.layer), np.full(size, layer.name), channel.astype(np.int32), bit.astype(np.int32),
        layer.wrong[bit, channel], layer.critical[bit, channel],
    )  # fmt: skip
