"""What is worth saying of a face in few words: answers that tell something, the most surprising first.

    prob, base rate -> bits that the answer tells -> yes or "not", sorted, those under half a bit left out

Convention: an answer tells KL(prob || base rate) bits: nothing where it only repeats how common the attribute is ("No
Beard 1.00" tells 0.3), much where it is rare ("Eyeglasses 0.99" tells 3.8). Base rates are the card's
(`decision.rates`) where it has them, else `TYPICAL_RATES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

from lineament.types import FaceReport

LEAST_BITS = 0.5
TYPICAL_RATES: Mapping[str, float] = {
    "5_o_Clock_Shadow": 0.11, "Arched_Eyebrows": 0.26, "Attractive": 0.50, "Bags_Under_Eyes": 0.20, "Bald": 0.02,
    "Bangs": 0.15, "Big_Lips": 0.23, "Big_Nose": 0.24, "Black_Hair": 0.24, "Blond_Hair": 0.15, "Blurry": 0.05,
    "Brown_Hair": 0.20, "Bushy_Eyebrows": 0.14, "Chubby": 0.06, "Double_Chin": 0.05, "Eyeglasses": 0.07, "Goatee": 0.06,
    "Gray_Hair": 0.05, "Heavy_Makeup": 0.38, "High_Cheekbones": 0.45, "Male": 0.43, "Mouth_Slightly_Open": 0.49,
    "Mustache": 0.04, "Narrow_Eyes": 0.11, "No_Beard": 0.83, "Oval_Face": 0.29, "Pale_Skin": 0.04, "Pointy_Nose": 0.27,
    "Receding_Hairline": 0.08, "Rosy_Cheeks": 0.06, "Sideburns": 0.05, "Smiling": 0.48, "Straight_Hair": 0.21,
    "Wavy_Hair": 0.31, "Wearing_Earrings": 0.19, "Wearing_Hat": 0.05, "Wearing_Lipstick": 0.46,
    "Wearing_Necklace": 0.12, "Wearing_Necktie": 0.08, "Young": 0.77,
}  # fmt: skip
"""The share of yes in 56,330 images of CelebA's official train split: the fixed table for models whose card states no
rates."""
_NOT = {"No_Beard": "Beard", "Young": "Not young"}
"""How a surprising no is said; other attributes are rare enough that a no never surprises."""


def bits(prob: float, rate: float) -> float:
    """Return KL(prob || rate) in bits: what an answer tells somebody who knows how common the attribute is.

    >>> bits(0.5, 0.5), round(bits(1.0, 0.83), 2), round(bits(0.99, 0.07), 1)
    (0.0, 0.27, 3.7)
    """
    r = min(max(rate, 1e-6), 1 - 1e-6)
    return sum(p * log2(p / q) for p, q in ((prob, r), (1 - prob, 1 - r)) if p > 0)


def notable(face: FaceReport, rates: Mapping[str, float] | None = None) -> list[tuple[str, float]]:
    """Return (words, probability that they are so) of what is worth saying, the most telling first.

    Only what the label says: a yes that tells at least half a bit, or a no to what most people have ("Beard" for a no
    to No_Beard). An attribute without a base rate counts as one that every second face has.
    """
    told = []
    for name, answer in face.attributes.items():
        rate = (rates or {}).get(name, TYPICAL_RATES.get(name, 0.5))
        yes = answer.label == "yes"
        if not yes and (answer.label != "no" or name not in _NOT):
            continue
        if (told_bits := bits(answer.prob, rate)) >= LEAST_BITS and yes == (answer.prob >= rate):
            told.append(
                (-told_bits, name.replace("_", " ") if yes else _NOT[name], answer.prob if yes else 1 - answer.prob)
            )
    return [(words, prob) for _, words, prob in sorted(told)]
