"""Letters of the fonts that matplotlib ships, each drawn twenty times: a set of images without a download.

Drawings of a letter differ in font, size, slant and rotation, and are deformed by a smooth random field.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

FACES = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "DejaVuSansMono",
    "DejaVuSansMono-Oblique",
    "STIXGeneral",
    "STIXGeneralItalic",
)

DRAWINGS, SIZE = 20, 28
"""The number of drawings of a letter, and of pixels along each side, as in Omniglot."""

CANVAS, POINTS, WIDEST = 64, 42, 60
"""The side of the canvas in pixels, the size of a letter in points, and its largest size in pixels."""

ALIKE = 0.9
"""The correlation above which two letters count as one, such as Latin A and Greek Alpha."""

LETTERS = ("Lu", "Ll", "Lo")
"""Categories of Unicode that are drawn: letters with and without case."""


def draw(seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Return drawings of all distinguishable letters, uint8 ``[letters, 20, 28, 28, 1]``, and these letters.

    Args:
        seed: the seed of fonts and deformations.
    """
    fonts = _fonts()
    letters = _distinct(fonts)
    images = np.zeros((len(letters), DRAWINGS, SIZE, SIZE, 1), np.uint8)
    for number, letter in enumerate(track(letters, "drawing letters", transient=True)):
        images[number, ..., 0] = _drawings(letter, fonts, np.random.default_rng([seed, ord(letter)]))
    return images, letters


Fonts = dict[str, tuple[ImageFont.FreeTypeFont, frozenset[int]]]


def _fonts() -> Fonts:
    """Return each font with its code points."""
    place = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = {}
    for face in FACES:
        path = str(place / f"{face}.ttf")
        known = frozenset(FT2Font(path).get_charmap())
        found[face] = ImageFont.truetype(path, POINTS, layout_engine=ImageFont.Layout.BASIC), known
    return found


def _distinct(fonts: Fonts) -> list[str]:
    """Return the letters of the first font that look different, in the order of their code points."""
    font, known = fonts[FACES[0]]
    kept: list[str] = []
    seen = np.zeros((0, SIZE * SIZE))
    for code in sorted(known):
        letter = chr(code)
        if unicodedata.category(letter) not in LETTERS or unicodedata.decomposition(letter):
            continue
        left, top, right, bottom = font.getbbox(letter)
        drawn = Image.fromarray(_drawn(letter, font))
        box = drawn.getbbox()
        if box is None or max(right - left, bottom - top) > WIDEST:
            continue
        small = np.asarray(drawn.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR), float).ravel()
        small -= small.mean()
        length = np.linalg.norm(small)
        if length and (seen @ (small / length) <= ALIKE).all():
            kept.append(letter)
            seen = np.vstack([seen, small / length])
    return kept


def _drawn(letter: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """Return a letter in the middle of the canvas, 255 where there is ink."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    left, top, right, bottom = font.getbbox(letter)
    corner = (CANVAS - (right - left)) / 2 - left, (CANVAS - (bottom - top)) / 2 - top
    ImageDraw.Draw(canvas).text(corner, letter, font=font, fill=255)
    return np.asarray(canvas)


def _drawings(letter: str, fonts: Fonts, random: np.random.Generator) -> np.ndarray:
    having = [font for font, known in fonts.values() if ord(letter) in known]
    originals = [_drawn(letter, font) for font in having]
    chosen = random.integers(len(having), size=DRAWINGS)
    turn, slant = random.normal(0, 0.12, DRAWINGS), random.normal(0, 0.15, DRAWINGS)
    scale = np.exp(random.normal(0, 0.12, (DRAWINGS, 2)))
    shift, bends = random.normal(0, 2, (DRAWINGS, 2)), random.normal(0, 2, (DRAWINGS, 2, 4, 4))
    drawn = []
    for number, original in enumerate(chosen):
        rotation = np.array(
            [[np.cos(turn[number]), -np.sin(turn[number])], [np.sin(turn[number]), np.cos(turn[number])]]
        )
        linear = rotation @ [[1, slant[number]], [0, 1]] * scale[number]
        bent = _bent(originals[original], linear, shift[number], bends[number])
        drawn.append(np.asarray(Image.fromarray(bent).resize((SIZE, SIZE), Image.Resampling.LANCZOS)))
    return np.stack(drawn)


def _bent(image: np.ndarray, linear: np.ndarray, shift: np.ndarray, bends: np.ndarray) -> np.ndarray:
    """Return the image at ``linear (p - centre - shift) + centre + bend(p)``, by bilinear interpolation."""
    from scipy import ndimage  # which takes long to import for commands that draw nothing

    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) - CANVAS / 2
    at = np.stack([columns - shift[0], rows - shift[1]])
    smooth = [
        np.asarray(
            Image.fromarray(bend.astype(np.float32)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
        )
        for bend in bends
    ]
    x, y = np.einsum("ij,jrc->irc", linear, at) + CANVAS / 2 + np.stack(smooth)
    x, y = (np.clip(each, 0, CANVAS - 1.001) for each in (x, y))
    return np.rint(ndimage.map_coordinates(image.astype(float), [y, x], order=1)).astype(np.uint8)
