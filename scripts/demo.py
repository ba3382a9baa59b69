"""`make demo`: README's workflow against a running platform, with each request and response."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from typing import Any

KEY_A, KEY_B = "tenant-a-key", "tenant-b-key"
PROMPT = {"prompt": "Find the latest trends in AI agent frameworks", "model": "gpt-4o"}


class Client:
    """Sends requests to one address and shows them."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    def __call__(self, key: str | None, method: str, path: str, body: Any = None) -> Any:
        """Send a request, print it and the response, and return the response's JSON or None."""
        headers = {"X-API-KEY": key} if key else {}
        shown = [f"curl -s -X {method} 'http://{self.host}:{self.port}{path}'"]
        shown += [f"-H '{name}: {value}'" for name, value in headers.items()]
        if body is not None:
            headers["Content-Type"] = "application/json"
            shown += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(body)}'"]
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.connect()
        print("$ " + " \\\n    ".join(shown))
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        result = json.loads(text) if text else None
        print(response.status, response.reason)
        if result is not None:
            print(json.dumps(result, indent=2, ensure_ascii=False))
        print(flush=True)
        return result


def walk(call: Client) -> None:
    """Walk through the workflow. What it creates has the time in its name, and stays."""
    _say("0. Is it up?")
    call(None, "GET", "/health")

    number = time.strftime("%Y-%m-%d %H:%M:%S")
    _say("1. Create a tool")
    tool = {"name": f"web_search {number}", "description": "Search the web"}
    tool = call(KEY_A, "POST", "/api/v1/tools", tool)

    _say("2. Create an agent that uses it")
    agent = call(
        KEY_A,
        "POST",
        "/api/v1/agents",
        {
            "name": f"Research Assistant {number}",
            "role": "researcher",
            "description": "An AI agent specialized in research tasks",
            "tool_ids": [tool["id"]],
        },
    )
    run = f"/api/v1/agents/{agent['id']}/run"

    _say("3. Run the agent")
    call(KEY_A, "POST", run, PROMPT)

    _say("4. Read the history")
    call(KEY_A, "GET", "/api/v1/history?limit=1")

    _say("5. Be another tenant, who can neither run the agent nor read its history")
    call(KEY_B, "POST", run, PROMPT)
    call(KEY_B, "GET", f"/api/v1/history?agent_id={agent['id']}")

    _say("6. Send no key")
    call(None, "GET", "/api/v1/tools")

    _say("7. Delete a tool that is in use")
    call(KEY_A, "DELETE", f"/api/v1/tools/{tool['id']}")


def _say(title: str) -> None:
    print(f"── {title} ──\n")


def main() -> int:
    """Walk through the workflow; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        walk(Client(options.host, options.port))
    except ConnectionRefusedError:
        print(f"Nothing answers on port {options.port}: start `make run` in another terminal")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
