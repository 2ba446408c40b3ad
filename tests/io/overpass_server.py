"""A server on this machine that answers as Overpass does, and can be told to fail first."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.io.elements import overpass, street

BOX = re.compile(r"\[bbox:([-\d.]+),([-\d.]+),([-\d.]+),([-\d.]+)\]")
OUTLINES = re.compile(r'relation\(bw\.whole:"(\w*)"\)\["type"="multipolygon"\];')
STAMP = "2026-11-20T06:00:00Z"


@dataclass
class Reply:
    """What the server says instead of an answer."""

    code: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


@dataclass
class Server:
    """What was asked, and what is to be said.

    Attributes:
        url: where it listens.
        replies: said first, in order; afterwards comes the true answer.
        asked: the queries, as they came.
        agents: the User-Agent of each.
        judge: a reply for a query, or None for the true answer.
        busiest: most requests that were open at once.
    """

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    judge: Callable[[str], Reply | None] = lambda query: None
    busiest: int = 0


def answer_to(query: str) -> dict[str, Any]:
    """The street's elements, each way or relation that touches the query's box."""
    south, west, north, east = (float(v) for v in BOX.search(query).groups())
    table = overpass(street(), geometry=True)

    def touches(element: dict[str, Any]) -> bool:
        courses = [element.get("geometry", [])] + [
            member["geometry"] for member in element.get("members", [])
        ]
        points = [point for course in courses for point in course]
        lons, lats = [p["lon"] for p in points], [p["lat"] for p in points]
        return min(lons) <= east and max(lons) >= west and min(lats) <= north and max(lats) >= south

    near = [element for element in table["elements"] if touches(element)]
    wanted = [e for e in near if {"building", "building:part"} & set(e["tags"])]
    ways = {element["id"] for element in wanted if element["type"] == "way"}
    for role in OUTLINES.findall(query):  # relations by the ways that are their outlines
        wanted += [
            e for e in near
            if e["type"] == "relation" and e["tags"]["type"] == "multipolygon" and e not in wanted
            and any(m["ref"] in ways and m["role"] == role for m in e["members"])
        ]  # fmt: skip
    return {
        "version": 0.6,
        "generator": "Overpass API 0.7.62",
        "osm3s": {"timestamp_osm_base": STAMP, "copyright": "ODbL"},
        "elements": wanted,
    }


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the block ends."""
    server, lock, open_now = Server(), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with lock:
                open_now[0] += 1
                server.busiest = max(server.busiest, open_now[0])
            time.sleep(0.01)
            with lock:  # before the answer goes out: who has it may ask again at once
                open_now[0] -= 1
            self.reply()

        def reply(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            query = urllib.parse.parse_qs(form)["data"][0]
            server.asked.append(query)
            server.agents.append(self.headers["User-Agent"])
            said = server.replies.pop(0) if server.replies else server.judge(query)
            if said is None:
                said = Reply(body=json.dumps(answer_to(query)).encode())
            if said.hang_up:
                self.close_connection = True
                return
            self.send_response(said.code)
            body = said.body
            if "gzip" in self.headers.get("Accept-Encoding", "") and said.code == 200:
                body = gzip.compress(body)
                self.send_header("Content-Encoding", "gzip")
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_port}/api/interpreter"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
