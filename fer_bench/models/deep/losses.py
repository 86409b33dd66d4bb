"""The losses of networks, in keras.ops, per image, so that sample weights multiply them."""

from typing import Any

from fer_bench.models.task import CROSS_ENTROPY, FOCAL, LOGIT_ADJUSTED, Loss

LABEL_SMOOTHING = 0.1


def loss_function(loss: Loss, label_smoothing: float = LABEL_SMOOTHING) -> Any:
    """`loss` as a function of one-hot (or mixed) labels and logits, both (n, k), giving float32 (n,).

    "cross-entropy" and "logit-adjusted" smooth labels by `label_smoothing` (Szegedy et al. 2016).
    "logit-adjusted": cross-entropy of logits + log_prior (Menon et al. 2021, eq. 10).
    "focal": -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, eq. 5), labels not smoothed.
    Raises ValueError for a loss that is none of them.
    """
    from keras import losses, ops

    def cross_entropy(labels: Any, logits: Any) -> Any:
        return losses.categorical_crossentropy(labels, logits, from_logits=True, label_smoothing=label_smoothing)

    def focal(labels: Any, logits: Any) -> Any:
        log_p = ops.log_softmax(logits)
        missed = ops.maximum(1 - ops.exp(log_p), 1e-7)  # 0 would make the gradient infinite where gamma < 1
        weighed = labels if loss.alpha is None else labels * ops.convert_to_tensor(loss.alpha, "float32")
        return -ops.sum(weighed * missed**loss.gamma * log_p, axis=-1)

    def adjusted(labels: Any, logits: Any) -> Any:
        return cross_entropy(labels, logits + ops.convert_to_tensor(loss.log_prior, "float32"))

    functions = {CROSS_ENTROPY: cross_entropy, FOCAL: focal, LOGIT_ADJUSTED: adjusted}
    if loss.name not in functions:
        raise ValueError(f"no loss {loss.name!r} for networks: {', '.join(functions)}")
    return functions[loss.name]
