"""Shows the report of a migration run inside Airflow: the tab "Report" of every run, for whoever may see that run.

An Airflow plugin. Every component imports it when it starts, so what the pages need is imported when the first one is asked for.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

PREFIX = "/migration-report"
FILES = {"report.html": "text/html; charset=utf-8", "report.json": "application/json"}


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application that Airflow's API server mounts."""
    await _app()(scope, receive, send)


@cache
def _app() -> FastAPI:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI, HTTPException, Response

    from mongo2pg.files.staging import RunStaging, default_root

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A mounted application is open to everybody unless each of its routes asks who it is.
    may_see_run = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))

    def report(dag_id: str, run_id: str, file: str) -> Response:
        path = RunStaging(default_root(), dag_id, run_id).folder / file
        if file not in FILES or not path.exists():
            raise HTTPException(404, "This run has written no report: the task gate writes it at the end of a run.")
        return Response(
            path.read_bytes(),
            media_type=FILES[file],
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    app.add_api_route("/dags/{dag_id}/runs/{run_id}/{file}", report, methods=["GET"], dependencies=[may_see_run])
    return app


class MigrationReport(AirflowPlugin):
    """Registers the pages and the tab of a run."""

    name = "migration_report"
    fastapi_apps: list[Any] = [{"app": pages, "url_prefix": PREFIX, "name": "Migration report"}]  # noqa: RUF012 - as Airflow has it
    external_views: list[Any] = [  # noqa: RUF012
        {
            "name": "Report",
            "href": f"{PREFIX}/dags/{{DAG_ID}}/runs/{{RUN_ID}}/report.html",
            "destination": "dag_run",
            "url_route": "migration-report",
        }
    ]
