"""What is sold: a product made by its form, whose total is the one of the invoice that billing makes."""

from daemon import event, meter
from pages import settled, signed_in, until


def total(page, expected):
    """Waits until the worked total is this."""
    until(page, "text => document.querySelector('.worked .figure')?.textContent === text", expected)


def a_total_follows_the_typing_and_the_invoice_is_the_same(daemon, browser, shots):
    meter(daemon)
    meter(daemon, name="API calls", event_name="api.call", measurement_unit="calls", aggregation={"type": "count"})
    daemon.post("/customers", {"customer_id": "cus_1", "name": "Ada", "email": "ada@example.com"})
    with signed_in(daemon, browser) as page:
        settled(page, "/dashboard/products/new")
        page.fill("[name=name]", "Pro plan")
        page.fill("[name='price.fixed_price']", "49.00")
        page.select_option("[name='price.meters.0.meter_id']", label="Tokens")
        page.fill("[name='price.meters.0.price_per_unit']", "0.02")
        total(page, "49.00 USD")
        page.fill("[name='price.meters.0.free_threshold']", "1000")
        page.fill("[name='price.meters.0.example']", "2500")
        total(page, "79.00 USD")
        page.click("text=Add a meter")
        page.select_option("[name='price.meters.1.meter_id']", label="API calls")
        page.select_option("[name='price.meters.1.model']", "graduated")
        page.fill("[name='price.meters.1.tiers.0.up_to']", "2")
        page.fill("[name='price.meters.1.tiers.0.price_per_unit']", "1")
        page.click("button:text-is('Add a tier'):visible")
        page.fill("[name='price.meters.1.tiers.1.price_per_unit']", "0.505")
        page.fill("[name='price.meters.1.tiers.1.flat_fee']", "5")
        page.fill("[name='price.meters.1.example']", "3")
        # 79, two calls at 1, the third at 0.505 and the flat fee of its tier: rounded once.
        total(page, "86.51 USD")
        page.screenshot(path=shots / "story-pricing.png", full_page=True)
        page.fill("[name='price.meters.0.price_per_unit']", "-1")
        page.click("text=Make the product")
        page.wait_for_selector("[name='price.meters.0.price_per_unit'][aria-invalid=true]")
        page.fill("[name='price.meters.0.price_per_unit']", "0.02")
        page.click("text=Make the product")
        page.wait_for_url("**/dashboard/products/pdt_*")
        settled(page, "/dashboard/subscriptions/new")
        page.fill("[name='customer.customer_id']", "cus_1")
        page.select_option("[name=product_id]", index=1)
        page.click("text=Subscribe")
        page.wait_for_url("**/dashboard/subscriptions/sub_*")
        daemon.ingest(event(1, tokens=2500), *(event(f"c{n}", name="api.call") for n in range(3)))
        page.click("text=To what is due next")
        page.wait_for_selector("text=2026-04-01 12:00:00")
        # The cycle has ended; its invoice waits for events that come late.
        page.click("text=To what is due next")
        page.wait_for_selector("text=2026-04-01 13:10:00")
        settled(page, "/dashboard/invoices")
        page.click("tbody tr:first-child a")
        page.wait_for_selector("h2:has-text('86.51 USD')")
        page.screenshot(path=shots / "story-invoice.png", full_page=True)


a_total_follows_the_typing_and_the_invoice_is_the_same.clock = "2026-03-01T12:00:00Z"


def an_edited_product_is_what_it_was_until_something_is_typed(daemon, browser, _shots):
    made = meter(daemon)
    price = {"type": "usage_based_price", "currency": "USD", "fixed_price": 4900, "discount_bps": 1250,
             "payment_frequency_count": 3, "payment_frequency_interval": "Week",
             "subscription_period_count": 2, "subscription_period_interval": "Year",
             "meters": [{"meter_id": made["id"], "tier_mode": "volume", "minimum_amount": 100, "maximum_amount": 900,
                         "tiers": [{"up_to": "10.5", "price_per_unit": "0.000225", "flat_fee": 5},
                                   {"up_to": None, "price_per_unit": "2"}]}]}
    product = daemon.post("/products", {"name": "P", "tax_category": "e_book", "price": price,
                                        "metadata": {"k": True}})["product_id"]
    _, before = daemon.call("GET", f"/products/{product}")
    with signed_in(daemon, browser) as page:
        for button in ("Save as a new price", "Save"):
            settled(page, f"/dashboard/products/{product}/edit")
            page.click(f"button:text-is('{button}')")
            page.wait_for_url(f"**/dashboard/products/{product}")
            _, after = daemon.call("GET", f"/products/{product}")
            assert {**after, "updated_at": None} == {**before, "updated_at": None}, (before, after)
        settled(page, f"/dashboard/products/{product}/edit")
        page.fill("[name='price.fixed_price']", "59")
        page.click("button:text-is('Save as a new price')")
        page.wait_for_url(f"**/dashboard/products/{product}")
        _, after = daemon.call("GET", f"/products/{product}")
        assert (after["price"]["fixed_price"], after["price_version"]) == (5900, 2), after
        assert after["price"]["meters"] == before["price"]["meters"], after


def a_subscription_is_ended_taken_back_paused_and_changed(daemon, browser, _shots):
    made = meter(daemon)
    daemon.post("/customers", {"customer_id": "cus_1", "name": "Ada", "email": "ada@example.com"})

    def plan(name, amount):
        price = {"type": "usage_based_price", "currency": "USD", "fixed_price": amount,
                 "payment_frequency_count": 1, "payment_frequency_interval": "Month",
                 "subscription_period_count": 1, "subscription_period_interval": "Year",
                 "meters": [{"meter_id": made["id"], "price_per_unit": "2"}]}
        return daemon.post("/products", {"name": name, "tax_category": "saas", "price": price})["product_id"]

    small, large = plan("Small", 4900), plan("Large", 9900)
    subscription = daemon.post("/subscriptions", {
        "product_id": small, "quantity": 1, "customer": {"customer_id": "cus_1"}, "billing": {"country": "US"},
    })["subscription_id"]
    own = f"/dashboard/subscriptions/{subscription}"
    with signed_in(daemon, browser) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        settled(page, own)

        def press(button, shown):
            page.click(f"button:text-is('{button}')")
            page.wait_for_selector(shown)

        press("End at the next billing date", "text=Let it go on")
        press("Let it go on", "button:text-is('Pause')")
        press("Pause", "button:text-is('Resume')")
        press("Resume", "button:text-is('Pause')")
        settled(page, f"{own}/plan")
        page.select_option("[name=product_id]", large)
        page.wait_for_selector(".worked .figure")
        page.click("button:text-is('Change the plan')")
        page.wait_for_selector("h1:has-text('Large for Ada')")
        press("End now", ".badge:has-text('cancelled')")


TESTS = [
    a_total_follows_the_typing_and_the_invoice_is_the_same,
    an_edited_product_is_what_it_was_until_something_is_typed,
    a_subscription_is_ended_taken_back_paused_and_changed,
]
