"""A network's frozen part: its pass over the images is done once, and stored for every strategy, seed and epoch."""

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
from fer_bench.models.deep.backend import has_gpu
from fer_bench.models.deep.batches import Pixels, padded
from fer_bench.progress import Progress, silent

KIND, COST_FILE = "backbones", "cost.json"
BATCH_SIZE, GPU_BATCH_SIZE = 16, 256  # maps of more images do not stay in a processor's cache: twice as slow
CHUNK = 4096  # images that are digested at once
FORMAT = 2


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
        for name in self.names:
            (folder / f"{name}.npy").unlink(missing_ok=True)  # of the smaller dtype, where a value did not fit
        _check_room(folder, sum(int(np.prod(shape)) for shape in shapes) * np.dtype(dtype).itemsize)
        arrays = [
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
            for name, shape in zip(self.names, shapes, strict=True)
        ]
        pixels, batch_size = Pixels(images, self.model.input.shape[1]), GPU_BATCH_SIZE if has_gpu() else BATCH_SIZE
        for start in range(0, len(images), batch_size):
            self.progress(0, f"frozen part: image {start:,} of {len(images):,}")
            rows = slice(start, start + batch_size)
            batch = pixels.plain(rows, False)
            for mirrored, inputs in enumerate((batch, batch[:, :, ::-1])):
                outputs = self.model.predict_on_batch(padded(inputs, batch_size))
                for array, values in zip(arrays, outputs, strict=True):
                    with np.errstate(over="ignore"):  # looked for in the next line
                        array[mirrored, rows] = np.asarray(values, np.float32)[: len(batch)]
                    if not np.isfinite(array[mirrored, rows]).all():
                        return False
        for array in arrays:
            array.flush()
        return True


def without_batch_norm(backbone: Any) -> Any:
    """A copy of `backbone`, in inference, whose convolutions do what the BatchNormalization behind them does.

    It is the same function, and a third less goes through memory. For backbones whose every such convolution feeds the
    normalization alone.
    """
    import keras
    from keras import layers

    convolutions = layers.Conv2D, layers.DepthwiseConv2D
    sources: dict[int, str] = {}  # convolutions by the tensor that they give
    norms: dict[str, Any] = {}  # by the convolution before

    def copied(layer: Any) -> Any:
        if isinstance(layer, convolutions):
            return type(layer).from_config({**layer.get_config(), "use_bias": True})
        return layer if layer.weights else type(layer).from_config(layer.get_config())

    def called(layer: Any, *inputs: Any, **options: Any) -> Any:
        source = sources.get(id(inputs[0]))
        if source and isinstance(layer, layers.BatchNormalization):
            norms[source] = backbone.get_layer(layer.name)
            return inputs[0]
        outputs = layer(*inputs, **options)
        if isinstance(layer, convolutions) and layer.activation is keras.activations.linear:
            sources[id(outputs)] = layer.name
        return outputs

    copy = keras.models.clone_model(backbone, clone_function=copied, call_function=called)
    for layer in backbone.layers:
        if isinstance(layer, convolutions):
            copy.get_layer(layer.name).set_weights(_joined(layer, norms.get(layer.name)))
    return copy


def _joined(convolution: Any, norm: Any) -> list[np.ndarray]:
    """Kernel and bias of a convolution and the BatchNormalization behind it, or None, as those of one convolution."""
    kernel, *bias = convolution.get_weights()
    shift = bias[0] if bias else np.zeros(convolution.output.shape[-1], kernel.dtype)
    if norm is None:
        return [kernel, shift]
    own = {variable.name: values for variable, values in zip(norm.weights, norm.get_weights(), strict=True)}
    factor = own.get("gamma", 1.0) / np.sqrt(own["moving_variance"] + norm.epsilon)
    shift = (shift - own["moving_mean"]) * factor + own.get("beta", 0.0)
    is_depthwise = hasattr(convolution, "depth_multiplier")  # whose kernel is (h, w, channels, multiplier)
    return [kernel * (factor.reshape(kernel.shape[2:]) if is_depthwise else factor), shift]


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
