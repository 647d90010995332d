"""The words around the tables of docs/benchmarks/systems.md, ablations.md and convergence.md. What "What was found, and
why" says must be true of the rows: read both together."""

SYSTEMS = """# Systems under one protocol

MGMTN, FAR-AMTN and DMM-CNN beside the plain multi-label baseline that they must beat. Each part of each system,
switched off and on, is on [the ablations' page](ablations.md); when each group of attributes learns, on [the
convergence page](convergence.md). `python scripts/systems.py` writes all three from `results/`; nobody edits them. A
run comes there by `python scripts/ablate.py CONFIG... --seeds ...` ([repeating the
comparison](../training-comparison.md)).

## The honest table

Networks as repaired (masks shrunk by area, fusion over normalised tokens with a learned skip, judgements from stages 3
to 5), at equal trunk, images, steps, augmentation (the face turned, scaled and shifted) and start: the face-pretrained
trunk with every head fresh, three epochs of the train images at hand but those of reserved people
(`lineament/configs/cpu/table/`). Differences are system minus baseline in points of accuracy, with a 95 % interval from
people and trainings drawn together; "better" is said only where it excludes zero over several trainings. mAP, mean
average precision, does not depend on where yes begins.
The weights that load by name are those of seed 0, fixed before any was trained. All are trained and collected by

```sh
python scripts/ablate.py lineament/configs/cpu/table/*.yaml --seeds 0 1 2 --system 0
```

{table}
## Earlier comparisons

{repaired}
- **Equal**: trunk, input, images, steps and augmentation (`configs/cpu/`). Scored on {scored}, stored crops, threshold
  0.5 on the raw sigmoid.
- **Two tables, each with its own baseline.** In the first, four epochs from the face-pretrained trunk with every head
  fresh; its baseline is `v0`.
  In the second, more epochs from a trained run, named in the last column: two, as the baseline has, but for `branched`
  with eight, which starts from two trained runs and averages two networks. So neither it nor a run with a teacher is a
  comparison at equal steps; they show what can be shipped.
- **Unequal starts in the second**: from `v0`, the baseline keeps its head, while masks' projections, gates, branches
  and heads of the others start fresh, which favours the baseline; a run that begins with one of its own kind keeps its
  own head.
- **Differences** are system minus baseline, in points of accuracy, with a 95 % interval from a paired bootstrap over
  identities; attributes won/lost count every difference, in brackets those whose interval, valid for all attributes at
  once, excludes zero.
- **Cost**: parameters and MACs are the exported network's, without resizing.
- **Published numbers** stand in each config; they are of other trunks, four times the images and the test split, so
  none of ours is a reproduction.

### From the face-pretrained trunk

{fresh}
### On from a trained trunk

{continued}
{plainly}

{weights}

## What was found, and why

Read from the rows above and from [the ablations](ablations.md); where it says "at reduced scale", nothing else was run.

- **MGMTN gains by reading three stages** of the trunk: with the last alone, or with the global feature alone, most or
  all of the gain is gone (`mgmtn-last-stage`, `mgmtn-global-only`). Of the masks, at reduced scale, the simple ones
  serve best: the mean face's polygons, the mean of the learned masks, and masks drawn from each face's own key points
  all do better than the masks that the region network predicts, which do no better than none. So it is not that the
  fixed polygons are wide and the learned masks narrow (`mgmtn-mask-mean-learned` is as narrow), nor that masks follow
  the face (`mgmtn-mask-keypoints` do): on aligned crops, predicted masks differ between faces in ways that do not help.
  Group features without the global one, and an Object mask that ends at the face as in the paper, do better than our
  defaults with learned masks; with the mean face's, the global feature helps (`mgmtn-mask-mean-group-only`).
- **FAR-AMTN as the notes reconstruct it loses, for a reason that can be repaired.** Its ReLU is there to let groups
  differ by more than a scaling of channels, and in a trunk whose blocks have no skip it cuts nothing
  (`models/far_amtn.py`). Leaving the residual out, or taking f without its last activation so that the ReLU acts
  (`far-amtn-linear`), recovers what was lost; the second form of CGFF, one mixture for all, is better than attention
  between groups; both together are best. Dynamic weights cost a little, and do not bring the groups together.
- **DMM-CNN is helped little by what makes it DMM-CNN**, but for the loss and the split: dynamic weights gain a few
  hundredths, five landmarks nothing. Crops are aligned by these very points, so that little is left to learn (the
  head was off by 10.6 % of the eye distance, the layout that crops are aligned to by 10.8), and a head that must
  learn it costs the attributes half a point. The split is the right way round: a pyramid for things, convolutions for
  judgements. Its branches squeeze the trunk's 1,024 channels into 128; into 256, and it passes the baseline at
  reduced scale (`dmm-cnn-wide`), where neither earlier stages nor means in place of maxima help. With five times the
  images and steps it does not pass it at either width: an open question, in which its weights, learned from 256
  held-out images, are one suspect that was not cleared at that scale.
- **The best is two networks at once** (`branched`): more than any part of any paper gave, as an average of two that err
  apart usually does.

## Not run

{lacking}
"""

ABLATIONS = """# Parts of the systems, one at a time

Written by `python scripts/systems.py` from `results/`; not edited by hand. What follows from it:
[Systems](systems.md#what-was-found-and-why).
{repaired}
Reduced scale: 8,192 images, 112 px wide, three epochs from the face-pretrained trunk; every head starts fresh, the
baseline's too. Compare rows here with each other, not with the systems' table. Differences are of the same seed, in
points: mean, and in brackets the least and the largest over seeds.

{ablations}
{words}
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

REPAIRED = """\
> The rows below come from networks as they were before three repairs: masks shrunk by area, so that no small part
> vanishes on a coarse grid; FAR-AMTN's fusion over normalised tokens with a learned skip; DMM-CNN's judgements
> from stages 3 to 5 and landmarks under a face that moves. **The comparison from the repaired networks
> (`lineament/configs/cpu/table/`) is not complete**: what is trained of it stands in [the honest
> table](systems.md#the-honest-table), what is not under [Not run](systems.md#not-run).
"""
