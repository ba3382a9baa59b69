"""All commands, and the one place that reports their errors."""

from typing import Any

import typer
from typer.core import TyperGroup

from map_cli import account, admin, agents, audit, history, keys, output, runs, secrets, tools
from map_cli.errors import CommandError


class _Group(TyperGroup):
    """All commands; an error of one goes to stderr in a line or two."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            output.note(str(error))
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    name="map",
    cls=_Group,
    help="The command line of the Mini Agent Platform.",
    epilog="Exit codes: 0 success, 1 refused or failed, 2 usage, 3 not logged in, 4 unavailable",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show values, and a value may be a key
)
app.command()(account.login)
app.command()(account.logout)
for group in (tools, agents):
    app.add_typer(group.app)
app.command("models")(runs.list_models)
for group in (runs, history):
    app.add_typer(group.app)
app.command("usage")(history.show_usage)
for group in (secrets, keys):
    app.add_typer(group.app)
app.command("audit")(audit.list_entries)
app.add_typer(admin.app)
