"""Credits, webhooks and settings: what people do there, what it looks like, and that no text runs."""

import re
import urllib.parse

from daemon import event, meter, plan, subscribe
from everybody import check
from hostile import CORPUS
from pages import SCHEMES, WIDTHS, settled, signed_in, until


def filled(daemon, customer="cus_1", text="AI credits"):
    """Credits, an endpoint with a delivery, alerts and a key; gives the address of each screen."""
    credit = daemon.post("/credit-entitlements", {
        "name": text, "description": text, "unit": text[:50], "precision": 2, "overage_enabled": True,
        "overage_limit": 500, "overage_behavior": "invoice_at_billing", "price_per_unit": "1.5",
        "currency": "USD", "rollover_enabled": True, "rollover_percentage": 40,
        "rollover_timeframe_count": 2, "rollover_timeframe_interval": "Month", "max_rollover_count": 3,
        "expires_after_days": 90})["id"]
    made = meter(daemon)["id"]
    price = {"type": "usage_based_price", "currency": "USD", "fixed_price": 0,
             "payment_frequency_count": 1, "payment_frequency_interval": "Month",
             "subscription_period_count": 1, "subscription_period_interval": "Year",
             "purchasing_power_parity": False, "discount": 0,
             "meters": [{"meter_id": made, "free_threshold": 0, "credit_entitlement_id": credit,
                         "meter_units_per_credit": "10"}]}
    daemon.call("POST", "/customers", {"customer_id": customer, "name": "C", "email": ""})
    quoted = urllib.parse.quote(customer, safe="")
    entries = f"/credit-entitlements/{credit}/balances/{quoted}/ledger-entries"
    for amount in ("250", "12.5"):
        daemon.post(entries, {"entry_type": "credit", "amount": amount, "reason": text,
                              "metadata": {"ticket": text}})
    daemon.post(entries, {"entry_type": "debit", "amount": "20", "reason": text})
    subscribe(daemon, plan(daemon, made, price=price, credit_entitlements=[
        {"credit_entitlement_id": credit, "credits_amount": "500"}]), customer)
    daemon.ingest(event("one", customer, tokens=700))
    daemon.post("/credits/reserve", {"customer_id": customer, "meter_id": made, "amount": "300",
                                     "expires_in_seconds": 3600})
    hook = daemon.post("/webhooks", {
        "url": "https://nowhere.invalid/hooks", "description": text, "rate_limit": 50,
        "headers": {"x-text": text}, "metadata": {"text": text}})["id"]
    message = daemon.post(f"/webhooks/{hook}/test", None)["message_id"]
    for kind in ({"type": "usage", "meter_id": made}, {"type": "credit_balance", "credit_entitlement_id": credit},
                 {"type": "cost", "meter_id": made, "currency": "USD", "customer_id": customer}):
        daemon.post("/alerts", {"name": text, "threshold": "1000", **kind})
    daemon.post("/keys", {"name": text, "scope": "read"})
    own = f"/dashboard/credits/{credit}"
    return {
        "credits": "/dashboard/credits",
        "credit-new": "/dashboard/credits/new",
        "credit": own,
        "credit-found": f"{own}?search={urllib.parse.quote(customer[:3], safe='')}",
        "credit-edit": f"{own}/edit",
        "credit-ledger": f"{own}/customer?id={quoted}",
        "credit-grants": f"{own}/grants?id={quoted}",
        "credit-reservations": f"{own}/reservations?id={quoted}",
        "webhooks": "/dashboard/webhooks",
        "webhook-new": "/dashboard/webhooks/new",
        "webhook": f"/dashboard/webhooks/{hook}",
        "webhook-settings": f"/dashboard/webhooks/{hook}/settings",
        "webhook-message": f"/dashboard/webhooks/{hook}/messages/{message}",
        "webhook-events": "/dashboard/webhooks/events",
        "alerts": "/dashboard/webhooks/alerts",
        "configuration": "/dashboard/settings/configuration",
        "keys": "/dashboard/settings/keys",
    }


def credits_webhooks_and_settings_are_usable_and_have_their_pictures(daemon, browser, shots):
    wanted = filled(daemon)
    with signed_in(daemon, browser) as page:
        # The attempt that nothing answered is told of by then.
        settled(page, wanted["webhook"])
        page.wait_for_selector("table >> text=webhook.test")
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


def credits_are_made_given_and_taken(daemon, browser, _shots):
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/credits")
        page.click("text=Make a kind of credit here")
        page.fill("#name", "Minutes")
        page.fill("#unit", "minute")
        assert not page.is_visible("#price_per_unit")
        page.select_option("#overage_enabled", "true")
        page.fill("#price_per_unit", "x")
        page.click("button >> text=Create")
        page.wait_for_selector("#price_per_unit[aria-invalid=true]")
        page.fill("#price_per_unit", "2.5")
        page.fill("#currency", "USD")
        page.click("button >> text=Create")
        page.wait_for_url(re.compile(r"/dashboard/credits/cde_"))
        daemon.post("/customers", {"customer_id": "a&b", "name": "A", "email": ""})
        page.fill("#customer_id", "a&b")
        page.fill("#amount", "100")
        page.fill("#expires_at", "2099-01-31T10:30")
        page.click("button >> text=Give")
        page.wait_for_url(re.compile(r"/customer\?id=a%26b"))
        page.click("summary >> text=Adjust")
        page.select_option("#entry_type", "debit")
        assert not page.is_visible("#expires_at")
        page.fill("#amount", "30")
        page.fill("#reason", "It was <too> much")
        page.click("button >> text=Enter")
        page.wait_for_selector("table >> text=It was <too> much")
        assert page.inner_text(".figure >> nth=0") == "70"
        entitlement = page.url.split("/credits/")[1].split("/")[0]
        grants = daemon.call("GET", f"/credit-entitlements/{entitlement}/balances/a%26b/grants")[1]["items"]
        assert [one["expires_at"] for one in grants] == ["2099-01-31T10:30:00Z"], grants


def an_endpoint_is_made_and_its_secret_shown(daemon, browser, _shots):
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/webhooks")
        page.click("text=Make one here")
        page.fill("#url", "http://nowhere.invalid/x")
        page.fill("#headers", "x-team: billing\nx-other: a: b")
        page.check("[value='credit.added']")
        page.click("button >> text=Create")
        page.wait_for_selector("#url[aria-invalid=true]")
        page.fill("#url", "https://nowhere.invalid/x")
        page.click("button >> text=Create")
        page.wait_for_url(re.compile(r"/webhooks/whk_\w+/settings"))
        hook = page.url.split("/")[-2]
        made = daemon.call("GET", f"/webhooks/{hook}")[1]
        assert made["filter_types"] == ["credit.added"], made
        page.click("button >> text=Show")
        page.wait_for_selector("text=whsec_")
        secret = daemon.call("GET", f"/webhooks/{hook}/secret")[1]["secret"]
        assert page.inner_text("[data-answer=secret] >> nth=0") == secret
        # What no line names any more is taken out; what was changed is set.
        page.fill("#headers", "x-other: c")
        page.uncheck("[value='credit.added']")
        with page.expect_navigation():
            page.click("text=Save headers")
        page.wait_for_selector(".pulse.on")
        headers = daemon.call("GET", f"/webhooks/{hook}/headers")[1]["headers"]
        assert headers == {"x-other": "c"}, headers
        page.uncheck("[value='credit.added']")
        with page.expect_navigation():
            page.click("button >> text=/^Save$/")
        assert daemon.call("GET", f"/webhooks/{hook}")[1]["filter_types"] is None
        # Twice is two messages.
        for count in (1, 2):
            settled(page, f"/dashboard/webhooks/{hook}")
            with page.expect_navigation():
                page.click("text=Send a test")
            until(page, "count => document.querySelectorAll('tbody tr').length === count", count)


def a_key_is_shown_once(daemon, browser, _shots):
    with signed_in(daemon, browser) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        settled(page, "/dashboard/settings/keys")
        page.fill("#name", "shop")
        page.select_option("#scope", "read")
        page.click("button >> text=Make key")
        page.wait_for_selector("text=shown this once")
        text = page.inner_text("[data-answer=key]")
        page.click("text=Done")
        page.wait_for_selector("table >> text=shop")
        assert text not in page.content()
        with signed_in(daemon, browser, key=text) as reader:
            settled(reader, "/dashboard/settings")
            assert reader.locator("text=API keys").count() == 0
            page.click("text=Revoke")
            page.wait_for_selector("text=No key was made yet")
            reader.goto("/dashboard/settings")
            assert "sign-in" in reader.url


def no_text_of_a_client_runs_there(daemon, browser, _shots):
    for text in CORPUS:
        wanted = filled(daemon, customer=text, text=text)
        with signed_in(daemon, browser) as page:
            page.on("dialog", lambda dialog: dialog.dismiss())
            for name, path in wanted.items():
                settled(page, path)
                page.wait_for_timeout(50)
                assert page.evaluate("window.hit === undefined"), (name, text)
                added = page.evaluate("document.querySelectorAll('main script, main img, main [onload]').length")
                assert added == 0, (name, text)


TESTS = [
    credits_webhooks_and_settings_are_usable_and_have_their_pictures,
    credits_are_made_given_and_taken,
    an_endpoint_is_made_and_its_secret_shown,
    a_key_is_shown_once,
    no_text_of_a_client_runs_there,
]
