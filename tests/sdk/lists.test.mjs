// Lists through the SDK: cases 9 to 11 of the compatibility list.
//
// The SDK leaves `page_number` out of its first request and asks for page 2 next. A list is complete
// only when the daemon answers that first request with two pages.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import DodoPayments from 'dodopayments';

import { all, createMeter, event, events, ingestNew, raw, refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-03-10T12:00:00Z';

describe('lists of events', () => {
  let daemon;
  let client;
  let meter;
  const sent = [
    event({ event_id: 'a', timestamp: '2026-03-10T11:10:00Z', metadata: { n: 1 } }),
    event({ event_id: 'b', timestamp: '2026-03-10T11:20:00Z', metadata: { n: 5 } }),
    event({ event_id: 'c', timestamp: '2026-03-10T11:05:00Z', metadata: { n: 9 }, customer_id: 'c-2' }),
    event({ event_id: 'd', timestamp: '2026-03-10T11:30:00Z', event_name: 'other', metadata: { n: 9 } }),
  ];
  before(async () => {
    daemon = await Daemon.start({ testClock: NOW });
    client = sdk(daemon);
    const clauses = [{ key: 'n', operator: 'greater_than', value: 4 }];
    meter = await createMeter(client, { filter: { conjunction: 'and', clauses } });
    await ingestNew(client, sent);
  });
  after(() => daemon.close());

  async function ids(query) {
    return (await all(client.usageEvents.list(query))).map((found) => found.event_id);
  }

  test('case 9: the newest in the log comes first', async () => {
    assert.deepEqual(await ids(), ['d', 'c', 'b', 'a']);
  });

  test('case 9: by customer, name and meter with its filter', async () => {
    assert.deepEqual(await ids({ customer_id: 'c-2' }), ['c']);
    assert.deepEqual(await ids({ customer_id: 'nobody' }), []);
    assert.deepEqual(await ids({ event_name: 'other' }), ['d']);
    assert.deepEqual(await ids({ meter_id: meter.id }), ['c', 'b']);
    assert.deepEqual(await ids({ meter_id: meter.id, event_name: 'api.call', customer_id: 'c-1' }), ['b']);
  });

  test('case 9: from start on and before end', async () => {
    assert.deepEqual(await ids({ start: '2026-03-10T11:10:00Z' }), ['d', 'b', 'a']);
    assert.deepEqual(await ids({ end: '2026-03-10T11:20:00Z' }), ['c', 'a']);
    assert.deepEqual(await ids({ start: '2026-03-10T13:10:00+02:00', end: '2026-03-10T11:20:00Z' }), ['a']);
  });

  test('case 9: another name than the meter\'s is an error', async () => {
    const error = await refusal(client.usageEvents.list({ meter_id: meter.id, event_name: 'other' }), 400);
    assert.ok(error instanceof DodoPayments.BadRequestError);
    await refusal(client.usageEvents.list({ meter_id: 'mtr_nowhere' }), 404, 'NOT_FOUND');
    await refusal(client.usageEvents.list({ start: 'yesterday' }), 422, 'INVALID_QUERY_PARAMS');
  });

  test('an empty parameter is as good as none', async () => {
    const reply = await raw(daemon, 'GET', '/events?customer_id=&start=&page_size=&page_number=');
    assert.equal(reply.status, 200);
    assert.equal(reply.body.items.length, sent.length);
  });
});

describe('paging', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start();
    client = sdk(daemon);
  });
  after(() => daemon.close());

  function assertComplete(found, expected) {
    assert.equal(found.length, expected.length);
    assert.deepEqual([...found].sort(), [...expected].sort());
  }

  test('case 10: a loop over meters sees all of 0, 15, 25 and 100 rows once', async () => {
    const made = [];
    for (const count of [0, 15, 25, 100]) {
      while (made.length < count) made.push((await createMeter(client)).id);
      assertComplete((await all(client.meters.list())).map((meter) => meter.id), made);
      assertComplete((await all(client.meters.list({ page_size: 7 }))).map((meter) => meter.id), made);
      assertComplete((await all(client.meters.list({ page_number: 0 }))).map((meter) => meter.id), made);
    }
  });

  test('case 10: a loop over events and customers sees all of 0, 15, 25 and 100 rows once', async () => {
    const made = [];
    for (const count of [0, 15, 25, 100]) {
      const list = events(count - made.length, (index) => ({ customer_id: `c-${made.length + index}` }));
      if (list.length > 0) await ingestNew(client, list);
      made.push(...list);
      const customers = (await all(client.customers.list())).map((customer) => customer.customer_id);
      assertComplete(customers, made.map((one) => one.customer_id));
      const found = (await all(client.usageEvents.list())).map((one) => one.event_id);
      assert.deepEqual(found, made.map((one) => one.event_id).reverse());
    }
  });

  test('only a first request of the SDK gets two pages at once', async () => {
    const ids = async (query, headers) => {
      const reply = await raw(daemon, 'GET', `/meters${query}`, { headers });
      return reply.body.items.map((meter) => meter.id);
    };
    const stainless = { 'x-stainless-lang': 'js' };
    const both = await ids('', stainless);
    assert.equal(both.length, 20);
    assert.deepEqual(await ids('', {}), both.slice(0, 10));
    for (const headers of [stainless, {}]) {
      assert.deepEqual(await ids('?page_number=0', headers), both.slice(0, 10));
      assert.deepEqual(await ids('?page_number=1', headers), both.slice(10));
      assert.equal((await ids('?page_number=2', headers)).filter((id) => both.includes(id)).length, 0);
    }
  });

  test('case 11: a page has 1 to 100 items, and beyond the end there are none', async () => {
    for (const list of ['meters', 'customers', 'usageEvents']) {
      await refusal(client[list].list({ page_size: 101 }), 422, 'INVALID_QUERY_PARAMS');
      await refusal(client[list].list({ page_size: 0 }), 422, 'INVALID_QUERY_PARAMS');
      await refusal(client[list].list({ page_number: -1 }), 422, 'INVALID_QUERY_PARAMS');
      assert.equal((await client[list].list({ page_size: 100, page_number: 0 })).items.length, 100);
      assert.deepEqual((await client[list].list({ page_size: 100, page_number: 1 })).items, []);
    }
  });

  test('events are not skipped by the hundred thousand', async () => {
    assert.deepEqual((await client.usageEvents.list({ page_size: 100, page_number: 1000 })).items, []);
    await refusal(client.usageEvents.list({ page_size: 100, page_number: 1001 }), 422, 'INVALID_QUERY_PARAMS');
  });
});
