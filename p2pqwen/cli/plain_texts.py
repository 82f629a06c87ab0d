"""What is typed and taken as it stands: typer has pydantic check even that, which takes longer to load than `search`.

Typer has no public way around it, so this uses names of its own (it is pinned to one minor version). Where they are
gone, everything is as typer does it.
"""

from __future__ import annotations

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
    """Takes texts as they are, and leaves everything else to typer."""

    descriptor: TypeDescriptor

    def _coerce_value(self, value: Any, param: _TyperParameter, ctx: Context) -> Any:  # noqa: ANN401 - typer's words
        if self.annotation is str and _is_plain(value):
            return value
        if self.annotation == list[str] and isinstance(value, list | tuple) and all(map(_is_plain, value)):
            return list(value)
        return build_runtime_param(self.descriptor)._coerce_value(value, param=param, ctx=ctx)  # noqa: SLF001


def take_texts_as_they_are(parameters: Iterable[Parameter]) -> None:
    """Let parameters that were left out, and texts in ASCII, be without pydantic."""
    for one in parameters:
        described = getattr(one, "type_descriptor", None)
        if isinstance(described, TypeDescriptor) and getattr(one, "_runtime_param", one) is None:
            plain = _PlainText(described.parameter_info, described.annotation, described)
            one._runtime_param = plain  # type: ignore[attr-defined]  # noqa: SLF001


def _is_plain(value: object) -> bool:
    return type(value) is str and value.isascii()  # what is no Unicode is refused, with words for it
