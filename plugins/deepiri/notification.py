"""notification-service: notifications and the browsers that subscribed to push messages."""

from mongo2pg.model import Collection, Column, Domain

NOTIFICATION = Domain(
    name="notification",
    description="Notifications and push subscriptions (notification-service).",
    collections=(
        Collection(
            name="notifications",
            table="notifications",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("type", "text"),
                Column("title", "text"),
                Column("message", "text"),
                Column("data", "jsonb"),
                Column("priority", "text", enum=("low", "medium", "high", "urgent")),
                Column("channels", "text[]", enum=("push", "email", "sms", "in_app")),
                Column("status", "text", enum=("pending", "sent", "delivered", "read", "failed")),
                Column("scheduledFor", "timestamptz"),
                Column("sentAt", "timestamptz"),
                Column("deliveredAt", "timestamptz"),
                Column("readAt", "timestamptz"),
                Column("expiresAt", "timestamptz"),
                Column("retryCount", "integer"),
                Column("errorMessage", "text"),
                Column("metadata.source", "text"),
                Column("metadata.campaign", "text"),
                Column("metadata.version", "text"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            ignored=("__v",),
        ),
        Collection(
            name="pushsubscriptions",
            table="push_subscriptions",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("endpoint", "text", required=True),
                Column("expirationTime", "timestamptz"),
                Column("keys.p256dh", "text", sensitive=True),
                Column("keys.auth", "text", sensitive=True),
                Column("userAgent", "text"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            unique=(("endpoint",),),
            ignored=("__v",),
        ),
    ),
)
