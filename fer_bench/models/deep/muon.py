"""Muon for convolutions, and AdamW for the rest.

Keras is imported inside the function: no module may import it before a network is built.
"""

from functools import cache
from typing import Any

from fer_bench.models.deep.assembly import LOGITS

ADAM_SHARE = 1 / 3  # of the learning rate, for what AdamW trains
MOMENTUM = 0.9


@cache
def muon() -> Any:
    """The class of Keras' Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for convolutions as well.

    Keras leaves these to AdamW. Here a kernel (h, w, c, filters) is one matrix (h w c, filters), whose steps are
    orthogonal. Steps of logits, biases and normalisation are AdamW's.
    """
    import keras
    from keras import ops

    class Muon(keras.optimizers.Muon):
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

    return Muon
