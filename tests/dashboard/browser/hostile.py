"""Texts that clients choose, in every place that holds one, on every page: none of them becomes code."""

from daemon import event, meter, plan, subscribe
from pages import screens, settled, signed_in, sold

# Each would set this when it ran.
CORPUS = [
    "<script>window.hit = 1</script>",
    "\"><img src=x onerror=window.hit=1>",
    "' onmouseover='window.hit=1' x='",
    "</textarea></title></style><svg onload=window.hit=1>",
    "javascript:window.hit=1",
    "{{constructor.constructor('window.hit=1')()}}",
    "<a href=javascript:window.hit=1>x</a>",
    "<div hx-get=/dashboard/meters hx-trigger=load hx-target=body hx-on:load=window.hit=1>",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "<math><mi//xlink:href=\"data:x,<script>window.hit=1</script>\">",
]


def no_text_of_a_client_runs(daemon, browser, _shots):
    for number, text in enumerate(CORPUS):
        made = meter(daemon, name=text, event_name=text, measurement_unit=text, description=text,
                     aggregation={"type": "sum", "key": text},
                     filter={"conjunction": "and",
                             "clauses": [{"key": text, "operator": "not_equals", "value": text}]})
        daemon.post("/customers", {"customer_id": text, "name": text, "email": f"a{number}@example.com",
                                   "metadata": {text[:40]: text}})
        daemon.ingest(event(text, text, text, **{text: number, "value": text}))
        daemon.call("POST", "/events/ingest", {"events": [event(text + "r", text, text, **{text: [text]})]})
        subscribe(daemon, plan(daemon, made["id"], name=text), text)
        daemon.post("/keys", {"name": text, "scope": "read"})
        with signed_in(daemon, browser) as page:
            page.on("dialog", lambda dialog: dialog.dismiss())
            for name, path in (screens(made["id"], text, text) | sold(daemon)).items():
                settled(page, path)
                page.wait_for_timeout(50)
                assert page.evaluate("window.hit === undefined"), (name, text)
                added = page.evaluate("document.querySelectorAll('main script, main img, main [onload]').length")
                assert added == 0, (name, text)


TESTS = [no_text_of_a_client_runs]
