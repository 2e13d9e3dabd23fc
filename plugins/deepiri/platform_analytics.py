"""platform-analytics-service: the stream of events, by far the largest collection."""

from mongo2pg.model import Collection, Column, Domain

PLATFORM_ANALYTICS = Domain(
    name="platform_analytics",
    description="Analytics events (platform-analytics-service).",
    collections=(
        Collection(
            name="analyticsevents",
            table="analytics_events",
            change_key="timestamp",
            columns=(
                Column("userId", "uuid", references="users"),  # missing where the visitor was anonymous
                Column("sessionId", "text"),
                Column("eventType", "text"),
                Column("properties", "jsonb"),
                Column("context", "jsonb"),
                Column("timestamp", "timestamptz"),
                Column("createdAt", "timestamptz"),
            ),
            append_only=True,
            ignored=("__v",),
        ),
    ),
)
