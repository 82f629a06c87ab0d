"""Plain texts and numbers of the command line: typer has pydantic check those too, which is a third of a cold start.

Typer has no public way around it, so this uses names of its own (it is pinned to one minor version). Where they are
gone, everything is as typer does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typer._coercion import RuntimeParam, TypeDescriptor, build_runtime_param

if TYPE_CHECKING:
    from typer._click import Context
    from typer._click.core import Parameter
    from typer.core import _TyperParameter


@dataclass(frozen=True)
class _PlainText(RuntimeParam):
    """Takes plain texts and numbers, and leaves everything else to typer."""

    descriptor: TypeDescriptor

    def _coerce_value(self, value: Any, param: _TyperParameter, ctx: Context) -> Any:  # noqa: ANN401 - typer's words
        if self.parameter_info.parser is None:
            if self.annotation is str and _is_plain(value):
                return value
            if self.annotation == list[str] and isinstance(value, list | tuple) and all(map(_is_plain, value)):
                return list(value)
            if (number := self._number(value)) is not None:
                return number
        return build_runtime_param(self.descriptor)._coerce_value(value, param=param, ctx=ctx)  # noqa: SLF001

    def _number(self, value: object) -> float | None:
        """Return a number that is written plainly, and is in the range that is asked for."""
        number: float | None = None
        if self.annotation in _NUMBERS and isinstance(value, int | float) and type(value) is self.annotation:
            number = value
        elif self.annotation in _NUMBERS and isinstance(value, str) and _NUMBERS[self.annotation].fullmatch(value):
            number = self.annotation(value)
        low, high = self.parameter_info.min, self.parameter_info.max
        fits = number is not None and (low is None or number >= low) and (high is None or number <= high)
        return number if fits else None


_NUMBERS: dict[Any, re.Pattern[str]] = {
    int: re.compile("[0-9]{1,15}"),
    float: re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?"),
}


def take_texts_as_they_are(parameters: Iterable[Parameter]) -> None:
    """Let parameters that were left out, and texts in ASCII, be without pydantic."""
    for one in parameters:
        described = getattr(one, "type_descriptor", None)
        if isinstance(described, TypeDescriptor) and getattr(one, "_runtime_param", one) is None:
            plain = _PlainText(described.parameter_info, described.annotation, described)
            one._runtime_param = plain  # type: ignore[attr-defined]  # noqa: SLF001


def _is_plain(value: object) -> bool:
    return type(value) is str and value.isascii()  # what is no Unicode is refused, with words for it
