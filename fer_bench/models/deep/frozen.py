"""The frozen part of a network: its pass over the images is done once, and stored for every strategy, seed and epoch.

Keras is imported inside the functions.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError
from fer_bench.models.deep.batches import Pixels, padded
from fer_bench.progress import Progress, silent

KIND, COST_FILE = "backbones", "cost.json"
BATCH_SIZE, CHUNK = 64, 4096
FORMAT = 1


class Stored:
    """One output of a frozen part as the inputs of what follows, float32 (n, ...).

    copies: (2, n, ...), float16 or float32, memory-mapped: that of each image, and that of its mirror image.
    mirror: whether training sees the mirror images too.
    """

    def __init__(self, copies: np.ndarray, mirror: bool = True) -> None:
        self.copies, self.mirror = copies, mirror

    def __len__(self) -> int:
        return self.copies.shape[1]

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `Inputs`; the change is the mirror."""
        return self.copies[rng.integers(1 + self.mirror, size=len(rows)), rows].astype(np.float32)

    def plain(self, rows: slice, mirrored: bool) -> np.ndarray:
        """See `Inputs`."""
        return self.copies[int(mirrored), rows].astype(np.float32)


@dataclass(frozen=True)
class Cost:
    """What one pass cost when it was done: wall-clock seconds, bytes on disk, and their type; images it was over."""

    seconds: float
    bytes: int
    dtype: str
    images: int


class FrozenPass:
    """What the frozen part of a network makes of images and their mirror images, computed once and stored.

    make: builds the frozen part where a pass is due: a model from pixels, uint8 (n, size, size, channels), to a list
    of outputs. names: theirs, for files. about: all that they depend on, besides images and Keras; JSON-like.
    progress: as in `Task`.

    costs: of the passes asked for so far, whoever did them. seconds: of those done here.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        names: tuple[str, ...],
        about: Mapping[str, Any],
        progress: Progress = silent,
    ) -> None:
        self.make, self.names, self.about, self.progress = make, names, about, progress
        self.model: Any = None
        self.costs: dict[str, Cost] = {}
        self.seconds = 0.0

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Each output by name, (2, n, ...), float16 or float32: of `images`, uint8 (n, h, w[, 3]), and mirrored.

        Raises FerBenchError where the disk has no room for them, FloatingPointError where they are not finite.
        """
        key = self._key(images)
        files = [COST_FILE, *(f"{name}.npy" for name in self.names)]
        folder = cache.fetch(KIND, key, lambda work: self._compute(images, work), files)
        with reading(folder):
            self.costs[key] = Cost(**json.loads((folder / COST_FILE).read_text()))
            outputs = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in self.names}
        return outputs

    @property
    def total_seconds(self) -> float:
        """What the passes asked for so far cost, whoever did them."""
        return sum(cost.seconds for cost in self.costs.values())

    @property
    def ms_per_image(self) -> float:
        """What the passes cost for one image and its mirror image."""
        return 1000 * self.total_seconds / max(1, sum(c.images for c in self.costs.values()))

    def __str__(self) -> str:
        costs = self.costs.values()
        where = f"{sum(c.bytes for c in costs) / 1e6:,.0f} MB of {', '.join(sorted({c.dtype for c in costs}))}"
        origin = f"took {self.seconds:.0f} s and" if self.seconds else "was read from the cache, where it"
        return f"over {sum(c.images for c in costs):,} images and their mirror images {origin} fills {where}"

    def _key(self, images: np.ndarray) -> str:
        """What the stored pass over `images` is found by."""
        import keras

        content = {
            "images": weights_digest(images[start : start + CHUNK] for start in range(0, len(images), CHUNK)),
            "shape": list(images.shape),
            "about": dict(self.about),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "format": FORMAT,
        }
        return cache.digest(content)

    def _compute(self, images: np.ndarray, folder: Path) -> None:
        start = time.perf_counter()
        self.model = self.model or self.make()
        for dtype in (np.float16, np.float32):
            if self._fill(images, folder, dtype):
                break
        else:
            raise FloatingPointError("the frozen part gives values that are not finite: its weights are of no use")
        size = sum(file.stat().st_size for file in folder.iterdir())
        cost = Cost(time.perf_counter() - start, size, np.dtype(dtype).name, len(images))
        self.seconds += cost.seconds
        (folder / COST_FILE).write_text(json.dumps(asdict(cost)))

    def _fill(self, images: np.ndarray, folder: Path, dtype: type) -> bool:
        """Write every output as `dtype`; False as soon as a value does not fit."""
        shapes = [(2, len(images), *output.shape[1:]) for output in self.model.outputs]
        _check_room(folder, sum(int(np.prod(shape)) for shape in shapes) * np.dtype(dtype).itemsize)
        arrays = [
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
            for name, shape in zip(self.names, shapes, strict=True)
        ]
        pixels = Pixels(images, self.model.input.shape[1])
        for start in range(0, len(images), BATCH_SIZE):
            self.progress(0, f"frozen part: image {start:,} of {len(images):,}")
            rows = slice(start, start + BATCH_SIZE)
            for mirrored in (0, 1):
                for array, values in zip(arrays, self._forward(pixels.plain(rows, bool(mirrored))), strict=True):
                    with np.errstate(over="ignore"):  # looked for in the next line
                        array[mirrored, rows] = values
                    if not np.isfinite(array[mirrored, rows]).all():
                        return False
        for array in arrays:
            array.flush()
        return True

    def _forward(self, batch: np.ndarray) -> list[np.ndarray]:
        outputs = self.model.predict_on_batch(padded(batch, BATCH_SIZE))
        return [np.asarray(values, np.float32)[: len(batch)] for values in outputs]


def weights_digest(weights: Iterable[np.ndarray]) -> str:
    """SHA-256 of `weights`, in their order, hexadecimal."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FerBenchError(
            f"the stored pass of the frozen part needs {needed / 1e9:.1f} GB in {cache.root()}, where {free / 1e9:.1f} "
            f"GB are free: make room, let {cache.ENVIRONMENT_VARIABLE} name a folder on another disk, or ask for "
            "a smaller --image-size"
        )
