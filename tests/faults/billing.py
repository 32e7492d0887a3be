"""Products and subscriptions with periods of one and two days, and every invoice that they must have.

`Billing` adds events up by subscription and period as the ledger hears of them, and computes each line from
that with integers alone. `Billing.check` compares all invoices with it: numbers without gaps, one renewal
for each subscription and period that is over, no other, the amounts, and nothing that was seen before has
changed.
"""

from collections import defaultdict
from dataclasses import dataclass

from oracle import DAY, MILLIONTHS, MINUTE, Tally, decimal, differences, instant, require, rfc3339

GRACE = 70 * MINUTE
# Aggregation, price of a unit in millionths of a cent, free units.
PLANS = {
    1: [("sum", 500_000, 1000), ("max", 2_250_000, 100), ("count", 125_000, 10)],
    2: [("count", 3_000_000, 0), ("sum", 333_333, 0)],
}
FIXED = {1: 4900, 2: 150}


@dataclass
class Subscription:
    id: str
    days: int
    start: int
    periods: dict

    def place(self, at):
        return (at - self.start) // (self.days * DAY)

    def boundary(self, number):
        return self.start + number * self.days * DAY


class Billing:
    def __init__(self, daemon, ledger, customers):
        """Subscribes each customer to a plan, at an instant of its own."""
        self.by_customer = defaultdict(list)
        self.subscriptions = {}
        self.seen = {}
        self.meters = ledger.meters
        products = {days: self._product(daemon, days) for days in PLANS}
        for number, customer in enumerate(customers):
            for days in (1, 2) if number % 3 == 0 else (1 + number % 2,):
                self._subscribe(daemon, customer, days, products[days])
        ledger.listeners.append(self.count)

    def _product(self, daemon, days):
        meters = [
            {"meter_id": self.meters[name], "price_per_unit": decimal(price), "free_threshold": free}
            for name, price, free in PLANS[days]
        ]
        price = {
            "type": "usage_based_price", "currency": "USD", "fixed_price": FIXED[days],
            "payment_frequency_count": days, "payment_frequency_interval": "Day",
            "subscription_period_count": 10, "subscription_period_interval": "Year", "meters": meters,
        }
        body = {"name": f"Plan {days}", "tax_category": "saas", "price": price}
        return daemon.expect(200, "POST", "/products", body)["product_id"]

    def _subscribe(self, daemon, customer, days, product):
        now = instant(daemon.expect(200, "GET", "/clock")["now"])
        daemon.request("POST", "/customers", {"customer_id": customer, "name": customer, "email": ""})
        made = daemon.expect(200, "POST", "/subscriptions", {
            "product_id": product, "quantity": 1, "billing": {"country": "PE"},
            "customer": {"customer_id": customer},
        })
        subscription = Subscription(made["subscription_id"], days, now, defaultdict(Tally))
        self.by_customer[customer].append(subscription)
        self.subscriptions[subscription.id] = subscription
        daemon.expect(200, "POST", "/clock/advance", {"to": rfc3339(now + 7_500)})

    def count(self, event):
        for subscription in self.by_customer[event.customer]:
            subscription.periods[subscription.place(event.at)].add(event)

    def expected(self, now):
        """The amounts of every invoice that is due, by subscription and boundary."""
        invoices = {}
        for subscription in self.subscriptions.values():
            fixed = FIXED[subscription.days]
            invoices[subscription.id, subscription.start] = [fixed]
            number = 1
            while subscription.boundary(number) + GRACE <= now:
                tally = subscription.periods.get(number - 1, Tally())
                lines = [fixed] + [line(tally, *metered) for metered in PLANS[subscription.days]]
                invoices[subscription.id, subscription.boundary(number)] = lines
                number += 1
        return invoices

    def check(self, daemon, now):
        """Compares all invoices; gives how many there are."""
        found = daemon.all_items("/invoices")
        numbers = [invoice["number"] for invoice in found]
        require(numbers == list(range(len(found), 0, -1)), f"numbers of invoices: {numbers}")
        lines = {}
        for invoice in found:
            place = (invoice["subscription_id"], instant(invoice["due_at"]))
            require(place not in lines, f"two invoices for {place}")
            lines[place] = [line["amount"] for line in invoice["lines"]]
            require(invoice["total"] == sum(lines[place]), f"lines do not sum to the total: {invoice}")
            before = self.seen.setdefault(invoice["number"], invoice)
            require(before == invoice, f"an invoice has changed from {before} to {invoice}")
        require(len(self.seen) == len(found), f"{len(self.seen)} invoices were seen, {len(found)} are there")
        expected = self.expected(now)
        require(lines == expected, f"invoices at {rfc3339(now)}, found and expected: {differences(lines, expected)}")
        return len(found)


def line(tally, aggregation, price, free):
    """What a period's usage costs in cents, rounded half away from zero."""
    chargeable = max(0, tally.millionths(aggregation) - free * MILLIONTHS)
    whole = MILLIONTHS * MILLIONTHS
    return (2 * chargeable * price + whole) // (2 * whole)
