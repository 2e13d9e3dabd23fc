"""external-bridge-service: webhooks and the log of their calls."""

from mongo2pg.model import Child, Collection, Column, Domain

EXTERNAL_BRIDGE = Domain(
    name="external_bridge",
    description="Webhooks and the log of their calls (external-bridge-service).",
    collections=(
        Collection(
            name="webhooks",
            table="webhooks",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("provider", "text"),
                Column("url", "text"),
                Column("events", "text[]"),
                Column("secret", "text", sensitive=True),
                Column("active", "boolean"),
                Column("headers", "jsonb", sensitive=True),
                Column("lastTriggeredAt", "timestamptz"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            children=(
                Child(
                    table="webhook_logs",
                    path="logs",
                    kind="documents",
                    columns=(
                        Column("event", "text"),
                        Column("status", "text", enum=("success", "failed", "pending")),
                        Column("statusCode", "integer"),
                        Column("attempt", "integer"),
                        Column("payload", "jsonb"),
                        Column("response", "jsonb"),
                        Column("error", "text"),
                        Column("durationMs", "double precision"),
                        Column("createdAt", "timestamptz"),
                    ),
                ),
            ),
            ignored=("__v",),
        ),
    ),
)
