"""`python -m map_cli`, the same as `map`."""

from map_cli.main import app

app(prog_name="map")
