"""Two kinds of failure: those that a retry cannot cure, and those that it may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class PermanentError(Exception):
    """A retry would end in the same way: somebody has to change data, a declaration or a setting."""


class TransientError(Exception):
    """The surroundings failed (a connection, a disk): the same task may succeed when it runs again."""


class DeclarationError(PermanentError):
    """A declaration contradicts itself. Raised when it is constructed; `place` says where, `remedy` the way out."""

    def __init__(self, place: str, fault: str, remedy: str) -> None:
        super().__init__(place, fault, remedy)
        self.place, self.fault, self.remedy = place, fault, remedy

    def __str__(self) -> str:
        return f"{self.place}: {self.fault}. {self.remedy}"


class PrepareError(PermanentError):
    """Something outside is wrong and was found before a row moved; carries every fault found, one sentence each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(["nothing was written, because:", *(f"- {fault}" for fault in self.faults)])


class NothingToDoError(PermanentError):
    """A schedule asked for what cannot be done yet; the run is skipped, not failed."""


class OwnedError(TransientError):
    """Another run, still alive, has the first load of these collections; `owner` is its run id."""

    def __init__(self, owner: str, collections: Sequence[str]) -> None:
        super().__init__(owner, collections)
        self.owner, self.collections = owner, collections

    def __str__(self) -> str:
        return f"run {self.owner} has the first load of {', '.join(self.collections)}: this run waits until it has ended"


class StagingError(PermanentError):
    """A staged file is not the one that its manifest describes, or a stage before this one did not finish."""


class DeleteError(PermanentError):
    """More documents are gone than may be believed; carries (gone, rows) by collection. Nothing was deleted."""

    def __init__(self, beyond: Mapping[str, tuple[int, int]], ratio: float) -> None:
        super().__init__(beyond, ratio)
        self.beyond, self.ratio = beyond, ratio

    def __str__(self) -> str:
        lines = [f"nothing was deleted, because more than {self.ratio:.1%} of a collection would be:"]
        lines += [
            f"- {name}: {gone:,} of {rows:,} rows ({gone / rows:.1%}) have no document in MongoDB any more"
            for name, (gone, rows) in self.beyond.items()
        ]
        return "\n".join([*lines, "if the connection points at the right database, run again with a higher max_delete_ratio"])


class RepairError(PermanentError):
    """More differs than may be repaired unseen; carries (documents and rows that differ, documents) by collection."""

    def __init__(self, beyond: Mapping[str, tuple[int, int]], ratio: float) -> None:
        super().__init__(beyond, ratio)
        self.beyond, self.ratio = beyond, ratio

    def __str__(self) -> str:
        lines = [f"nothing was repaired, because more than {self.ratio:.1%} of a collection differs:"]
        lines += [
            f"- {name}: {differing:,} of {documents:,} documents and rows ({differing / max(documents, 1):.1%})"
            for name, (differing, documents) in self.beyond.items()
        ]
        return "\n".join([*lines, "look at migration.differences, then run again with a higher max_repair_ratio"])


class GateError(PermanentError):
    """The run ended with a failed or missing check, or a failed task; the message lists them all."""


class CheckError(PermanentError):
    """Checks failed; `failed` are the checks, and the message names each with both sides."""

    def __init__(self, stage: str, failed: Sequence[Any]) -> None:
        super().__init__(stage, failed)
        self.stage, self.failed = stage, failed

    def __str__(self) -> str:
        lines = [f"{self.stage}: {len(self.failed)} checks failed"]
        for check in self.failed:
            where = check.subject if check.chunk < 0 else f"{check.subject}, chunk {check.chunk}"
            lines.append(
                f"- {where}: expected {check.expected}, found {check.actual}" + (f": {check.detail}" if check.detail else "")
            )
        return "\n".join(lines)
