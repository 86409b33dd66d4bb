"""What every test stands on: a cache of its own, and a quiet TensorFlow."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests, and every process they start, away from the user's caches, data and weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.delenv("FER_BENCH_DATA", raising=False)
        yield
