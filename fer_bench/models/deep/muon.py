"""Muon for convolutions: orthogonalised momentum, which learns more of each batch than AdamW."""

from typing import Any


def muon(schedule: Any, weight_decay: float) -> Any:
    """A Keras optimizer: Muon for the kernels of all layers but the last, AdamW for everything else.

    Kernels of convolutions, (h, w, in, out), count as matrices (h w in, out). Updates are scaled to the size that
    AdamW's have, so that rates and weight decay mean the same (Jordan et al. 2024, kellerjordan.github.io/posts/muon;
    Liu et al. 2025, arXiv:2502.16982, section 2.2). schedule: learning rate, a number or a Keras schedule.
    """
    import keras
    from keras import ops

    from fer_bench.models.deep.assembly import LOGITS

    class ConvolutionMuon(keras.optimizers.Muon):
        """Keras' own takes matrices only."""

        def _should_use_adamw(self, variable: Any) -> bool:
            return len(variable.shape) not in (2, 4) or LOGITS in variable.path

        def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
            self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
            ahead = ops.reshape(ops.add(gradient, self.momentum * m), (-1, variable.shape[-1]))  # Nesterov's
            update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(ahead, self.ns_steps))
            self.assign_sub(variable, ops.reshape(update, variable.shape))

    return ConvolutionMuon(schedule, weight_decay=weight_decay, adam_weight_decay=weight_decay)
