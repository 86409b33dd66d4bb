"""How the page says which images count against the taggers' votes."""

from fer_bench.metrics import majority, score_votes, vote_columns

__all__ = ["RULE", "majority", "score_votes", "vote_columns"]

RULE = (
    'An image counts where one of the dataset\'s classes alone has the most votes. Left out: images where "unknown" '
    'or "not a face" has the most votes or shares them, where an emotion that the dataset does not have does, '
    "and ties between classes."
)
