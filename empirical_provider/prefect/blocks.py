"""What both blocks have in common: their fields, copies, and documents of other releases."""

from __future__ import annotations

import re
import warnings
from abc import ABC
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import isclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, PrivateAttr, SecretStr, ValidationError, model_validator

import empirical_provider
from empirical_provider import checks
from empirical_provider.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import BlockDocument

__all__ = ["EmpiricalBlock"]

_ADDED_BY_PREFECT = (
    "block_type_slug",
    "_block_document_id",
    "_block_document_name",
    "_is_anonymous",
)
"""What Prefect writes next to the fields of a block, and hands back when it reads one."""


class EmpiricalBlock(Block, ABC):
    """A block that takes its own fields only, and knows whether it is saved as it is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _as_saved: dict[str, Any] | None = PrivateAttr(None)

    if TYPE_CHECKING:
        # To type checkers Prefect's own may return anything, or a coroutine.

        @classmethod
        def load(  # noqa: D102  # it is Prefect's
            cls,
            name: str,
            validate: bool = True,
            client: PrefectClient | None = None,
        ) -> Self: ...

        @classmethod
        async def aload(  # noqa: D102
            cls,
            name: str,
            validate: bool = True,
            client: PrefectClient | None = None,
        ) -> Self: ...

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_fields(cls, values: Any) -> Any:
        """Reject what is no field; Prefect would silently accept it."""
        for name in cls._unknown(values) if isinstance(values, dict) else ():
            with cls._located(
                name,
                " If a newer release of empirical-provider has saved the block: install that "
                f"release where the block is loaded (this is {empirical_provider.__version__}), "
                "or load it without the field, with validate=False.",
            ):
                checks.known_keys(cls.__name__, [name], list(cls.model_fields))
        return values

    @classmethod
    def _unknown(cls, values: Mapping[str, Any]) -> list[str]:
        return [each for each in values if each not in {*cls.model_fields, *_ADDED_BY_PREFECT}]

    @classmethod
    @contextmanager
    def _located(cls, field: str | None = None, advice: str = "") -> Iterator[None]:
        """Raise what is not valid as pydantic does, with the field as its location.

        Prefect and forms go by the location. By default it is the first field that the message
        names.
        """
        try:
            yield
        except InvalidRequestError as error:
            words = re.findall(r"\w+", str(error))
            named = field or next((each for each in words if each in cls.model_fields), "__root__")
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    {
                        "type": "value_error",
                        "loc": (named,),
                        "input": None,
                        "ctx": {"error": ValueError(f"{error}{advice}")},
                    }
                ],
                hide_input=True,
            ) from None

    # Whether it is saved as it is

    @property
    def saved_name(self) -> str | None:
        """The name by which the block can be loaded again; None if it is not saved as it is."""
        if self._is_anonymous or self._as_saved != self.__dict__:
            return None
        return self._block_document_name

    def __setattr__(self, name: str, value: Any) -> None:
        """Note the values under which Prefect has saved or loaded the block."""
        super().__setattr__(name, value)
        if name == "_block_document_name":
            self._as_saved = dict(self.__dict__)
        elif name in type(self).model_fields:
            self._part_from_document()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; one with other values is not the block that was saved."""
        copy = super().model_copy(update=update, deep=deep)
        copy._part_from_document()  # noqa: SLF001  # our own, like all below
        return copy

    def _part_from_document(self) -> None:
        """Forget the document that holds other values.

        By its id, Prefect would store a reference to it in the place of the block: in another
        block, and as a parameter of a deployment. The name stays, to save the block under.
        """
        if self._as_saved != self.__dict__:
            self._block_document_id = None

    # Documents of other releases

    @classmethod
    def _load_from_block_document(
        cls, block_document: BlockDocument, validate: bool = True
    ) -> Self:
        """Do what Prefect does, but find subclasses in a block, and never show a secret.

        Without validation, what this release does not know is left out. Prefect's own form of that
        fails where the document has the field that is not valid, and its block would show the API
        key.
        """
        typed = _with_types(block_document)
        data = typed if validate else cls._known_part(typed)
        as_known = block_document.model_copy(update={"data": data})
        try:
            block = super()._load_from_block_document(as_known)
        except RuntimeError as error:
            if validate:
                raise
            warnings.warn(f"{error} {error.__cause__}", stacklevel=2)
            return cls._unvalidated(data)
        if data != typed:
            block._as_saved = None  # noqa: SLF001
            block._part_from_document()  # noqa: SLF001
        return block

    @classmethod
    def _known_part(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return stored data without what this release does not know, at any depth."""
        unknown = cls._unknown(data)
        if unknown:
            warnings.warn(
                f"This release of empirical-provider ({empirical_provider.__version__}) does not "
                f"know these fields of the block, and leaves them out: {', '.join(unknown)}. Do "
                f"not save it under the same name.",
                stacklevel=2,
            )
        known = {name: value for name, value in data.items() if name not in unknown}
        for name, value in known.items():
            inner = cls._nested(name, value)
            if inner is not None:
                known[name] = inner._known_part(value)  # noqa: SLF001
        return known

    @classmethod
    def _unvalidated(cls, data: Mapping[str, Any]) -> Self:
        """Return a block with these values, right or wrong, and None for what is missing."""
        fields = cls.model_fields
        values: dict[str, Any] = {name: None for name, each in fields.items() if each.is_required()}
        for name in fields.keys() & data.keys():
            value = data[name]
            inner = cls._nested(name, value)
            if inner is not None:
                value = inner._unvalidated(value)  # noqa: SLF001
            elif fields[name].annotation is SecretStr and isinstance(value, str):
                value = SecretStr(value)
            values[name] = value
        return cls.model_construct(**values)

    @classmethod
    def _nested(cls, name: str, value: Any) -> type[EmpiricalBlock] | None:
        """Return the class of a block that is stored in a field, if it is one of ours."""
        field = cls.model_fields.get(name)
        kind = field.annotation if field else None
        if not (isinstance(value, dict) and isclass(kind) and issubclass(kind, EmpiricalBlock)):
            return None
        same = value.get("block_type_slug", kind.get_block_type_slug())
        return kind if same == kind.get_block_type_slug() else None


def _with_types(document: BlockDocument) -> dict[str, Any]:
    """Return the data of a document, with the type of each block that it has by reference.

    Prefect tells the type of a block by it, and stores it only with blocks that are in the data.
    """
    data = dict(document.data)
    for name, reference in document.block_document_references.items():
        slug = (reference.get("block_document", {}).get("block_type") or {}).get("slug")
        if slug and isinstance(data.get(name), dict):
            data[name] = {**data[name], "block_type_slug": slug}
    return data
