"""task-orchestrator: tasks, every version that they had, and what depends on what."""

from mongo2pg.model import Collection, Column, Domain

TASK_ORCHESTRATOR = Domain(
    name="task_orchestrator",
    description="Tasks, their versions and their dependencies (task-orchestrator).",
    collections=(
        Collection(
            name="tasks",
            table="tasks",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("title", "text"),
                Column("description", "text"),
                Column(
                    "type",
                    "text",
                    enum=("manual", "notion", "trello", "github", "google_docs", "pdf", "code", "study", "creative"),
                ),
                Column("status", "text", enum=("pending", "in_progress", "completed", "cancelled")),
                Column("priority", "text", enum=("low", "medium", "high", "urgent")),
                Column("dueDate", "timestamptz"),
                Column("estimatedDuration", "integer"),
                Column("tags", "text[]"),
                Column("metadata.sourceId", "text"),
                Column("metadata.sourceUrl", "text"),
                Column("metadata.sourceData", "jsonb"),
                Column("challengeId", "uuid", references="challenges"),
                Column("completionData.completedAt", "timestamptz"),
                Column("completionData.actualDuration", "double precision"),
                Column("completionData.efficiency", "double precision"),
                Column("completionData.notes", "text"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            ignored=("__v",),
        ),
        Collection(
            name="taskversions",
            table="task_versions",
            change_key="createdAt",
            columns=(
                # History outlives its task: nothing judges this id.
                Column("taskId", "uuid", required=True, references="tasks", judged=False),
                Column("version", "integer", required=True),
                Column("userId", "uuid", required=True, references="users"),
                Column("changes", "jsonb"),
                Column("changeType", "text", enum=("create", "update", "delete", "restore")),
                Column("changedBy", "uuid", references="users"),
                Column("changeReason", "text"),
                Column("snapshot", "jsonb"),
                Column("createdAt", "timestamptz"),
            ),
            unique=(("task_id", "version"),),
            append_only=True,
            ignored=("__v",),
        ),
        Collection(
            name="taskdependencies",
            table="task_dependencies",
            change_key="createdAt",
            columns=(
                Column("taskId", "uuid", required=True, references="tasks"),
                Column("dependsOn", "uuid", "depends_on_task_id", required=True, references="tasks"),
                Column("dependencyType", "text", enum=("blocks", "precedes", "related", "subtask")),
                Column("userId", "uuid", required=True, references="users"),
                Column("createdAt", "timestamptz"),
            ),
            unique=(("task_id", "depends_on_task_id"),),
            append_only=True,
            ignored=("__v",),
        ),
    ),
)
