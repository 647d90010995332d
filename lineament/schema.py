"""The attributes: CelebA's 40 names in CelebA's order, the groups each paper puts them in, and which are sensitive.

Source of the names and their order: `list_attr_celeba.txt` of the CelebA release (Liu et al., ICCV 2015, arXiv
1411.7766). Group memberships: see each constant; where a paper's own table could not be read the membership is ours and
says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence

from lineament.errors import UnknownAttributeError, UsageError

CELEBA_40: tuple[str, ...] = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip

SENSITIVE: frozenset[str] = frozenset(
    {
        "Attractive", "Big_Lips", "Big_Nose", "Chubby", "Double_Chin", "Male", "Narrow_Eyes", "Oval_Face", "Pale_Skin",
        "Pointy_Nose", "Young",
    }
)  # fmt: skip
"""Attributes that judge or profile a person: left out of the `default` profile (interface.md, "Attributes, profiles,
labels")."""

JUDGING: frozenset[str] = frozenset(
    [
        "african",
        "aggressive",
        "asian",
        "attractive",
        "autism",
        "autistic",
        "beautiful",
        "beauty",
        "bisexual",
        "buddhist",
        "catholic",
        "caucasian",
        "christian",
        "competent",
        "conservative",
        "creditworthy",
        "crime",
        "criminal",
        "criminality",
        "dangerous",
        "depressed",
        "depression",
        "dishonest",
        "disability",
        "disabled",
        "disease",
        "drunk",
        "addict",
        "elderly",
        "ethnic",
        "ethnicity",
        "fat",
        "female",
        "gay",
        "gender",
        "guilty",
        "handsome",
        "healthy",
        "health",
        "heterosexual",
        "hindu",
        "hispanic",
        "homosexual",
        "honest",
        "honesty",
        "ill",
        "illness",
        "immigrant",
        "immigration",
        "intelligence",
        "intelligent",
        "iq",
        "islam",
        "islamic",
        "jew",
        "jewish",
        "latina",
        "latino",
        "lesbian",
        "liar",
        "liberal",
        "lying",
        "male",
        "man",
        "men",
        "mental",
        "mentally",
        "migrant",
        "muslim",
        "nationality",
        "native",
        "obese",
        "obesity",
        "old",
        "orientation",
        "origin",
        "overweight",
        "political",
        "politics",
        "poor",
        "pregnancy",
        "pregnant",
        "pretty",
        "protestant",
        "queer",
        "race",
        "racial",
        "refugee",
        "religion",
        "religious",
        "rich",
        "roma",
        "senior",
        "sex",
        "sexual",
        "sexuality",
        "sick",
        "sikh",
        "skin",
        "stupid",
        "suspicious",
        "terrorist",
        "thief",
        "trans",
        "transgender",
        "trustworthy",
        "trustworthiness",
        "ugly",
        "untrustworthy",
        "violent",
        "wealthy",
        "woman",
        "women",
        "young",
        "child",
        "children",
        "adult",
        "teenager",
        "minor",
        "age",
        "aged",
        "arab",
        "arabic",
    ]
)
"""Words by which an own attribute's name says that it judges or profiles a person. English words only: a list can
remind, it cannot decide."""

PROFILES: tuple[str, ...] = ("default", "all")

LOW_AGREEMENT: frozenset[str] = frozenset(CELEBA_40) - frozenset(
    {
        "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Eyeglasses", "Goatee", "Gray_Hair", "Male", "Mustache",
        "Sideburns", "Wearing_Hat", "Wearing_Necktie",
    }
)  # fmt: skip
"""Attributes on which two independent annotators agree on fewer than 95 % of images.

Convention: the *count* (12 of 40 reach 95 %) is read in Wu et al., CVPRW 2023 (arXiv 2210.07356); *which* twelve could
not be read, so this membership is ours: the visible, object-like attributes with the highest published accuracies.
Reconstructed, and said so in the docs.
"""

MGMTN_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Mouth": ("Big_Lips", "Mouth_Slightly_Open", "Smiling", "Wearing_Lipstick"),
    "Ear": ("Wearing_Earrings",),
    "Lower Face": ("5_o_Clock_Shadow", "Double_Chin", "Goatee", "Mustache", "No_Beard", "Sideburns"),
    "Cheeks": ("High_Cheekbones", "Rosy_Cheeks"),
    "Nose": ("Big_Nose", "Pointy_Nose"),
    "Eyes": ("Arched_Eyebrows", "Bags_Under_Eyes", "Bushy_Eyebrows", "Eyeglasses", "Narrow_Eyes"),
    "Hair": (
        "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Straight_Hair",
        "Wavy_Hair", "Wearing_Hat",
    ),
    "Object": (
        "Attractive", "Blurry", "Chubby", "Heavy_Makeup", "Male", "Oval_Face", "Pale_Skin", "Young", "Wearing_Necklace",
        "Wearing_Necktie",
    ),
}  # fmt: skip
"""MGMTN's eight groups (arXiv 2601.01408): the names were read in reviews of the paper, the membership is
reconstructed. Also used for FAR-AMTN (2601.01537), whose K was not found; the same lab's K = 8 is the natural guess."""

OBJECTIVE_23: tuple[str, ...] = (
    "5_o_Clock_Shadow", "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Eyeglasses", "Goatee", "Gray_Hair",
    "Male", "Mouth_Slightly_Open", "Mustache", "No_Beard", "Receding_Hairline", "Sideburns", "Smiling", "Straight_Hair",
    "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie",
)  # fmt: skip
SUBJECTIVE_17: tuple[str, ...] = tuple(name for name in CELEBA_40 if name not in OBJECTIVE_23)
"""DMM-CNN's objective/subjective split (arXiv 2002.03683): that there is one was read; the membership is
reconstructed."""

_BY_LOWER: Mapping[str, str] = {name.lower(): name for name in CELEBA_40}


def resolve(name: str, attributes: Sequence[str] = CELEBA_40) -> str:
    """Return the canonical spelling of an attribute name, ignoring case.

    Raises: UnknownAttributeError naming the closest known name.

    >>> resolve("wearing_hat")
    'Wearing_Hat'
    """
    table = _BY_LOWER if attributes is CELEBA_40 else {known.lower(): known for known in attributes}
    found = table.get(name.strip().lower())
    if found is None:
        from difflib import get_close_matches

        wanted = name.strip().lower().replace(" ", "_").replace("-", "_")
        holding = [known for known in table if wanted and wanted in known.split("_")]  # "hat": Wearing_Hat
        near = holding if len(holding) == 1 else get_close_matches(wanted, list(table), n=1)
        hint = f" Did you mean {table[near[0]]}?" if near else ""
        where = (
            "`lineament schema` lists the known names."
            if set(attributes) == set(CELEBA_40)
            else f"Known here: {', '.join(attributes)}."
        )
        raise UnknownAttributeError(f"Unknown attribute {name!r}.{hint} {where}")
    return found


def judges(name: str) -> bool:
    """Return whether an attribute judges or profiles a person: one of `SENSITIVE`, or an own name with one of the words
    of `JUDGING`.

    >>> judges("looks_criminal"), judges("wears_mask"), judges("Young")
    (True, False, True)
    """
    if name in SENSITIVE:
        return True
    return name not in _BY_LOWER.values() and not JUDGING.isdisjoint(name.lower().replace("-", "_").split("_"))


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list; a name that holds a comma stands in double quotes, as in CSV.

    Raises: UsageError where a quote is not closed.

    >>> parse_names('Smiling, "Grinst, breit"')
    ('Smiling', 'Grinst, breit')
    """
    try:
        (row,) = list(csv.reader([text], skipinitialspace=True, strict=True)) or [[]]
    except (csv.Error, ValueError) as error:
        raise UsageError(
            f'Cannot read the list of names {text!r} ({error}). A name with a comma stands in double quotes: "a, b",c.'
        ) from error
    return tuple(name.strip() for name in row if name.strip())


def in_profile(profile: str, attributes: Sequence[str] = CELEBA_40) -> tuple[str, ...]:
    """Return the attributes a profile shows, in the given order.

    Raises: UsageError for an unknown profile.

    >>> "Attractive" in in_profile("default"), len(in_profile("default")), len(in_profile("all"))
    (False, 29, 40)
    """
    if profile not in PROFILES:
        raise UsageError(f"Unknown profile {profile!r}. Use one of: {', '.join(PROFILES)}.")
    return tuple(attributes) if profile == "all" else tuple(name for name in attributes if not judges(name))


def check_partition(groups: Mapping[str, Iterable[str]], attributes: Sequence[str] = CELEBA_40) -> None:
    """Raise UsageError unless each attribute stands in exactly one group.

    >>> check_partition(MGMTN_GROUPS)
    """
    listed = [name for members in groups.values() for name in members]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    missing = sorted(set(attributes) - set(listed))
    unknown = sorted(set(listed) - set(attributes))
    if twice or missing or unknown:
        raise UsageError(
            f"Groups must hold each attribute exactly once. Twice: {twice}; missing: {missing}; unknown: {unknown}."
        )
