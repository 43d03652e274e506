"""The status page, `/healthz` and `/metrics`, over HTTP."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eenet_gateway.page.server import PageServer, application
from eenet_gateway.store.report import DestinationReport, Report
from eenet_runtime.errors import GatewayError
from tests.debian_parts import require
from tests.gateway.places import free_port, wait_for

REPORT = Report(
    time=100_000.0,
    studies={"receiving": 1, "done": 7, "held": 1},
    oldest_s=95.0,
    done_last_hour=3,
    counters={"images new": 900},
    free_bytes=12_000_000_000,
    destinations=(DestinationReport("pacs", 99_990.0, 0.012, "answered", 2, 0),
                  DestinationReport("archive", None, None, "not asked yet", 0, 1)),
    troubles=({"study": "ab12", "state": "held", "reason": "flair: <missing>", "since": 90_000.0},),
    previews=("cd34",),
)  # fmt: skip


class Site:
    """A page, and what is wrong with its gateway."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.port = free_port()
        self.server = PageServer(
            application(lambda: REPORT, lambda: self.problems, {"cd34": b"picture"}.get), self.port
        )

    def get(self, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    found = Site()
    found.server.start()
    wait_for(lambda: found.get("/healthz")[0] == 200)
    yield found
    found.server.stop()


def test_the_page_shows_states_troubles_and_destinations_and_escapes_what_it_shows(site: Site) -> None:
    code, text = site.get("/")
    assert code == 200
    for shown in ("ab12", "flair: &lt;missing&gt;", "answered in 12 ms", "not asked yet", "12.0 GB", "3 h ago"):
        assert shown in text
    assert "<script" not in text


def test_health_is_an_http_status(site: Site) -> None:
    assert site.get("/healthz") == (200, "well")
    site.problems = ["the disk is full: images are refused"]
    assert site.get("/healthz") == (503, "the disk is full: images are refused")
    assert "the disk is full" in site.get("/")[1]
    site.problems = []


def test_prometheus_reads_the_metrics(site: Site) -> None:
    families = {family.name: family for family in text_string_to_metric_families(site.get("/metrics")[1])}
    studies = {sample.labels["state"]: sample.value for sample in families["eenet_gateway_studies"].samples}
    assert studies == REPORT.studies
    up = {sample.labels["destination"]: sample.value for sample in families["eenet_gateway_destination_up"].samples}
    assert up == {"pacs": 1.0, "archive": 0.0}
    (events,) = families["eenet_gateway_events"].samples
    assert (events.labels, events.value) == ({"kind": "images new"}, 900.0)
    assert families["eenet_gateway_up"].samples[0].value == 1.0


def test_the_report_is_there_as_json_too(site: Site) -> None:
    assert json.loads(site.get("/status.json")[1])["studies"]["done"] == 7


def test_the_last_results_are_shown_by_key(site: Site) -> None:
    assert '<img src="/preview/cd34"' in site.get("/")[1]
    assert site.get("/preview/cd34") == (200, "picture")
    assert site.get("/preview/..%2f..%2fetc%2fpasswd")[0] == 404


def test_a_page_of_another_name_does_not_get_it(site: Site) -> None:
    assert site.get("/", host="evil.example")[0] == 400


def test_a_port_that_somebody_has_is_told_in_one_line(site: Site) -> None:
    with pytest.raises(GatewayError, match=f"page: 127.0.0.1:{site.port} cannot be listened on"):
        PageServer(application(lambda: REPORT, list, lambda key: None), site.port)


def test_a_real_browser_shows_it(site: Site, tmp_path: Path) -> None:
    chromium = require("chromium", "chromium")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom")
    shown = subprocess.run(
        [chromium, *options, f"http://127.0.0.1:{site.port}/"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert '<td class="figure">7</td>' in shown
    assert "flair: &lt;missing&gt;" in shown
