"""A tool for agents to try, at GET /search?q=...: `python3 examples/tool_server.py 9000`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit


class Tool(BaseHTTPRequestHandler):
    """Answers every search with one headline."""

    def do_GET(self) -> None:
        """Respond with JSON, which the model reads as it is."""
        [query] = parse_qs(urlsplit(self.path).query)["q"]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"headlines": [f"All quiet about {query}"]}).encode())


HTTPServer(("127.0.0.1", int(sys.argv[1])), Tool).serve_forever()
