"""Writes what scoring.ipynb works on: files of images, and a small package as a wheel."""

import zipfile
from pathlib import Path

import numpy as np

RULES = '''\
"""Which answers are to be trusted."""


def confident(chances, least=0.6):
    """Whether the best of several chances is at least so large, for each row."""
    return chances.max(axis=1) >= least
'''


def write_files(
    folder: Path, images: np.ndarray, labels: np.ndarray, count: int, rows: int
) -> list[Path]:
    """Write files of disturbed images with their labels, the same ones each time.

    Parameters
    ----------
    folder : Path
        Is made.
    images, labels : numpy.ndarray
        From which rows are drawn.
    count, rows : int
        How many files, and how many images in each.

    Returns
    -------
    list of Path
        The files, in order.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        chosen = rng.integers(0, len(images), rows)
        disturbed = images[chosen] + rng.normal(scale=0.4, size=(rows, images.shape[1]))
        path = folder / f"digits-{number:04}.npz"
        np.savez(path, images=disturbed, labels=labels[chosen])
        paths.append(path)
    return paths


def write_wheel(folder: Path) -> Path:
    """Write the package ``digit_rules`` as a wheel, which is a zip file of a certain form.

    Parameters
    ----------
    folder : Path
        Where.

    Returns
    -------
    Path
        The wheel.
    """
    info = "digit_rules-1.0.dist-info"
    files = {
        "digit_rules.py": RULES,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: digit_rules\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / "digit_rules-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path
