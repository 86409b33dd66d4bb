"""Published accuracies, to see where a leaderboard stands; each with its source and why it is another measurement."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """accuracy: as published, in percent. caveat: why it is not a row of the table."""

    who: str
    accuracy: str
    source: str
    caveat: str


REFERENCES = {
    "fer2013": (
        Reference(
            "people", "65 ± 5",
            "Goodfellow et al. (2013), Challenges in Representation Learning: A Report on Three Machine Learning "
            "Contests",
            "a small experiment on the original images",
        ),
        Reference(
            "contest winner, convolutional network with SVM loss", "71.2",
            "Tang (2013), Deep Learning using Linear Support Vector Machines",
            "on the private test images, the test images here",
        ),
        Reference(
            "mini-Xception, 60 thousand parameters", "66",
            "Arriaga, Valdenegro-Toro and Plöger (2017), Real-time Convolutional Neural Networks for Emotion and "
            "Gender Classification",
            "the subset that was scored is not stated with the figure",
        ),
        Reference(
            "tuned VGGNet", "73.28",
            "Khaireddin and Chen (2021), Facial Emotion Recognition: State of the Art Performance on FER2013",
            "one network on the private test images, trained far longer",
        ),
        Reference(
            "ensemble of deep networks", "75.2",
            "Pramerdorfer and Kampel (2016), Facial Expression Recognition using Convolutional Neural Networks: State "
            "of the Art",
            "several networks together, trained on FER2013 alone",
        ),
    ),
}  # fmt: skip
"""By the name of the dataset."""
