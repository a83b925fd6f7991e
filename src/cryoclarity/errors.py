"""Errors with a reason code, a file and a remedy, and the exit status that belongs to each."""

from __future__ import annotations

from pathlib import Path

from cryoclarity.codes import CODES


class CryoClarityError(Exception):
    """Base of all errors that this package raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, with the offending value.
    code : str
        A reason code of :mod:`cryoclarity.codes`.
    file : path, optional
        The file that is at fault.
    remedy : str, optional
        What the user can do; by default what the table of codes says.

    Raises
    ------
    KeyError
        When the code is not in the table: an unknown code is a bug.
    """

    exit_status = 1

    def __init__(
        self,
        message: str,
        *,
        code: str = "INTERNAL",
        file: str | Path | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = CODES[code].code
        self.file = None if file is None else str(file)
        self.remedy = remedy or CODES[code].remedy or None

    def __reduce__(self):
        # Keyword-only arguments do not survive the default pickling of exceptions.
        arguments = {"code": self.code, "file": self.file, "remedy": self.remedy}
        return (_rebuild, (type(self), self.message, arguments))

    def __str__(self) -> str:
        where = f" {self.file}:" if self.file else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.code}:{where} {self.message}{remedy}"


def _rebuild(cls: type[CryoClarityError], message: str, arguments: dict) -> CryoClarityError:
    return cls(message, **arguments)


class InputError(CryoClarityError):
    """A bad input file or entry: a row in the DAG, exit status 3 by hand."""

    exit_status = 3


class ConfigError(CryoClarityError):
    """Wrong usage or configuration."""

    exit_status = 2

    def __init__(self, message: str, *, code: str = "CONFIG", **arguments) -> None:
        super().__init__(message, code=code, **arguments)


class IntegrityError(CryoClarityError):
    """A hash or schema differs from the recorded one."""

    exit_status = 4


class ResourceError(CryoClarityError):
    """Memory, device or disk ran out."""

    exit_status = 5
