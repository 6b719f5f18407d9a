"""A PostgreSQL of a test's own: on loopback, with its own data directory, by Debian's programs."""

import os
import pwd
import shutil
import socket
import subprocess
from glob import glob
from pathlib import Path

PASSWORD = "pa55 w/rd"
QUOTED = "pa55%20w%2Frd"


def programs() -> Path | None:
    """Where `initdb` and `pg_ctl` are."""
    found = shutil.which("pg_ctl")
    newest = sorted(glob("/usr/lib/postgresql/*/bin/pg_ctl"), key=lambda path: int(path.split("/")[4]))
    return Path(found or newest[-1]).parent if found or newest else None


class Server:
    """Started when it is made. It does not run as root, so root lends it to the user `postgres`, or `nobody`."""

    def __init__(self, directory: Path, connections: int = 100):
        self.data, self.log, self.as_user = directory / "data", directory / "log", []
        directory.mkdir(parents=True)
        if os.getuid() == 0:
            names = {user.pw_name for user in pwd.getpwall()}
            user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(directory, user)
            self.as_user = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", self.data, "-U", "me", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
                  "--no-sync", "--locale=C")  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{directory}'"
        self.options += f" -c max_connections={connections}"
        self.start()
        self.url = f"postgresql+psycopg://me:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments) -> None:
        where = programs()
        assert where is not None
        command = [*self.as_user, str(where / program), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.log, "-o", self.options)

    def restart(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "restart", "-w", "-m", mode, "-D", self.data, "-l", self.log, "-o", self.options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.data)

    def query(self, sql: str) -> list[tuple]:
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            return connection.execute(sql).fetchall() if sql.startswith("SELECT") else [(connection.execute(sql),)]
