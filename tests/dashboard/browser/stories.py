"""What people do with the dashboard, from the first look to an invoice."""

import re
import time

from dodopayments import DodoPayments

from daemon import KEY, event, meter, plan, subscribe
from pages import settled, signed_in, until

# From an event to the page, at most.
LIVE_MS = 2000
# What the chart's own data add up to: what is drawn, not what its table says. Nothing before it is drawn.
TOTAL = "document.querySelector('[data-chart]').chart?.data[1].reduce((sum, value) => sum + (value ?? 0), 0)"


def drawn_total(page):
    return page.evaluate(f"() => {TOTAL}")


def a_wrong_key_is_told_so_and_a_right_one_gets_in(daemon, browser, _shots):
    context = browser.new_context(base_url=daemon.url)
    page = context.new_page()
    page.goto("/dashboard/events?customer_id=a%26b")
    assert "/dashboard/sign-in" in page.url
    page.fill("#key", "quipu_wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")
    assert "No key has this text" in page.inner_text("main")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/events?customer_id=a%26b")
    cookies = context.cookies()
    assert [(one["name"], one["httpOnly"], one["sameSite"], one["path"]) for one in cookies] == [
        ("quipu_session", True, "Strict", "/dashboard")], cookies
    page.click("text=Sign out")
    page.wait_for_url("**/dashboard/sign-in")
    page.goto("/dashboard/meters")
    assert "/dashboard/sign-in" in page.url
    context.close()


def a_meter_is_made_with_a_preview(daemon, browser, shots):
    daemon.ingest(*(event(f"{n}", tokens=10 * n, model="m1" if n % 2 else "m2") for n in range(1, 11)))
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/meters")
        assert "No meter yet" in page.inner_text("main")
        page.click("text=Create one here")
        page.fill("#name", "Tokens of m1")
        page.fill("#event_name", "llm.tokens")
        page.select_option("#type", "sum")
        page.fill("#key", "tokens")
        page.fill("#measurement_unit", "tokens")
        page.wait_for_selector("#preview >> text=10 of 10")
        page.check("[data-filter-on]")
        page.fill(".condition .key", "model")
        page.fill(".condition .value", "m1")
        page.wait_for_selector("#preview >> text=5 of 10")
        # 10 + 30 + 50 + 70 + 90
        page.wait_for_selector("#preview .figure >> text=250")
        # A second group: any of them. Conditions that are there move into the first.
        page.click("[aria-label='Add a group']")
        page.locator(".condition .key").last.fill("tokens")
        page.locator(".condition .type").last.select_option("number")
        page.locator(".condition .operator").last.select_option("greater_than")
        page.locator(".condition .value").last.fill("90")
        page.locator(".group > .group-head > .conjunction").first.select_option("or")
        page.wait_for_selector("#preview >> text=6 of 10")
        page.screenshot(path=shots / "story-meter-new.png", full_page=True)
        page.click("text=Create the meter")
        page.wait_for_url(re.compile(r"/dashboard/meters/mtr_"))
        assert "model = “m1”" in page.inner_text("main")
        made = daemon.call("GET", "/meters/" + page.url.rsplit("/", 1)[1])[1]
        assert made["filter"] == {"conjunction": "or", "clauses": [
            {"conjunction": "and", "clauses": [{"key": "model", "operator": "equals", "value": "m1"}]},
            {"conjunction": "and", "clauses": [{"key": "tokens", "operator": "greater_than", "value": 90}]},
        ]}, made["filter"]
        until(page, f"() => {TOTAL} !== undefined")
        deadline = time.monotonic() + 20
        while drawn_total(page) != 350:
            assert time.monotonic() < deadline, drawn_total(page)
            page.reload()
            until(page, f"() => {TOTAL} !== undefined")


def what_the_api_refuses_stands_beside_its_field(daemon, browser, _shots):
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/meters/new")
        page.fill("#name", "Calls")
        page.fill("#event_name", "call\u202e")
        page.fill("#measurement_unit", "calls")
        page.click("text=Create the meter")
        page.wait_for_selector("#event_name[aria-invalid=true]")
        described = page.get_attribute("#event_name", "aria-describedby")
        assert "event_name" in page.inner_text(f"#{described}")
        assert page.evaluate("document.activeElement.id") == "event_name"
        page.fill("#event_name", "call")
        page.click("text=Create the meter")
        page.wait_for_url(re.compile(r"/dashboard/meters/mtr_"))


def the_chart_moves_within_two_seconds_and_a_duplicate_counts_once(daemon, browser, _shots):
    made = meter(daemon)
    client = DodoPayments(base_url=daemon.url, bearer_token=KEY)
    with signed_in(daemon, browser) as page:
        settled(page, f"/dashboard/meters/{made['id']}")
        until(page, f"() => {TOTAL} !== undefined")
        assert drawn_total(page) == 0
        for _ in range(2):
            client.usage_events.ingest(events=[event("req-1", tokens=1500)])
            until(page, f"total => {TOTAL} === total", 1500, LIVE_MS / 1000)
        # The duplicate has come and gone: the next event is seen, and nothing was added in between.
        client.usage_events.ingest(events=[event("req-2", tokens=1)])
        until(page, f"total => {TOTAL} === total", 1501, LIVE_MS / 1000)
        # The table says what the drawing shows.
        page.click("text=As a table")
        cells = page.locator(".data td.number [data-value]").all()
        assert sum(int(cell.get_attribute("data-value")) for cell in cells) == 1501


def new_events_come_into_the_list_until_it_is_paused(daemon, browser, _shots):
    daemon.ingest(event("first", tokens=1))
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/events")
        daemon.ingest(event("second", tokens=1))
        page.wait_for_selector("#rows >> text=second", timeout=LIVE_MS)
        page.click("[data-pause]")
        daemon.ingest(event("third", tokens=1))
        # The stream has told of it, and the list stood still.
        page.evaluate("""() => new Promise((done) => {
            document.body.addEventListener('quipu:tick', () => setTimeout(done, 300), {once: true});
            setTimeout(done, 2000);
        })""")
        assert page.locator("#rows >> text=third").count() == 0
        page.click("[data-pause]")
        daemon.ingest(event("fourth", tokens=1))
        page.wait_for_selector("#rows >> text=fourth", timeout=LIVE_MS)
        assert page.locator("#rows >> text=third").count() == 1
        page.click("#rows >> text=second")
        page.wait_for_url("**/dashboard/event?id=second")


def the_live_tail_tells_a_duplicate_from_a_conflict(daemon, browser, shots):
    client = DodoPayments(base_url=daemon.url, bearer_token=KEY)
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/events/live")
        client.usage_events.ingest(events=[event("req-1", tokens=1)])
        page.wait_for_selector("#rows >> text=accepted", timeout=LIVE_MS)
        client.usage_events.ingest(events=[event("req-1", tokens=1)])
        page.wait_for_selector("#rows .badge >> text=duplicate", timeout=LIVE_MS)
        client.usage_events.ingest(events=[event("req-1", tokens=2)])
        page.wait_for_selector("#rows .badge >> text=conflicting", timeout=LIVE_MS)
        assert page.locator("#rows tbody tr").count() == 3
        page.screenshot(path=shots / "story-live.png")
        # The duplicate leads to the first.
        page.click("#rows tr:has(.badge:text('duplicate')) a >> nth=0")
        page.wait_for_url("**/dashboard/event?id=req-1")


def months_turn_under_the_test_clock(daemon, browser, shots):
    made = meter(daemon)
    daemon.post("/customers", {"customer_id": "cus_1", "name": "Ada", "email": "ada@example.com"})
    subscribe(daemon, plan(daemon, made["id"]), "cus_1")
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/customer?id=cus_1")
        assert "Test clock" in page.inner_text("[aria-label='Test clock']")
        daemon.ingest(event("1", tokens=2500))
        # 49 dollars, and 1500 beyond the free ones at 2 cents.
        page.wait_for_selector("text=79.00 USD", timeout=LIVE_MS)
        page.screenshot(path=shots / "story-customer.png", full_page=True)
        daemon.post("/clock/advance", {"to": "2026-04-15T00:00:00Z"})
        settled(page, "/dashboard/customer?id=cus_1")
        assert "Upcoming invoice: 49.00 USD" in page.inner_text("main"), page.inner_text("main")
        totals = [item["total_amount"] for item in daemon.call("GET", "/payments")[1]["items"]]
        assert 7900 in totals, totals


months_turn_under_the_test_clock.clock = "2026-03-01T12:00:00Z"


def a_read_key_sees_no_forms(daemon, browser, _shots):
    made = meter(daemon)
    key = daemon.post("/keys", {"name": "viewer", "scope": "read"})["key"]
    with signed_in(daemon, browser, key=key) as page:
        for path in ("/dashboard/meters", f"/dashboard/meters/{made['id']}", "/dashboard/settings"):
            settled(page, path)
            assert page.locator("[data-api]").count() == 0, path
        status = page.evaluate("""async () => (await fetch('/dashboard/api/meters', {
            method: 'POST', headers: {'content-type': 'application/json',
            'x-quipu-token': document.querySelector('meta[name=quipu-token]').content}, body: '{}'})).status""")
        assert status == 403, status


TESTS = [
    a_wrong_key_is_told_so_and_a_right_one_gets_in,
    a_meter_is_made_with_a_preview,
    what_the_api_refuses_stands_beside_its_field,
    the_chart_moves_within_two_seconds_and_a_duplicate_counts_once,
    new_events_come_into_the_list_until_it_is_paused,
    the_live_tail_tells_a_duplicate_from_a_conflict,
    months_turn_under_the_test_clock,
    a_read_key_sees_no_forms,
]
