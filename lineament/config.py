"""Run settings: frozen dataclasses <-> YAML. An unknown key is an error; `$NAME` and `${NAME}` in paths come from the
environment.

A config is a claim: its `claim` section says where the recipe comes from, the command, what it costs and which number
to expect.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.errors import ConfigError, MissingExtraError

Settings = typing.TypeVar("Settings")
_FAMILIES = ("paper", "shipped", "table")
"""Folders of `lineament/configs` that are no part of a config's name."""
_UNSET = {
    "LINEAMENT_DATA": "It names the folder of the data sets; or say where the training images are with --data DIR.",
    "LINEAMENT_MODELS": (
        "It names the folders that hold model files (docs/models.md); or give the file: --set model.weights=FILE."
    ),
}


def bounded(default: Any, **bounds: Any) -> Any:
    """A field with `least`, `above`, `most` or `below` it, or `among` names; None is never out of bounds."""
    return field(default=default, metadata=bounds)


class Checked:
    """Settings that refuse a value out of its bounds. Raises: ConfigError naming its place."""

    def __post_init__(self) -> None:
        section = type(self).__name__.removesuffix("Config").lower()
        for one in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            for bound, limit in one.metadata.items() if value is not None else ():
                words, fits = _BOUNDS[bound]
                if not all(fits(part, limit) for part in (value if isinstance(value, tuple) else (value,))):
                    place = one.name if section == "train" else f"{section}.{one.name}"
                    raise ConfigError(
                        f"{place} must be {words} {', '.join(limit) if bound == 'among' else limit}, not {value!r}."
                    )


_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
    "among": ("one of", lambda value, names: value in names),
}


@dataclass(frozen=True)
class Claim:
    """What this config promises: `source` of the recipe, `command`, `cost`, `expected` result (or "not run here"), the
    paper's own number.

    `data`, `licence` and `intended_use` go into the model card word for word.
    """

    source: str = ""
    command: str = ""
    cost: str = ""
    expected: str = ""
    paper: str = ""
    data: str = ""
    licence: str = ""
    intended_use: str = ""


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The network. name: baseline, mgmtn, far-amtn, dmm-cnn, or `module.path:Class`; options: its switches, passed by
    keyword.

    weights: the trunk's pretrained file, or `imagenet` for timm's own; start: trained weights (shipped name, run folder
    or file) whose matching tensors it begins with.
    """

    name: str = "baseline"
    backbone: str = "mobilenetv1_100"
    weights: str | None = None
    start: str | None = None
    frozen_stages: int = bounded(0, least=0)
    input_size: tuple[int, int] = bounded((235, 192), least=1)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig(Checked):
    """Training data. layout: parquet, official, lfwa, table or synthetic; images: the folder a table's files are
    relative to.

    align: stored (the image is the crop) or detect (the largest face is found and aligned); exclude: a CSV or list
    whose first column names files to leave out; people: `all`, `training` (without those that data/reserved.py keeps
    from every training) or `reserved` (those alone);
    limit: first rows only; holdout: rows set aside by identity to watch the training (never the validation split);
    balance: how often images of rare classes are seen, 0 as they come to 1 in proportion to rarity; cache: the folder
    of decoded crops, or null to decode at every step, row group by row group, for sets larger than disk or memory."""

    layout: str = "parquet"
    path: str = "$LINEAMENT_DATA/celeba/train-parquet"
    images: str | None = None
    split: str = "all"
    align: str = "stored"
    exclude: str | None = None
    people: str = bounded("all", among=("all", "training", "reserved"))
    limit: int | None = bounded(None, least=1)
    holdout: int = bounded(512, least=0)
    attributes: tuple[str, ...] | None = None
    balance: float = bounded(0.0, least=0.0, most=1.0)
    cache: str | None = "runs/cache"
    regions: str | None = None
    landmarks: str | None = None


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """What is done to each image of a batch, anew at every step; what moves takes regions and landmarks along.

    crop (h, w) at a random place of the input, None for none; flip: mirror half of the images. The face itself moves
    within that window: turn: up to so many degrees either way; scale: its size times 1 / (1 + this) to 1 + this; shift:
    by up to this share of the input's sides.
    brightness, contrast: factor 1 +- this; erase: share of images with a grey patch.
    Ordinary photos (data/degrade.py), each a share of the images: cut: a side cut off by the photo's frame; resolution:
    seen through fewer pixels;
    jpeg: compressed.
    """

    crop: tuple[int, int] | None = bounded((216, 176), least=1)
    flip: bool = True
    turn: float = bounded(0.0, least=0.0, most=180.0)
    scale: float = bounded(0.0, least=0.0, below=1.0)
    shift: float = bounded(0.0, least=0.0, below=1.0)
    brightness: float = bounded(0.2, least=0.0, below=1.0)
    contrast: float = bounded(0.0, least=0.0, below=1.0)
    erase: float = bounded(0.0, least=0.0, most=1.0)
    cut: float = bounded(0.0, least=0.0, most=1.0)
    resolution: float = bounded(0.0, least=0.0, most=1.0)
    jpeg: float = bounded(0.0, least=0.0, most=1.0)


@dataclass(frozen=True)
class LossConfig(Checked):
    """name: bce, weighted_bce, focal, logit_adjusted or squared_error; options by keyword; landmark: weight of the
    landmark term.

    landmark_form: `squared` error in 0..1 of the crop, or `nme`, the distance over the eye distance
    (objectives/landmarks.py).
    identity: weight of the identity-centred term (objectives/identity.py). thresholds: `half`, or `adaptive`, moved at
    every look at the held-out slice and written into the card.

    distill: d in targets (1 - d) * label + d * teacher; teacher: an array of probabilities, made by prepare.teachers
    ({fingerprint} is the data's); teacher_fills_unknown: where a label is unknown the teacher's probability is the
    target, else it stays unknown.
    """

    name: str = "bce"
    options: Mapping[str, Any] = field(default_factory=dict)
    landmark: float = bounded(0.5, least=0.0)
    landmark_form: str = bounded("squared", among=("squared", "nme"))
    identity: float = bounded(0.0, least=0.0)
    thresholds: str = bounded("half", among=("half", "adaptive"))
    distill: float = bounded(0.0, least=0.0, most=1.0)
    teacher: str | None = None
    teacher_fills_unknown: bool = False


@dataclass(frozen=True)
class WeightingConfig(Checked):
    """name: uniform, dmm, dws, validation_trend or uncertainty; options by keyword; windows: how often in an epoch it
    learns."""

    name: str = "uniform"
    windows: int = bounded(1, least=1)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimiserConfig(Checked):
    """AdamW or SGD, linear warm-up, cosine to zero; `ema` is the decay of the averaged weights (0: none); precision
    fp32, bf16 or fp16 (with a gradient scaler). tf32: on cards, fp32 products in TF32. accumulate: parts of a batch
    that pass one after the other. read_every: steps between looks at the loss; each look waits for the device.
    prefetch: batches read ahead by a thread.

    tensorboard: write the log's numbers there too; log.csv is the truth.
    """

    name: str = bounded("adamw", among=("adamw", "sgd"))
    lr: float = bounded(4e-4, above=0.0)
    head_lr_factor: float = bounded(5.0, above=0.0)
    weight_decay: float = bounded(0.02, least=0.0)
    warmup_steps: int = bounded(200, least=0)
    epochs: int = bounded(5, least=1)
    batch: int = bounded(64, least=1)
    ema: float = bounded(0.998, least=0.0, below=1.0)
    clip_norm: float = bounded(0.0, least=0.0)
    precision: str = bounded("bf16", among=("fp32", "bf16", "fp16"))
    tf32: bool = True
    accumulate: int = bounded(1, least=1)
    read_every: int = bounded(1, least=1)
    prefetch: int = bounded(2, least=0)
    device: str = "cpu"
    threads: int | None = bounded(None, least=1)
    checkpoint_minutes: float = bounded(3.0, least=0.0)
    patience: int | None = bounded(None, least=1)
    tensorboard: bool = False


@dataclass(frozen=True)
class PrepareConfig(Checked):
    """How what a run reads beside its images is made where it is not there yet (training/prepare): the files named by
    data.regions, data.landmarks, loss.teacher and model.options.region_weights.

    masks: what data.regions gets: `learned` by the region network, `keypoints` drawn from each face's own points, or
    `mean-of-learned`, one mean for all. regions: the config that trains the region network. teachers: names, runs or
    files whose answers are loss.teacher's, mean over views.
    """

    masks: str = bounded("learned", among=("learned", "keypoints", "mean-of-learned"))
    regions: str | None = None
    teachers: tuple[str, ...] = ()
    views: int = bounded(2, least=1)
    precision: str = bounded("fp32", among=("fp32", "bf16"))


@dataclass(frozen=True)
class TrainConfig(Checked):
    """A whole training run."""

    name: str
    seed: int = bounded(0, least=0)
    claim: Claim = field(default_factory=Claim)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    weighting: WeightingConfig = field(default_factory=WeightingConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimiser.patience is not None and not self.data.holdout:
            raise ConfigError("optimiser.patience watches the held-out slice of train: set data.holdout above 0.")
        if self.loss.thresholds == "adaptive" and not self.data.holdout:
            raise ConfigError(
                "loss.thresholds: adaptive learns from the held-out slice of train: set data.holdout above 0."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dictionaries, as YAML and JSON hold them."""
        return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(self)))


def expand(path: str) -> Path:
    """Return `path` with environment variables filled in.

    A variable that holds several folders, as LINEAMENT_MODELS may, means the first of them in which the path is there.
    Raises: ConfigError naming a variable that is not set, and the way around it.
    """
    named = sorted({first or second for first, second in _VARIABLE.findall(path)})
    for name in named:
        if name not in os.environ:
            raise ConfigError(
                f"The environment variable {name} in path {path!r} is not set. {_UNSET.get(name, '')}".rstrip()
            )
    several = [[(name, part) for part in os.environ[name].split(os.pathsep)] for name in named]
    found = []
    for values in itertools.product(*several):
        chosen = dict(values)
        found.append(Path(_VARIABLE.sub(lambda match: chosen[match.group(1) or match.group(2)], path)).expanduser())  # noqa: B023
        if found[-1].exists():
            return found[-1]
    return found[0]


_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def configs_folder() -> Path:
    """Return the folder of the configs inside the package."""
    return Path(__file__).resolve().parent / "configs"


def list_configs() -> dict[str, Path]:
    """Return the configs of the package, name -> file: the path below its family, dashes for underscores, as in
    `parts/mgmtn-mask-none`."""
    root, found = configs_folder(), {}
    for file in sorted(root.rglob("*.yaml")):
        parts = [part.replace("_", "-") for part in file.relative_to(root).with_suffix("").parts]
        found["/".join(parts[1:] if parts[0] in _FAMILIES else parts)] = file
    return found


def find_config(given: str | os.PathLike[str]) -> Path:
    """Return the file that a path or the name of a packaged config means. Raises: ConfigError naming what comes
    near."""
    path, text = Path(given), os.fspath(given)
    if path.is_file():
        return path
    known = list_configs()
    if text in known:
        return known[text]
    near = difflib.get_close_matches(text, known, 3, 0.5)
    said = f" Nearest names: {', '.join(near)}." if near else ""
    raise ConfigError(
        f"No config at {path}, and none in the package is called so.{said} `lineament configs` lists the names."
    )


def with_data(config: TrainConfig, folder: str | os.PathLike[str]) -> TrainConfig:
    """Return the config on the images in `folder`: the official release, a hub's Parquet shards, LFWA or a table, told
    apart by what lies there.

    Raises: ConfigError if nothing is at `folder`.
    """
    where = Path(folder)
    if not where.exists():
        raise ConfigError(f"--data {where} is not there. Give the folder (or archive) of the training images.")
    data = config.data
    if where.suffix == ".parquet" or (where.is_dir() and any(where.glob("*.parquet"))):
        layout, split = "parquet", "all" if data.layout != "parquet" else data.split
    elif where.suffix == ".csv":
        layout, split = "table", data.split
    elif data.layout == "lfwa" or any(where.glob("lfw_att_40.*")):
        layout, split = "lfwa", data.split
    elif any(where.glob("list_attr_celeba*")) or any(where.glob("*/list_attr_celeba*")) or where.suffix == ".zip":
        layout, split = "official", "train" if data.split == "all" else data.split
    else:
        layout, split = data.layout, data.split
    changed = dataclasses.replace(
        data, layout=layout, path=str(where), split=split, images=data.images if layout == data.layout else None
    )
    return dataclasses.replace(config, data=changed)


def with_values(config: TrainConfig, given: Sequence[str]) -> TrainConfig:
    """Return the config with `key=value` put in, keys dotted (`optimiser.lr=1e-3`), values as YAML reads them.

    Raises: ConfigError for a pair without "=", and for what `from_dict` refuses.

    >>> with_values(TrainConfig("x"), ["optimiser.epochs=2", "model.options.dropout=0.1"]).optimiser.epochs
    2
    """
    if not given:
        return config
    yaml, record = _yaml(), config.to_dict()
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, as in optimiser.lr=1e-3, not {pair!r}.")
        place = record
        *sections, last = key.split(".")
        for name in sections:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {pair}: {name} is no section of a config.")
            place = inner
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {pair}: {text!r} is not YAML.") from error
    return from_dict(record)


def from_dict(record: Mapping[str, Any]) -> TrainConfig:
    """Build a TrainConfig; every unknown key and every value of the wrong type is an error that names its place."""
    return settings_from_dict(TrainConfig, record)


def settings_from_dict(kind: type[Settings], record: Mapping[str, Any]) -> Settings:
    """Build any frozen settings dataclass the same strict way."""
    return typing.cast("Settings", _build(kind, record, ""))


def load_config(path: str | os.PathLike[str]) -> TrainConfig:
    """Read a YAML training config, by path or by the name of a packaged one. Raises: ConfigError; MissingExtraError
    without PyYAML."""
    return load_settings(TrainConfig, path)


def load_settings(kind: type[Settings], path: str | os.PathLike[str]) -> Settings:
    """Read a YAML file, or a packaged config by its name, into any settings dataclass. Raises: ConfigError;
    MissingExtraError without PyYAML."""
    return settings_from_dict(kind, read_mapping(path))


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a config's YAML file holds, unchecked. Raises: ConfigError; MissingExtraError without PyYAML."""
    yaml, file = _yaml(), find_config(path)
    try:
        record = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {error}") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{file} must hold a mapping of settings.")
    return record


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", "train") from error
    return yaml


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _build(kind: Any, record: Any, where: str) -> Any:
    if not isinstance(record, Mapping):
        raise ConfigError(f"{where or 'config'}: expected a mapping, got {record!r}.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(record) - set(hints))
    if unknown:
        raise ConfigError(f"Unknown key {where}{unknown[0]}. Known keys here: {', '.join(hints)}.")
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if required - set(record):
        raise ConfigError(f"Missing key {where}{sorted(required - set(record))[0]}.")
    return kind(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in record.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{where}.")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        if value is None and type(None) in args:
            return None
        return _convert(inner[0], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple) or (args[-1] is not Ellipsis and len(value) != len(args)):
            raise ConfigError(
                f"{where}: expected a list{'' if args[-1] is Ellipsis else f' of {len(args)}'}, got {value!r}."
            )
        return tuple(_convert(args[0], item, where) for item in value)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}.")
        return dict(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError as error:
            raise ConfigError(f"{where}: expected a number, got {value!r}.") from error
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}.")
    return value
