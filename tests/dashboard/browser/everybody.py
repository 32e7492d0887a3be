"""Whether everybody can use it: no serious finding of axe-core, by keyboard, at both widths, light and dark."""

import pathlib

from daemon import event, meter, plan, subscribe
from pages import SCHEMES, WIDTHS, screens, settled, signed_in, sold

AXE = pathlib.Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


def filled(daemon):
    """A daemon with something on every screen; gives what `screens` needs."""
    made = meter(daemon)
    meter(daemon, name="API calls", event_name="api.call", measurement_unit="calls",
          aggregation={"type": "count"},
          filter={"conjunction": "and", "clauses": [{"key": "status", "operator": "less_than", "value": 500}]})
    meter(daemon, name="Calls of model 4", measurement_unit="calls", aggregation={"type": "count"},
          filter={"conjunction": "and", "clauses": [{"key": "model", "operator": "equals", "value": 4}]})
    product = plan(daemon, made["id"])
    for number in range(8):
        daemon.post("/customers", {"customer_id": f"cus_{number}", "name": f"Customer {number}",
                                   "email": f"c{number}@example.com"})
        subscribe(daemon, product, f"cus_{number}")
    for number in range(120):
        customer = f"cus_{number * number % 8}"
        daemon.ingest(event(f"req-{number}", customer, tokens=100 + 37 * number % 1900, model=str(number % 5)),
                      event(f"call-{number}", customer, "api.call", status=200 + 100 * (number % 4)))
    daemon.ingest(event("req-1", "cus_1", tokens=1))
    daemon.call("POST", "/events/ingest", {"events": [event("bad", "cus_1", tokens=[1])]})
    return made["id"], "req-1", "cus_1"


def every_screen_is_usable_and_has_its_picture(daemon, browser, shots):
    wanted = screens(*filled(daemon)) | sold(daemon)
    for width in WIDTHS:
        for scheme in SCHEMES:
            with signed_in(daemon, browser, width, scheme) as page:
                for name, path in wanted.items():
                    settled(page, path)
                    page.wait_for_timeout(200)
                    page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{name} is {wide} wide at {width}"
                    check(page, f"{name} at {width}, {scheme}")


def serious(page):
    """What axe-core finds serious or worse on a page."""
    # The page's policy lets no script in; the browser's own door does.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found["violations"] if one["impact"] in ("serious", "critical")]


def check(page, where):
    told = serious(page)
    assert not told, f"{where}: " + "\n".join(told)


def a_page_that_not_everybody_can_use_is_seen(daemon, browser, _shots):
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/meters/new")
        page.evaluate("""() => {
            document.querySelector('label[for=name]').remove();
            document.querySelector('h1').style.color = '#eee';
        }""")
        told = " ".join(serious(page))
        assert "label" in told and "color-contrast" in told, told


def the_sign_in_page_is_usable(daemon, browser, shots):
    for width in WIDTHS:
        for scheme in SCHEMES:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme,
                                          base_url=daemon.url)
            page = context.new_page()
            page.goto("/dashboard/sign-in")
            page.screenshot(path=shots / f"sign-in-{width}-{scheme}.png")
            check(page, f"sign-in at {width}, {scheme}")
            context.close()


def a_meter_is_made_by_keyboard_alone(daemon, browser, _shots):
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/meters/new")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        reached = {}
        for _ in range(30):
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
            text = {"name": "Calls", "event_name": "call", "measurement_unit": "calls"}.get(name)
            if text:
                page.keyboard.type(text)
            reached[name] = True
            if name == "Create the meter":
                break
        assert "Create the meter" in reached, reached
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/meters/mtr_" in url)


TESTS = [
    the_sign_in_page_is_usable,
    a_page_that_not_everybody_can_use_is_seen,
    every_screen_is_usable_and_has_its_picture,
    a_meter_is_made_by_keyboard_alone,
]
