"""The screens, and a browser that is signed in."""

import contextlib
import time
import urllib.parse

from daemon import KEY

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
WAIT_SECONDS = 30


def screens(meter_id, event_id, customer_id):
    """The address of each screen by its name."""
    quoted = urllib.parse.quote
    own = f"/dashboard/meters/{meter_id}"
    return {
        "meters": "/dashboard/meters",
        "meter-new": "/dashboard/meters/new",
        "meter": own,
        "meter-by-customer": f"{own}?range=week&split=customers",
        "meter-events": f"{own}/events",
        "meter-customers": f"{own}/customers",
        "meter-code": f"{own}/code",
        "events": "/dashboard/events",
        "events-live": "/dashboard/events/live",
        "events-refused": "/dashboard/events/refused",
        "event": f"/dashboard/event?id={quoted(event_id, safe='')}",
        "customers": "/dashboard/customers",
        "customers-found": f"/dashboard/customers?search={quoted(customer_id[:3], safe='')}",
        "customer": f"/dashboard/customer?id={quoted(customer_id, safe='')}",
        "home": "/dashboard",
        "products": "/dashboard/products",
        "product-new": "/dashboard/products/new",
        "subscriptions": "/dashboard/subscriptions",
        "subscription-new": "/dashboard/subscriptions/new",
        "invoices": "/dashboard/invoices",
        "payments": "/dashboard/payments",
        "settings": "/dashboard/settings",
        "not-found": "/dashboard/nothing-here",
    }


def sold(daemon):
    """The screens of what was sold last."""
    def newest(kind, member):
        _, found = daemon.call("GET", f"/{kind}?page_size=1")
        return found["items"][0][member]
    product = f"/dashboard/products/{newest('products', 'product_id')}"
    subscription = f"/dashboard/subscriptions/{newest('subscriptions', 'subscription_id')}"
    return {
        "product": product,
        "product-edit": f"{product}/edit",
        "subscription": subscription,
        "subscription-usage": f"{subscription}/usage",
        "subscription-plan": f"{subscription}/plan",
        "invoice": f"/dashboard/invoices/{newest('invoices', 'id')}",
    }


@contextlib.contextmanager
def signed_in(daemon, browser, width=1280, scheme="light", key=KEY):
    """A page of somebody who has signed in by the form. Whatever the browser complains about fails."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme,
                                  reduced_motion="reduce", base_url=daemon.url)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto("/dashboard")
    page.fill("#key", key)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "sign-in" not in url)
    yield page
    # What the daemon refused on purpose the browser also calls an error.
    complaints = [text for text in complaints if "status of 4" not in text]
    context.close()
    assert not complaints, complaints


def until(page, holds, given=None, seconds=WAIT_SECONDS):
    """Waits until an expression holds. Playwright's own way is code that is made in the page again and again,
    which the page's policy forbids after the first time."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(holds, given):
        assert time.monotonic() < deadline, f"never: {holds} {given}"
        page.wait_for_timeout(20)


def settled(page, path):
    """Goes to a page and waits until its own parts are there and the stream is open."""
    page.goto(path)
    page.wait_for_selector(".pulse.on")
    until(page, "!document.querySelector('.htmx-request')")
    page.wait_for_load_state("load")
