"""What has to be there before Airflow starts: the passwords of its users, then its metadata tables.

The users are those of AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS; the password of `ann` stands in AIRFLOW_ANN_PASSWORD. A user
without one would get a password from Airflow, printed into a log: here that is a fault.
"""

import json
import os
import sys
from pathlib import Path


def passwords(environment: dict[str, str]) -> dict[str, str]:
    """The password of every user. Ends the process with a sentence where one is missing."""
    users = [user.split(":")[0] for user in environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(",")]
    variables = {user: f"AIRFLOW_{user.upper()}_PASSWORD" for user in users}
    missing = [variable for variable in variables.values() if not environment.get(variable)]
    if missing:
        sys.exit(f"No password for Airflow's users: set {' and '.join(missing)} in .env.")
    return {user: environment[variable] for user, variable in variables.items()}


def write_private(path: Path, text: str) -> None:
    """The file whole or not at all, and for its owner alone from its first byte on."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


if __name__ == "__main__":
    write_private(
        Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]), json.dumps(passwords(dict(os.environ))) + "\n"
    )
    os.execvp("airflow", ["airflow", "db", "migrate"])  # noqa: S606, S607 - the image's own command
