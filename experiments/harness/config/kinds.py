"""Kinds of settings: the possible values of each, as a text for messages and as a type that is checked.

They are checked by pydantic, because Hydra's structured configs support neither ranges nor settings that are
a number or an object, and their error for ``learner.steps=2.5`` would not name the range.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from ..errors import UsageError

LARGEST = 2**31 - 1
"""Largest counts and seeds: TensorFlow has iterations and seeds of 32 bits."""

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclasses.dataclass(frozen=True)
class Kind:
    """The possible values of a setting.

    Attributes:
        text: the description in messages and help, such as "a number above 0".
        type: the type by which pydantic checks and converts a value, for example 1 to 1.0 for a number.
    """

    text: str
    type: Any

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.type)

    def take(self, path: str, value: Any) -> Any:
        """Return a value, converted to the type in which it is used.

        Raises:
            UsageError: if it is not of this kind, naming the path, the value and the possible values.
        """
        try:
            return self._adapter.validate_python(value)
        except (ValidationError, RecursionError) as error:
            raise UsageError(f"{path}={shown(value)} must be {self.text}") from error


class Setting(NamedTuple):
    """The possible values of a setting, and its purpose in a line."""

    kind: Kind
    help: str


def shown(value: Any) -> str:
    """Return a value as it is typed on the command line, shortened."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def optional(kind: Kind) -> Kind:
    """Return the kind that also accepts null, for none."""
    return Kind(f"{kind.text}, or null for none", kind.type | None)


def either(first: Kind, second: Kind) -> Kind:
    """Return the kind that accepts the values of both kinds."""
    return Kind(f"{first.text}, or {second.text}", first.type | second.type)


def one_of(*words: str) -> Kind:
    """Return the kind that accepts the given words."""
    return Kind(f"one of {', '.join(words)}", Literal[words])


def _word(value: object) -> object:
    return WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _described(value: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(value.get("_target_"), str):
        raise ValueError
    return value


def integer(least: int, most: int = LARGEST) -> Kind:
    """Return the kind of integers between two bounds."""
    return Kind(f"an integer from {least} to {most}", Annotated[int, Field(strict=True, ge=least, le=most)])


def _number(**bounds: Any) -> Any:
    return Annotated[float, Field(strict=True, allow_inf_nan=False, **bounds)]


_NUMBER = Annotated[float, Field(strict=True, allow_inf_nan=False)]

SEED = COUNT_OR_ZERO = integer(0)
COUNT, TWO_OR_MORE = integer(1), integer(2)
POSITIVE = Kind("a finite number above 0", _number(gt=0))
POSITIVE_OR_ZERO = Kind("a finite number of at least 0", _number(ge=0))
FRACTION = Kind("a number from 0 to 1", _number(ge=0, le=1))
BELOW_ONE = Kind("a number from 0 to below 1", _number(ge=0, lt=1))
NUMBER = Kind("a finite number", _number())
SWITCH = Kind("true or false", Annotated[bool, Field(strict=True), BeforeValidator(_word)])
TEXT = Kind("text that is not empty", Annotated[str, Field(strict=True, min_length=1, max_length=1000)])
FOLDER_NAME = Kind(
    "a plain folder name of letters, digits, - and _",
    Annotated[str, Field(strict=True, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")],
)
PATH = Kind(
    "a path", Annotated[str, Field(strict=True, min_length=1, max_length=4000, pattern=r"^[^\x00]+$")]
)
RANGE = Kind("a pair of numbers [low, high]", Annotated[list[_NUMBER], Field(min_length=2, max_length=2)])
NUMBERS = Kind("a list of finite numbers", Annotated[list[_NUMBER], Field(min_length=1, max_length=100)])
FRACTIONS = Kind(
    "a list of numbers from 0 to below 1, like [0.9, 0.99]",
    Annotated[list[_number(ge=0, lt=1)], Field(max_length=100)],  # type: ignore[misc]
)
COUNTS = Kind(
    "a list of integers of at least 1, like [40, 40]",
    Annotated[list[COUNT.type], Field(max_length=1000)],  # type: ignore[name-defined]
)
METRICS = Kind(
    "a list of names of metrics, like [accuracy]",
    Annotated[list[str], Field(strict=True, max_length=100)],
)
SIZES = Kind(
    "four integers from 0, examples of the inner loss, the outer loss, validation and test",
    Annotated[list[SEED.type], Field(min_length=4, max_length=4)],  # type: ignore[name-defined]
)
SPLIT = Kind(
    "three numbers of classes, or for train, validation and test each a list of names or a CSV file",
    Annotated[list[SEED.type], Field(min_length=3, max_length=3)] | dict[str, list[str] | str],  # type: ignore[name-defined]
)
NAMES = Kind("a list of names", Annotated[list[str], Field(strict=True, min_length=1, max_length=100)])
PACKAGES = Kind(
    "a name of a package, or a list of them, like [mylab]",
    Annotated[
        list[Annotated[str, Field(strict=True, max_length=200, pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]],
        BeforeValidator(_split),
        Field(max_length=100),
    ],
)
FORMATS = Kind("a list of png, svg and pdf", list[Literal["png", "svg", "pdf"]])
_OBJECT = Annotated[dict[str, Any], AfterValidator(_described)]
OBJECT = Kind("an object, described by a _target_ and its settings", _OBJECT)
OBJECTS = Kind(
    "a list of objects, each described by a _target_ and its settings",
    Annotated[list[_OBJECT], Field(max_length=100)],
)
