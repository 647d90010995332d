"""Every error Lineament raises on purpose: one tree, each message names the fix.

`ImageError` subclasses carry the record `code` of `docs/reference/interface.md`; a run over many photos turns them into
records and goes on.
"""

from __future__ import annotations


class LineamentError(Exception):
    """Base of every error raised on purpose. `code` is what records and HTTP bodies show."""

    code = "error"


class UsageError(LineamentError, ValueError):
    """The caller asked for something that cannot be: unknown name, contradictory flags, wrong shape."""

    code = "usage"


class UnknownAttributeError(UsageError):
    """An attribute name that no schema holds."""

    code = "unknown_attribute"


class ConfigError(UsageError):
    """A configuration file with an unknown key, a missing key or a value out of range."""

    code = "config"


class MissingExtraError(LineamentError, ImportError):
    """An optional dependency is not installed; the message names the install command."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs {package}, which is not installed. Install it with: pip install 'lineament[{extra}]'"
        )
        self.package, self.extra = package, extra


class ModelFileError(LineamentError):
    """A model file that is missing, damaged or carries no card."""

    code = "model_file"


class DataError(LineamentError, ValueError):
    """A data set, table or prediction file that cannot be used as asked."""

    code = "data"


class ResumeError(UsageError):
    """`--resume` was asked to continue a run made with other settings."""

    code = "resume"


class DivergedError(LineamentError):
    """A training whose loss is no longer a number."""

    code = "diverged"


class ImageError(LineamentError):
    """A photo that gives no pixels. The subclasses' codes are the record's `status`."""

    code = "unreadable"


class UnreadableError(ImageError):
    """The bytes are of no picture, or of a damaged one."""

    code = "unreadable"


class TruncatedError(ImageError):
    """The file ends before the picture does; a partial picture is never answered."""

    code = "truncated"


class UnsupportedError(ImageError):
    """A picture format or mode that this installation does not decode."""

    code = "unsupported"


class TooLargeError(ImageError):
    """More pixels (or bytes) than the cap allows; nothing was decoded."""

    code = "too_large"


class EmptyError(ImageError):
    """Zero bytes, or a picture of zero width or height."""

    code = "empty"


class NotAFileError(ImageError):
    """A folder, pipe, device or socket where a photo was expected."""

    code = "not_a_file"


class NotFoundError(ImageError):
    """No such file, a dangling link or a loop of links."""

    code = "not_found"


class PermissionDeniedError(ImageError):
    """The file may not be read by this user."""

    code = "permission"


class TimedOutError(ImageError):
    """The photo took longer than the time limit per photo."""

    code = "timed_out"


class TooManyFacesError(ImageError):
    """More faces in one photo than the caller allowed."""

    code = "too_many_faces"


def image_error(code: str, message: str) -> ImageError:
    """Return the error of a record's code, as another process told it; one that is not known here is an
    UnreadableError."""
    for kind in globals().values():
        if isinstance(kind, type) and issubclass(kind, ImageError) and kind is not ImageError and kind.code == code:
            return kind(message)
    return UnreadableError(message)
