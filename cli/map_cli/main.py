"""The commands, and how one ends that cannot do what it was asked."""

from typing import Any

import typer
from typer.core import TyperGroup

from map_cli import account, admin, agents, audit, history, keys, output, runs, secrets, tools
from map_cli.problem import Problem


class _Group(TyperGroup):
    """All commands: what ends one is told in a line or two."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Problem as problem:
            output.note(str(problem))
            raise typer.Exit(problem.exit_code) from problem


app = typer.Typer(
    name="map",
    cls=_Group,
    help="The command line of the Mini Agent Platform.",
    epilog="Exit codes: 0 fine, 1 refused or failed, 2 wrong usage, 3 not logged in, 4 unavailable",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # these show values, and a value may be a key
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
