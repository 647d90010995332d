"""The words around the tables of docs/benchmarks/systems.md, ablations.md and convergence.md. What "What was found, and
why" says must be true of the rows: read both together."""

SYSTEMS = """# Systems under one protocol

MGMTN, FAR-AMTN and DMM-CNN beside the plain multi-label baseline that they must beat. Each part of each system,
switched off and on, is on [the ablations' page](ablations.md); when each group of attributes learns, on [the
convergence page](convergence.md). `python scripts/systems.py` writes all three from `results/`; nobody edits them. A
run comes there by `python scripts/ablate.py CONFIG... --seeds ...` ([repeating the
comparison](../training-comparison.md)).

## The honest table

Equal trunk, images, steps, augmentation (the face turned, scaled and shifted) and start: the face-pretrained trunk
with every head fresh, three epochs of the train images at hand but those of reserved people
(`lineament/configs/table/`). Scored on stored crops at 0.5 of the raw sigmoid. Differences are system minus baseline
in points of accuracy, and of balanced accuracy, with a 95 % interval from people and trainings drawn together;
"better" is said only where it excludes zero over several trainings. mAP, mean average precision, does not depend on
where yes begins. Parameters and MACs are the exported network's, without resizing. Published numbers stand in each
config; they are of other trunks, four times the images and the test split, so none of ours is a reproduction.
The weights that load by name are those of seed 0, fixed before any was trained. All are trained and collected by

```sh
python scripts/ablate.py baseline mgmtn far-amtn dmm-cnn --seeds 0 1 2 --system 0
```

{table}
## What was found, and why

Read from the rows above. Where it says "seed 0", one training was looked at, and it is no verdict.

- **MGMTN finds more of what is there** (two trainings): balanced accuracy is better by 0.8 points, accuracy is not by
  more than chance. It recalls 1.6 points more of the yes at the same rate of false ones, and ranks better: average
  precision is higher in 29 of 40 attributes (seed 0), most where a region says something (Big_Lips +2.5 points,
  Pointy_Nose +2.4). Accuracy does not show it, because at 0.5 labels follow train's annotators, and validation's say
  yes at other rates: Narrow_Eyes alone (10.3 % called yes for 7.8 %; the baseline calls 5.3 %) costs 1.6 points,
  Oval_Face 1.0, Big_Lips 0.7. Were each attribute called as often as it occurs, it would lead by 0.13 instead of 0.02
  (seed 0): a figure that knows the answers, so an explanation and no result.
- **FAR-AMTN** with a learned skip and fusion over normalised tokens no longer loses (two trainings: +0.04, inside the
  noise); what it gains is spread thinly, and balanced accuracy is the baseline's.
- **DMM-CNN sees the trunk beside its pyramid now** (seed 0). Its 23 objective attributes saw it only through a
  pyramid of 128 channels, and ranked worse than the baseline's by 0.98 points of average precision (mean); the
  pyramid now adds to the plain network's answer (`beside`), which at reduced scale is worth +0.18 points of
  accuracy ([its row](ablations.md)). At full scale accuracy is still 0.07 below the baseline's, no more than people
  alone explain (-0.09 before), and mAP 0.28 above it (0.45 below before). That gain is one attribute's: Pale_Skin
  +7.3 points of average precision, while 22 of 40 rank a little worse (Chubby -2.4, Wearing_Necklace -1.6, Big_Lips
  -1.3). In accuracy Big_Lips (-1.6 points) and Oval_Face (-0.9) make more than nine tenths of the difference.
- **Adaptive thresholds** trade accuracy for balanced accuracy ([table](ablations.md#adaptive-thresholds)), which is
  what they are for; every row here is at 0.5.
- **What gave more than any part**: two networks that err apart, averaged on one trunk and taught by others for eight
  epochs ([the shipped networks](default.md)).

Before the repairs (masks shrunk by area, the learned skip, judgements from stages 3 to 5) the systems were compared
from unequal starts, and their parts on 8,192 images at 112 pixels, where a small face part fills no cell of a grid:
those tables and runs are in the repository's history up to commit a3ebf0d.

## The networks on the way to `default`

Not a comparison: other starts, more epochs, teachers. What they were for stands on [their page](default.md).

{shipped}
## Not run

{lacking}
"""

ABLATIONS = """# Parts of the systems, one at a time

Written by `python scripts/systems.py` from `results/`; not edited by hand. What follows from it:
[Systems](systems.md#what-was-found-and-why).

Reduced scale: 16,384 images at 176x144, three epochs from the face-pretrained trunk; every head starts fresh, the
baseline's too, and everything but the named part is equal (`lineament/configs/parts/`). Compare rows here with each
other, not with the systems' table. Differences in points of accuracy with a 95 % interval from people and trainings
drawn together; of people alone, and without a verdict, where it says "one training".

```sh
python scripts/ablate.py lineament/configs/parts/*.yaml --seeds 0 1 2
```

{carries}{parts}
## Adaptive thresholds

DMM-CNN's rule moves each attribute's threshold by false positives and negatives on held-out predictions
(`objectives/thresholds.py`). Here each half of the validation people is scored with the thresholds of the other half.
They stay beside the comparison: every row of [the systems' table](systems.md) is at 0.5.

{adaptive}
## Masks

MGMTN's region networks on images they were not trained on: 100 CelebAMask-HQ images, and the test photos of
`landmarks68/`, each as aligned and turned, scaled and shifted as alignment errs (up to 10 degrees, 15 %, 8 % of the
width). *IoU*: pixels in both over pixels in either, summed over all images. Hair's truth includes the hat, Object's
all face classes and hair, Eyes' is the hull of eye and brow of each side. *Mean masks*: one fixed mask per group.

`regions-annotated` is MGMTN's pipeline, for the honest table: 20,000 train images labelled by an annotator's points
(the 468-point mesh stands in for the paper's 98), polygons, U-Net; parsing masks teach hair and ears alone. `regions`,
of the earlier systems, learned from 400 parsing masks and 435 photos that people labelled: this truth's own kind, so it
agrees with it more. What a nose or an Object is, polygons of mesh points draw tighter than parsing does. The committed
weights are scored again, and drawn, by

```sh
python scripts/score_regions.py --config regions-annotated --out results/regions-annotated --sheet FILE.png
```

{masks}{lacking}"""

CONVERGENCE = """# When groups of attributes converge

Written by `python scripts/systems.py` from `results/`; not edited by hand. The runs are those of [Systems](systems.md)
and, marked "reduced", of [the ablations](ablations.md).

The epoch at which a group's mean training loss has made 95 % of its final gain over the first window (a part of an
epoch: `weighting.windows`), between windows by straight lines. The more windows, the earlier and the lower the loss
that the gain is counted from ends, so only rows with as many windows can be compared; with two to four of them the
figure says little.
FAR-AMTN's dynamic weights are meant to bring these together: compare `far-amtn` with `far-amtn-no-dws`.

{convergence}"""
