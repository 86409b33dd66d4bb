"""Muon for convolutions. Imports Keras: to be imported inside functions."""

from typing import Any

import keras
from keras import ops

from fer_bench.models.deep.assembly import LOGITS

ADAM_SHARE = 1 / 3  # of the learning rate, for what AdamW trains
MOMENTUM = 0.9


class Muon(keras.optimizers.Muon):
    """Keras' Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for convolutions as well.

    A kernel (h, w, c, filters) is one matrix (h w c, filters), whose steps are orthogonal. Steps of logits, biases and
    normalisation are AdamW's.
    """

    def __init__(self, learning_rate: Any, weight_decay: float) -> None:
        super().__init__(
            learning_rate, weight_decay=weight_decay, adam_weight_decay=weight_decay, adam_lr_ratio=ADAM_SHARE,
            momentum=MOMENTUM, exclude_layers=[LOGITS],
        )  # fmt: skip

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4 and super()._should_use_adamw(variable)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        matrix = ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))
