"""`bench`: the fields of its JSON, and that memory is measured in a process of its own; the page's figures."""

from __future__ import annotations

import json
import os
import sys

import pytest

from lelsd_core.__main__ import main
from lelsd_core.cli import bench
from lelsd_core.errors import UserError
from tests.bench import page as page_bench

ANSWERS_LATE = """<div id="picture"><img src="SOURCE"></div><label>range slider for Smile<input type="range"></label>
<script>addEventListener('keydown', () => {
  fetch('/at-once'); setTimeout(() => fetch('/at-rest'), 400); fetch('data:,no-request');
  setTimeout(() => { document.querySelector('img').src = 'data:,broken'; }, 100);
  setTimeout(() => { document.querySelector('img').src = 'SOURCE#2'; }, 200);
})</script>"""
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def test_an_edit_is_timed_over_a_generator_pass(capsys):
    assert main(["bench", "edit", "--repeats", "1", "--json"]) == 0
    times = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"forward_s", "edit_s", "encode_s"} <= times.keys()
    assert times["edit_over_forward"] == pytest.approx(times["edit_s"] / times["forward_s"])


def test_a_step_of_a_search_is_timed_over_its_floor(capsys):
    assert main(["bench", "discover", "--repeats", "1", "--json"]) == 0
    times = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert times["generator"] == "digiface-64"
    assert times["step_over_floor"] == pytest.approx(times["step_s"] / times["floor_s"])
    assert times["peak_gb"] > 0.1


def test_the_start_of_the_page_needs_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"app\.py"):
        bench.bench_start(1)


def test_the_peak_of_a_process_is_measured():
    small, large = bench.peak_gb("pass"), bench.peak_gb("x = bytearray(b'1' * 200_000_000)")
    assert 0.001 < small < 0.1
    assert 0.15 < large - small < 0.5


def test_a_whole_batch_and_single_samples_are_measured(monkeypatch, capsys):
    ran = []

    def run_small(code: str) -> float:
        exec(code.replace("1024", "16"), space := {})
        ran.append((space["step"].step, space["config"].batch, space["config"].micro))
        return float(len(ran))

    monkeypatch.setattr(bench, "peak_gb", run_small)
    assert main(["bench", "discover", "--memory", "--json"]) == 0
    assert ran == [(1, 4, 4), (1, 4, 1)]
    assert '"peak_gb": 1.0, "peak_gb_micro_1": 2.0' in capsys.readouterr().out


def test_the_page_s_figures_are_medians_means_and_ratios():
    samples = {"move": [0.06, 0.9, 0.04], "queued": [0.08, 0.07, 0.09], "new_face": [0.5]}
    samples |= {"first": [2.0, 1.0], "empty": [0.5], "idle_share": [0.02], "empty_idle_share": [0.03]}
    found = page_bench.figures(samples | {"requests_at_once": [1, 1, 2, 2], "requests_at_rest": [1]})
    assert found["move_s"] == 0.06
    assert found["move_over_queued"] == pytest.approx(0.75)
    assert found["first_over_empty"] == pytest.approx(3.0)
    assert found["requests_at_once"] == 1.5
    lines = page_bench.table(found | {"move_over_queued": 0.75}).splitlines()
    assert ["missed" in line for line in lines] == [False, False, True, False, False, True, True]
    assert "0.060 s over 0.080 s" in lines[1]


@pytest.mark.browser
def test_a_key_press_is_timed_to_its_picture_and_its_requests_are_counted():
    with page_bench.opened_browser() as browser:
        page = browser.new_page()
        page.route(
            "**/*", lambda route: route.fulfill(body=ANSWERS_LATE.replace("SOURCE", DOT), content_type="text/html")
        )
        page.goto("http://page.test/")
        assert page_bench.press(page, "ArrowRight") >= 0.2, "not the picture that cannot be decoded"
        page.wait_for_timeout(600)
        assert page_bench.requests(page) == (1, 1)
        assert page_bench.first_seen(browser, "data:text/html,<p>seen</p>", "p") > 0


def test_the_page_is_not_measured_without_playwright(monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(SystemExit, match=r"pip install -r tests/requirements\.txt"):
        page_bench.main([])


def test_the_page_is_not_measured_without_a_browser(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.browser.NAMES", ())
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="playwright install chromium"):
        page_bench.main([])


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "10"], ["--generator", "nobody"]])
def test_wrong_options_of_the_page_s_benchmark_are_named(arguments):
    with pytest.raises(SystemExit, match=arguments[1]):
        page_bench.main(arguments)


def test_a_server_that_does_not_start_is_named():
    with pytest.raises(UserError, match="exit code 3"), page_bench.served(lambda port: ["-c", "raise SystemExit(3)"]):
        pass


def test_the_computing_time_of_a_process_is_read():
    sum(range(2_000_000))
    assert page_bench.cpu_seconds(os.getpid()) == pytest.approx(sum(os.times()[:2]), abs=0.1)
