"""Query parameters of POST /v1/analyze: the command line's flags by the same names, checked before a body is read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lineament.pipeline.analyze import Settings
from lineament.schema import parse_names
from lineament.serve.limits import Limits

Profile = Literal["default", "all"]
SmallFaces = Literal["never", "auto", "always"]


class Options(BaseModel):
    """What a request may choose; an unknown parameter is refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")

    profile: Profile = Field("default", description="default leaves out attributes that judge or profile a person.")
    attributes: str | None = Field(
        None,
        max_length=2000,
        description='Comma-separated names to answer; all of the profile by default. "a, b" quotes a comma.',
    )
    abstain: bool = Field(False, description='Answer "cannot_tell" where the card says the model is unsure.')
    consistent: bool = Field(False, description="Apply the rules of consistency; a changed label says which.")
    keep: str = Field(
        "all", pattern=r"^(all|largest|[1-9][0-9]{0,3})$", description="Faces to answer: all, largest, or a count."
    )
    faces: Literal["detect", "aligned"] = Field(
        "detect", description="aligned: the photo is a crop in CelebA's layout; nothing is detected."
    )
    small_faces: SmallFaces | None = Field(
        None, description="Search at the photo's own scale; by default as the service was started."
    )
    maps: bool = Field(False, description="Add to each face where the network looked (an addition to the record).")

    def settings(self, limits: Limits, known: tuple[str, ...], small_faces: str = "auto") -> Settings:
        """Return the pipeline's settings; small_faces: the choice where the request does not say.

        Raises: UsageError for an attribute that does not exist or that the profile leaves out.
        """
        names = None if self.attributes is None else parse_names(self.attributes)
        settings = Settings(
            profile=self.profile,
            attributes=names,
            abstain=self.abstain,
            consistent=self.consistent,
            keep=self.keep if self.keep in ("all", "largest") else int(self.keep),
            faces=self.faces,
            max_pixels=limits.pixels,
            small_faces=self.small_faces or small_faces,
        )
        settings.visible(known)
        return settings
