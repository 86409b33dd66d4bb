"""What torch's layers draw from goes into a checkpoint and comes out of it. torch is no dependency: a stand-in."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models.deep.checkpoint import _generators, _restore_generators


class State:
    """A generator's state, a tensor of bytes; on a GPU until `cpu` fetches it."""

    def __init__(self, values, is_here=False):
        self.values, self.is_here = values, is_here

    def cpu(self):
        return State(self.values, is_here=True)

    def numpy(self):
        assert self.is_here
        return np.array(self.values, dtype=np.uint8)


@pytest.fixture
def torch(monkeypatch):
    """torch with a generator of its own and two of GPUs, in `own` and `gpus`, and Keras on it."""
    import keras

    torch = SimpleNamespace(own=[1, 2, 3], gpus=[[4, 5], [6, 7]])
    torch.get_rng_state = lambda: State(torch.own)
    torch.set_rng_state = lambda state: setattr(torch, "own", state.values)
    torch.from_numpy = lambda array: State(array.tolist(), is_here=True)
    torch.cuda = SimpleNamespace(
        get_rng_state_all=lambda: [State(values) for values in torch.gpus],
        set_rng_state_all=lambda states: setattr(torch, "gpus", [state.values for state in states]),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    return torch


@pytest.mark.parametrize("gpus", [[], [[4, 5], [6, 7]]])
def test_generators_are_restored_as_they_were_saved(torch, gpus):
    torch.gpus = gpus
    saved = _generators()
    assert [state.tolist() for state in saved] == [[1, 2, 3], *gpus]
    assert {state.dtype for state in saved} == {np.dtype("uint8")}
    torch.own, torch.gpus = [0], [[0] for _ in gpus]
    _restore_generators(saved)
    assert (torch.own, torch.gpus) == ([1, 2, 3], gpus)


def test_other_backends_have_none_to_save(torch, monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.delitem(sys.modules, "torch")
    assert _generators() == []
    _restore_generators([])
