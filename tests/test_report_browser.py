"""The report page in a real browser, driven from outside as a reader would; skipped where there is no Chromium."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

import hpcsim
from hpcsim.results.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

HERE = Path(__file__).parent
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;<!--"


@pytest.fixture(scope="module")
def chromium():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with chromedriver was found: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in ("--headless=new", "--window-size=1200,900", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(switch)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def opened(browser, file):
    """The page, when all of it is shown, and how many seconds that took."""
    began = time.monotonic()
    browser.get(file.as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"), seconds=60)
    return time.monotonic() - began


def until(true, seconds=10):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come in time"
        time.sleep(0.02)


def complaints(browser):
    """What the console and the network log hold since they were last asked, but for the page itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
    return browser.get_log("browser") + [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]


def shown_parts(browser):
    """From when to when each chart shows, in seconds."""
    panels = browser.find_elements("css selector", "figure[data-from]")
    return {(float(panel.get_attribute("data-from")), float(panel.get_attribute("data-to"))) for panel in panels}


def rows(browser, column):
    """A column of the job table, as it is shown."""
    script = """
        const heads = [...document.querySelectorAll("#job-table thead th")].map((head) => head.dataset.key);
        const at = heads.indexOf(arguments[0]);
        const rows = document.querySelectorAll("#job-table tbody tr:not(.details)");
        return [...rows].map((row) => row.children[at].textContent);
    """
    return browser.execute_script(script, column)


def search(browser, text):
    """Types into the search field, and gives what is then said of how many jobs were found."""
    field = browser.find_element("id", "search")
    field.send_keys(webdriver.Keys.CONTROL, "a")
    field.send_keys(text)
    before = time.monotonic()
    until(lambda: time.monotonic() > before + 0.3)  # the field waits for the last key
    return browser.find_element("id", "found").text


def click_head(browser, column):
    browser.execute_script(f"document.querySelector('#job-table th[data-key={column}] button').click()")


@pytest.fixture(scope="module")
def run():
    return hpcsim.simulate("polaris", {"jobs": 1500, "physics.cap_kw": 900})


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, [run])
    return path


@pytest.fixture
def page(chromium, file):
    """The page of the run, just opened."""
    complaints(chromium)  # forgets those of others
    opened(chromium, file)
    return chromium


def drag(browser, panel, begin, end):
    """From one share of the width of a chart to another."""
    over = browser.find_element("css selector", f"#panel-{panel} .u-over")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    left = over.size["width"] * (begin - 0.5)
    way = over.size["width"] * (end - begin)
    webdriver.ActionChains(browser).move_to_element_with_offset(over, round(left), 0).click_and_hold().move_by_offset(
        round(way), 0
    ).release().perform()
    return over


def test_the_page_loads_without_a_complaint_or_a_request(page, run):
    assert page.title == "polaris under easy"
    assert page.find_element("tag name", "h1").text == "polaris under easy"
    assert f"{len(run.jobs):,}" in page.find_element("class name", "tiles").text
    assert len(shown_parts(page)) == 1
    assert complaints(page) == []


def test_dragging_over_one_chart_changes_the_time_of_all_and_double_clicking_shows_all_again(page):
    (whole,) = shown_parts(page)
    over = drag(page, "power", 0.25, 0.5)
    (part,) = shown_parts(page)
    length = whole[1] - whole[0]
    assert part == pytest.approx((whole[0] + 0.25 * length, whole[0] + 0.5 * length), abs=0.005 * length)
    webdriver.ActionChains(page).double_click(over).perform()
    assert shown_parts(page) == {whole}
    assert complaints(page) == []


def test_nothing_in_the_page_could_reach_a_network_if_it_tried(page):
    script = "fetch('http://127.0.0.1:9/').then(() => arguments[0]('there'), () => arguments[0]('refused'))"
    assert page.execute_async_script(script) == "refused"
    assert any("Content Security Policy" in str(entry) for entry in page.get_log("browser"))


def test_the_keyboard_changes_the_time_too(page):
    ((begin, end),) = shown_parts(page)
    chart = page.find_element("id", "panel-queue")
    chart.send_keys("+")
    ((first, last),) = shown_parts(page)
    assert last - first == pytest.approx((end - begin) / 2)
    chart.send_keys(webdriver.Keys.ARROW_LEFT)
    ((earlier, _),) = shown_parts(page)
    assert earlier < first
    chart.send_keys("0")
    assert shown_parts(page) == {(begin, end)}


def test_the_read_out_under_the_pointer_is_what_the_table_holds(page, run):
    drag(page, "queue", 0.400, 0.405)
    drag(page, "queue", 0.4, 0.5)  # so near that nothing changes under a pixel
    over = page.find_element("css selector", "#panel-queue .u-over")
    webdriver.ActionChains(page).move_to_element(over).perform()
    ((begin, end),) = shown_parts(page)
    second = (begin + end) / 2
    waiting = int(run.timeline.loc[run.timeline["time_s"] <= second, "queue"].iloc[-1])
    assert page.find_elements("css selector", "#panel-queue .legend b")[0].text == f"{waiting:,}"


def test_search_finds_a_job_by_name_and_tells_all_about_it(page, run):
    job = run.jobs.iloc[1000]
    assert search(page, job["job_id"]).startswith("1 of 1,500")
    assert rows(page, "job") == [job["job_id"]]
    page.find_element("css selector", "#job-table tbody button").click()
    details = page.find_element("css selector", "#job-table .details").text
    why = run.attempts.loc[run.attempts["job_id"] == job["job_id"], "why"].iloc[-1]
    assert why in details
    assert f"hpcsim explain RUN {job['job_id']}" in details


def test_words_of_the_search_must_all_fit_and_numbers_compare(page, run):
    jobs = run.jobs
    fitting = (jobs["state"] == "failed") & (jobs["nodes"] >= 8) & (jobs["wait_s"] > 3600)
    assert search(page, "state:failed nodes>=8 wait>1h") == f"{fitting.sum()} of 1,500 jobs"
    assert search(page, "nodes:many") == "nodes: found many, expected a number"
    assert search(page, "nobody-of-this-name") == "0 of 1,500 jobs"


def test_dates_of_the_search_are_in_utc_wherever_the_browser_is(page, run):
    second = run.jobs["submit_s"].iloc[700]
    later = (run.jobs["submit_s"] > second).sum()
    moment = datetime.fromtimestamp(run.manifest["t0_utc"] + int(second), UTC)
    try:
        page.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/Chicago"})
        for written in (f'"{moment:%Y-%m-%d %H:%M:%S}"', f"{moment:%Y-%m-%dT%H:%M:%S}", f"{moment:%Y-%m-%dT%H:%M:%SZ}"):
            assert search(page, f"submit>{written}") == f"{later:,} of 1,500 jobs"
        assert search(page, f"submit>{moment.year}-1-2").startswith("submit: found")
    finally:
        page.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_sorting_orders_all_jobs_and_not_only_those_of_a_page(page, run):
    click_head(page, "nodes")
    click_head(page, "nodes")
    largest = run.jobs.sort_values("nodes", ascending=False, kind="stable").head(50)
    assert rows(page, "job") == largest["job_id"].tolist()
    click_head(page, "user")
    assert rows(page, "user") == sorted(run.jobs["user"])[:50]


def test_a_job_of_the_table_can_be_seen_in_the_timelines(page, run):
    job = run.jobs.iloc[700]
    search(page, job["job_id"])
    page.find_element("css selector", "#job-table tbody button").click()
    page.find_element("css selector", "#job-table .details button").click()
    ((begin, end),) = shown_parts(page)
    assert begin <= job["submit_s"]
    assert job["end_s"] <= end
    assert complaints(page) == []


def test_narrow_and_dark_the_page_is_not_wider_than_the_screen(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    )
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    try:
        until(lambda: page.find_element("css selector", "#panel-queue .uplot").size["width"] <= 400)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 400
        assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert complaints(page) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_jobs_fit_on_a_screen_of_1280(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        until(lambda: page.execute_script("return innerWidth") == 1280)
        page.find_element("css selector", "#jobs [aria-label='Last page']").click()  # where waits are longest
        wide, there = page.execute_script(
            "const frame = document.querySelector('#job-table').parentElement; "
            "return [frame.scrollWidth, frame.clientWidth]"
        )
        assert wide <= there
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_comparison_says_better_or_worse_where_one_direction_is_and_the_difference_shows(chromium, run, tmp_path):
    changed = {"mean_wait_s": 2.0, "utilisation": 1.1, "makespan_s": 1.0005, "interrupts": 2, "peak_power_kw": 0.9}
    summary = {**run.summary, **{key: run.summary[key] * factor for key, factor in changed.items()}}
    other = replace(run, summary=summary, manifest={**run.manifest, "scheduler": "other"})
    write_report(tmp_path / "two.html", [run, other])
    opened(chromium, tmp_path / "two.html")
    rows = chromium.find_elements("css selector", "#summary tbody tr")
    said = {row.find_element("tag name", "th").text: row.find_element("css selector", "td:last-child") for row in rows}
    shown = [said[name].text for name in ("mean wait", "utilisation", "makespan", "interrupts", "peak power")]
    assert shown == ["+100 % worse", "+10 % better", "+0.05 %", "+100 %", "−10 % better"]
    colours = {
        said[name].find_element("tag name", "span").value_of_css_property("color")
        for name in ("mean wait", "utilisation", "interrupts")
    }
    assert len(colours) == 3


def test_hostile_names_are_shown_as_they_are_and_do_nothing(chromium, run, tmp_path):
    columns = dict(zip(run.tables["jobs"].column_names, run.tables["jobs"].columns, strict=True))
    for name in ("user", "project", "queue"):
        columns[name] = pa.array([HOSTILE] * len(run.jobs)).dictionary_encode()
    hostile = replace(
        run,
        tables={**run.tables, "jobs": pa.table(columns)},
        manifest={**run.manifest, "scenario": HOSTILE, "plugins": [{"name": HOSTILE, "offers": {HOSTILE: [HOSTILE]}}]},
        scenario_yaml=f"name: {json.dumps(HOSTILE)}\n",
        summary={**run.summary, "metrics": {HOSTILE: 1.0}, "observers": {HOSTILE: HOSTILE}},
    )
    complaints(chromium)
    for number, runs in enumerate(([hostile], [hostile, hostile])):
        write_report(tmp_path / f"{number}.html", runs, [HOSTILE] * len(runs))
        opened(chromium, tmp_path / f"{number}.html")
        assert HOSTILE in chromium.find_element("tag name", "body").text
        assert not chromium.find_elements("tag name", "img")
        assert complaints(chromium) == []


def test_runs_side_by_side_load_without_a_complaint_and_share_their_axis(chromium, run, tmp_path):
    other = hpcsim.simulate("polaris", {"jobs": 1500, "scheduler": "fcfs"})
    write_report(tmp_path / "comparison.html", [run, other])
    complaints(chromium)
    opened(chromium, tmp_path / "comparison.html")
    (whole,) = shown_parts(chromium)
    drag(chromium, "utilisation", 0.2, 0.4)
    assert shown_parts(chromium) != {whole}
    assert len(shown_parts(chromium)) == 1
    legend = chromium.find_elements("css selector", "#panel-queue .legend > span")
    assert [each.text.split()[0] for each in legend] == ["easy", "fcfs"]
    assert "scheduler.name" in chromium.find_element("id", "differences").text
    assert complaints(chromium) == []


def test_a_browser_that_cannot_unpack_says_so_and_shows_the_rest(chromium, file, run):
    script = {"source": "delete window.DecompressionStream"}
    added = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        opened(chromium, file)
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert "it has no DecompressionStream" in chromium.find_element("id", "jobs").text
    assert "mean_wait_s" in chromium.find_element("id", "figures").text


def test_a_page_of_390_000_jobs_is_soon_there_and_soon_searched_and_sorted(chromium, tmp_path):
    subprocess.run([sys.executable, HERE / "large_run.py", tmp_path / "large.html"], check=True, capture_output=True)
    complaints(chromium)
    assert opened(chromium, tmp_path / "large.html") < 30
    began = time.monotonic()
    assert search(chromium, "389999.aurora") == "1 of 390,000 jobs"
    search(chromium, "state:completed")
    click_head(chromium, "wait")
    drag(chromium, "power", 0.3, 0.31)
    assert time.monotonic() - began < 15
    assert complaints(chromium) == []
