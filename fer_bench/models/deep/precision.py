"""What networks compute with: float32, or bfloat16 where the machine is fast at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AUTO = "auto"
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def resolve_precision(request: str) -> str:
    """The Keras dtype policy for "float32", "bfloat16" or "auto": bfloat16 where the hardware multiplies it.

    Weights and logits are float32 in either.
    """
    if request != AUTO:
        return POLICIES[request]
    return POLICIES["bfloat16" if has_gpu() or has_fast_bfloat16() else "float32"]


def has_gpu() -> bool:
    """Whether Keras' backend sees a GPU."""
    import keras

    if keras.backend.backend() == "torch":  # for which Keras lists no devices
        import torch

        return bool(torch.cuda.is_available())
    return any("gpu" in device or "cuda" in device for device in keras.distribution.list_devices())


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); False where that is not known."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras builds layers under the policy `name` inside, and under what it was before outside."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
