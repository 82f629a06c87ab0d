"""Parse plain texts and numbers of the command line without pydantic, whose import is a third of a cold start.

Typer has no public way to do so, so this uses private names of typer, which is pinned to one minor version. If they are
missing, typer parses everything itself.
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
    """Parses plain texts and numbers, and leaves everything else to typer."""

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
        """Return a plainly written number within the parameter's range, None for any other."""
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
    """Make parameters that are left out or given as plain ASCII texts skip pydantic."""
    for one in parameters:
        described = getattr(one, "type_descriptor", None)
        if isinstance(described, TypeDescriptor) and getattr(one, "_runtime_param", one) is None:
            plain = _PlainText(described.parameter_info, described.annotation, described)
            one._runtime_param = plain  # type: ignore[attr-defined]  # noqa: SLF001


def _is_plain(value: object) -> bool:
    return type(value) is str and value.isascii()  # invalid Unicode is refused elsewhere, with a message
