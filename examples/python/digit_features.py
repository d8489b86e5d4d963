"""A module that workers do not have: it is uploaded by scoring.ipynb."""

import numpy as np


def clean(images: np.ndarray) -> np.ndarray:
    """Return images with brightness brought back between 0 and 16, rounded as the scanner does."""
    return np.clip(np.round(images), 0, 16)
