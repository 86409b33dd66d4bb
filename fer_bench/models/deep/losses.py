"""The losses of networks, in keras.ops, per image, so that sample weights multiply them."""

from typing import Any

from fer_bench.models.task import CROSS_ENTROPY, FOCAL, LOGIT_ADJUSTED, Loss

LABEL_SMOOTHING = 0.1


def loss_function(loss: Loss, label_smoothing: float = LABEL_SMOOTHING) -> Any:
    """`loss` as a function of one-hot (or mixed) labels and logits, both (n, k), giving float32 (n,).

    "cross-entropy" smooths labels by `label_smoothing`, evenly over the classes (Szegedy et al. 2016).
    "logit-adjusted": cross-entropy of logits + log_prior (Menon et al. 2021, eq. 10), smoothed towards the prior: an
    even share for a rare class would be a gift to it, as large in logits as the class is rare.
    "focal": -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, eq. 5) of a softmax in place of the paper's sigmoids;
    labels are not smoothed.
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
        log_prior = ops.convert_to_tensor(loss.log_prior, "float32")
        smoothed = (1 - label_smoothing) * labels + label_smoothing * ops.softmax(log_prior)
        return losses.categorical_crossentropy(smoothed, logits + log_prior, from_logits=True)

    functions = {CROSS_ENTROPY: cross_entropy, FOCAL: focal, LOGIT_ADJUSTED: adjusted}
    if loss.name not in functions:
        raise ValueError(f"no loss {loss.name!r} for networks: {', '.join(functions)}")
    return functions[loss.name]
