"""What a task knows of its run: what it was asked for, its key in the books, its folder, and, at the end, its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mongo2pg.dag.params import all_params
from mongo2pg.dag.tasks import started_by
from mongo2pg.databases.connections import target
from mongo2pg.errors import PermanentError, TransientError
from mongo2pg.model import Domain

if TYPE_CHECKING:
    from mongo2pg.books import Connection, RunKey
    from mongo2pg.files.staging import CollectionStaging, RunStaging


class TaskRun(NamedTuple):
    """A run of a domain, of which `asked` are the collections that it was asked for."""

    domain: Domain
    asked: Domain
    run_id: str

    def key(self, plan_id: str = "") -> RunKey:
        """The run under a plan, or before it has one."""
        from mongo2pg.books import RunKey

        return RunKey(self.domain.name, self.run_id, plan_id)

    def current(self) -> RunKey:
        """The run under its present plan."""
        return self.key(self.staging.current()["plan_id"])

    def moved(self) -> Domain:
        """The collections that the run's present plan moves."""
        return self.domain.only(self.staging.current()["collections"])

    @property
    def is_planned(self) -> bool:
        """Whether there is a present plan."""
        return (self.staging.folder / "plan.json").exists()

    def following(self) -> TaskRun:
        """The same, for a task that follows the run's plan. Raises StagingError where that was made by another declaration."""
        if self.is_planned:
            self.staging.refuse_other_declaration(self.domain)
        return self

    @property
    def staging(self) -> RunStaging:
        """The run's folder."""
        from mongo2pg.files.staging import RunStaging, default_root

        return RunStaging(default_root(), self.domain.name, self.run_id)

    def staged(self, plan_id: str, collection: str) -> CollectionStaging:
        """The folder of a collection under a plan."""
        return self.staging.collection(plan_id, collection)

    def begin(self, conn: Connection, mode: str, ends: Mapping[str, Any]) -> None:
        """Notes in the books that the run begins between these `ends`; the report of an earlier attempt goes."""
        from mongo2pg import books
        from mongo2pg.verdict import certificate

        books.start_run(conn, self.key(), mode, all_params(), started_by(), ends)
        certificate.remove(self.staging.folder)

    def report(self, states: Mapping[str, str], *, booked: bool = True) -> tuple[dict[str, Any], str]:
        """Writes the run's report, also into the books if they know the run; returns it with the sha256 of its file.

        They know it from `prepare`, of an earlier attempt for one, unless somebody marked that in Airflow. A run that is not to be
        `booked` is in none.
        """
        from mongo2pg import books
        from mongo2pg.verdict import certificate, gate

        prepared = states.get("prepare") == "success"
        try:
            if booked:
                with target() as conn:
                    if books.has_begun(conn, self.key()):
                        run, moved = (self.current(), self.moved()) if self.is_planned else (self.key(), self.asked)
                        return gate.conclude(conn, run, moved, self.staging, states)
                states = {**states, "prepare": "failed"}
        except (PermanentError, TransientError):
            if prepared:
                raise  # else it is what `prepare` has failed by
        report = gate.report_unprepared(self.asked, self.key(), states)
        return report, certificate.write(self.staging.folder, report)
