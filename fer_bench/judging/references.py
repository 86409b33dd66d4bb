"""Published accuracies, to see where a leaderboard stands; each with its source and why it is another measurement."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """accuracy: as published, in percent, perhaps with a spread. caveat: why it is not a row of the table."""

    who: str
    accuracy: str
    source: str
    caveat: str

    @property
    def percent(self) -> float:
        """`accuracy` as a number."""
        return float(self.accuracy.split()[0])


REFERENCES = {
    "fer2013": (
        Reference(
            "people", "65 ± 5",
            "Goodfellow et al. (2013), Challenges in Representation Learning: A Report on Three Machine Learning "
            "Contests, arXiv:1307.0414",
            "a small experiment on the original images",
        ),
        Reference(
            "mini-Xception (60 thousand parameters)", "66",
            "Arriaga, Valdenegro-Toro and Plöger (2017), Real-time Convolutional Neural Networks for Emotion and "
            "Gender Classification, arXiv:1710.07557",
            "the subset that was scored is not stated with the figure",
        ),
        Reference(
            "contest winner (convolutional network with SVM loss)", "71.2",
            "Tang (2013), Deep Learning using Linear Support Vector Machines, arXiv:1306.0239",
            "on the private test images, the test images here",
        ),
        Reference(
            "tuned VGGNet", "73.28",
            "Khaireddin and Chen (2021), Facial Emotion Recognition: State of the Art Performance on FER2013, "
            "arXiv:2105.03588",
            "one network on the private test images, trained far longer",
        ),
        Reference(
            "ensemble of deep networks", "75.2",
            "Pramerdorfer and Kampel (2016), Facial Expression Recognition using Convolutional Neural Networks: State "
            "of the Art, arXiv:1612.02903",
            "several networks together, trained on FER2013 alone",
        ),
        Reference(
            "ensemble with residual masking networks", "76.82",
            "Pham, Vu and Tran (2020), Facial Expression Recognition Using Residual Masking Network, ICPR, "
            "arXiv:2603.05937",
            "several networks together; users of its code report 65.6 and 73.6 % for its single network's 74.14 % "
            "(github.com/phamquiluan/ResidualMaskingNetwork, issue 9)",
        ),
        Reference(
            "ResEmoteNet", "79.79",
            "Roy et al. (2024), ResEmoteNet: Bridging Accuracy and Loss Reduction in Facial Emotion Recognition, "
            "arXiv:2409.10545",
            "users of its code report 58 to 66 % on the original data, over 90 % on a file given with it, and with its "
            "authors' weights 65.9 %, 71.57 % and nearly the published figure "
            "(github.com/ArnabKumarRoy02/ResEmoteNet, issues 13, 16, 34, 39, 40, 42, 46 and 49)",
        ),
    ),
}  # fmt: skip
"""By the name of the dataset, lowest first."""

KNOWN_WEIGHTS = {"sha256:e0ca52214c83f862": "ImageNet (8-bit origin)"}
"""What some weight files hold, by what a run's spec calls them. MobileNetV2's, brought back from an 8-bit model."""

OUT_OF_REACH = (
    "Why a published figure can be out of reach: the checkpoint was chosen on the images that it is scored on; images "
    "were over-sampled or augmented before the split, so that copies of one stand on both sides (`python -m fer_bench "
    "demo leak` shows what comes of it); another part of the data was scored, or files of the same name with other "
    "images in them; several networks or many crops of an image were averaged; other data were added. Here "
    "test images serve no choice while training, tuning or mixing models; a mean of several is marked as one, the row "
    "picked by validation images stands beside the one that is best on the test images, and copies that the data "
    "themselves hold are counted out in the columns called clean."
)
