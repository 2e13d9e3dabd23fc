"""All domains, in an order that puts a table before most of those that refer to it: users come first."""

from deepiri.auth import AUTH
from deepiri.challenge import CHALLENGE
from deepiri.engagement import ENGAGEMENT
from deepiri.external_bridge import EXTERNAL_BRIDGE
from deepiri.notification import NOTIFICATION
from deepiri.platform_analytics import PLATFORM_ANALYTICS
from deepiri.task_orchestrator import TASK_ORCHESTRATOR
from mongo2pg.model import Domain

DOMAINS: tuple[Domain, ...] = (
    AUTH,
    TASK_ORCHESTRATOR,
    ENGAGEMENT,
    NOTIFICATION,
    EXTERNAL_BRIDGE,
    CHALLENGE,
    PLATFORM_ANALYTICS,
)
