// What the meters make of events, read through `GET /usage`: cases 15 and 16 of the compatibility
// list as far as usage shows them, and the form of the reply.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { advance, createMeter, event, ingestNew, refusal, sdk, total, usage } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-03-10T12:00:00Z';

describe('usage', () => {
  let daemon;
  let client;
  let eventName = 0;
  before(async () => {
    daemon = await Daemon.start({ testClock: NOW });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  /** Meters of every aggregation over `n` of an event name that no other test uses. */
  async function meters() {
    eventName += 1;
    const event_name = `usage.${eventName}`;
    const made = { event_name };
    for (const type of ['count', 'sum', 'max', 'last']) {
      made[type] = await createMeter(client, { event_name, aggregation: { type, key: type === 'count' ? null : 'n' } });
    }
    return made;
  }

  async function assertTotals(made, expected) {
    const found = {};
    for (const type of Object.keys(expected)) found[type] = await total(client, made[type]);
    assert.deepEqual(found, expected);
  }

  function at(minute, made, metadata) {
    return event({ event_name: made.event_name, timestamp: `2026-03-10T11:${minute}:00Z`, metadata });
  }

  test('count, sum, max and last, whatever the order of arrival', async () => {
    const made = await meters();
    await ingestNew(client, [at('30', made, { n: 7 }), at('10', made, { n: 40 })]);
    await assertTotals(made, { count: '2', sum: '47', max: '40', last: '7' });
    await ingestNew(client, [at('20', made, { n: 5 })]);
    await assertTotals(made, { count: '3', sum: '52', max: '40', last: '7' });
    await ingestNew(client, [at('30', made, { n: 1 })]);
    await assertTotals(made, { count: '4', sum: '53', max: '40', last: '1' });
  });

  test('sums are exact decimals', async () => {
    const made = await meters();
    await ingestNew(client, [0.1, 0.2, 1e-12, 999999999999999, -0.000000000001].map((n) => at('10', made, { n })));
    await assertTotals(made, { sum: '999999999999999.3', max: '999999999999999' });
  });

  test('negative values count', async () => {
    const made = await meters();
    await ingestNew(client, [at('10', made, { n: -5 }), at('20', made, { n: -2.5 })]);
    await assertTotals(made, { count: '2', sum: '-7.5', max: '-2.5', last: '-2.5' });
  });

  test('case 16: only JSON numbers of a sane size are values, and the rest is shown as skipped', async () => {
    const made = await meters();
    const odd = [{}, null, { m: 1 }, { n: '5' }, { n: true }, { n: 'x' }, { n: 1e15 }, { n: -1e300 }, { n: 2 }];
    await ingestNew(client, odd.map((metadata) => at('10', made, metadata)));
    await assertTotals(made, { count: '9', sum: '2', max: '2', last: '2' });
    const skipped = async (meter) =>
      (await usage(client, { meter_id: meter.id, customer_id: 'c-1' })).items[0].skipped;
    for (const type of ['sum', 'max', 'last']) {
      assert.deepEqual(await skipped(made[type]), { missing: 3, not_a_number: 3, out_of_range: 2 }, type);
    }
    assert.deepEqual(await skipped(made.count), { missing: 0, not_a_number: 0, out_of_range: 0 });
  });

  test('no event, no usage', async () => {
    const made = await meters();
    await client.customers.create({ customer_id: 'idle', name: 'Idle', email: '' });
    for (const type of ['count', 'sum', 'max', 'last']) {
      const reply = await usage(client, { meter_id: made[type].id, customer_id: 'idle' });
      assert.equal(reply.total, '0');
    }
    assert.deepEqual((await usage(client, { meter_id: made.count.id })).items, []);
  });

  test('a meter lists its customers, largest first and by pages', async () => {
    const made = await meters();
    const sizes = { small: 1, large: 30, middle: 4 };
    for (const [customer_id, n] of Object.entries(sizes)) {
      await ingestNew(client, [{ ...at('10', made, { n }), customer_id }]);
    }
    const reply = await usage(client, { meter_id: made.sum.id });
    assert.deepEqual(reply.items.map((item) => [item.customer_id, item.total]),
      [['large', '30'], ['middle', '4'], ['small', '1']]);
    assert.deepEqual(reply.items.map((item) => item.meter_id), Array(3).fill(made.sum.id));
    assert.equal(reply.total, undefined);
    const page = await usage(client, { meter_id: made.sum.id, page_size: 2, page_number: 1 });
    assert.deepEqual(page.items.map((item) => item.customer_id), ['small']);
    const beyond = await usage(client, { meter_id: made.sum.id, page_size: 2, page_number: 2 });
    assert.deepEqual(beyond.items, []);
  });

  test('a customer lists its meters', async () => {
    const made = await meters();
    await ingestNew(client, [{ ...at('10', made, { n: 3 }), customer_id: 'c-9' }]);
    const reply = await usage(client, { customer_id: 'c-9', page_size: 100, page_number: 0 });
    const found = new Map(reply.items.map((item) => [item.meter_id, item.total]));
    assert.deepEqual(['count', 'sum', 'max', 'last'].map((type) => found.get(made[type].id)), ['1', '3', '3', '3']);
    assert.ok(reply.items.every((item) => item.customer_id === 'c-9'));
  });

  test('buckets of hours, days and months cut the range', async () => {
    const made = await meters();
    const send = (timestamp, n) =>
      ingestNew(client, [event({ event_name: made.event_name, timestamp, metadata: { n } })]);
    await advance(client, '2026-03-30T22:30:00Z');
    await send('2026-03-30T21:59:59.999999999Z', 1);
    await send('2026-03-30T22:00:00Z', 2);
    await advance(client, '2026-03-31T23:59:00Z');
    await send('2026-03-31T23:30:00Z', 4);
    await send('2026-04-01T00:00:00Z', 8);
    await advance(client, '2026-04-01T00:30:00Z');
    await send('2026-04-01T00:10:00Z', 16);

    const range = { start: '2026-03-01T00:00:00Z', end: '2026-05-01T00:00:00Z' };
    const query = { meter_id: made.sum.id, customer_id: 'c-1', ...range };
    const buckets = async (interval) => {
      const [item] = (await usage(client, { ...query, interval })).items;
      assert.equal(item.total, '31');
      return item.buckets.filter((bucket) => bucket.value !== '0')
        .map(({ start, value }) => [new Date(start).toISOString().replace('.000', ''), value]);
    };
    assert.deepEqual(await buckets('hour'), [
      ['2026-03-30T21:00:00Z', '1'], ['2026-03-30T22:00:00Z', '2'],
      ['2026-03-31T23:00:00Z', '4'], ['2026-04-01T00:00:00Z', '24'],
    ]);
    assert.deepEqual(await buckets('day'), [
      ['2026-03-30T00:00:00Z', '3'], ['2026-03-31T00:00:00Z', '4'], ['2026-04-01T00:00:00Z', '24'],
    ]);
    assert.deepEqual(await buckets('month'), [['2026-03-01T00:00:00Z', '7'], ['2026-04-01T00:00:00Z', '24']]);

    const within = (start, end, type = 'sum') => total(client, made[type], 'c-1', { start, end });
    assert.equal(await within('2026-03-30T22:00:00Z', '2026-04-01T00:00:00Z'), '6');
    assert.equal(await within('2026-03-30T21:00:00Z', '2026-03-30T22:00:00Z'), '1');
    assert.equal(await within('2026-03-30T21:00:00Z', '2026-04-01T00:00:00Z', 'max'), '4');
    assert.equal(await within('2026-03-30T21:00:00Z', '2026-04-01T00:00:00Z', 'last'), '4');
    assert.equal(await within('2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z'), '0');
    assert.equal(await total(client, made.sum), '24', 'the default is the current month');
  });

  test('a reply includes every event acknowledged before it', async () => {
    const made = await meters();
    for (let sent = 1; sent <= 20; sent += 1) {
      const { lsn } = await ingestNew(client, [event({ event_name: made.event_name, metadata: { n: 1 } })]);
      const reply = await usage(client, { meter_id: made.sum.id, customer_id: 'c-1' });
      assert.equal(reply.total, `${sent}`);
      assert.ok(reply.as_of_lsn >= lsn, `${reply.as_of_lsn} >= ${lsn}`);
    }
  });

  test('odd queries are refused', async () => {
    const made = await meters();
    const meter_id = made.sum.id;
    const refused = [
      {}, { meter_id, start: '2026-03-10T11:30:00Z' }, { meter_id, end: '2026-03-10T11:00:00.5Z' },
      { meter_id, start: '2026-03-10T11:00:00Z', end: '2026-03-10T11:00:00Z' },
      { meter_id, interval: 'week' }, { meter_id, start: 'today' }, { meter_id, page_size: 101 },
    ];
    for (const query of refused) await refusal(usage(client, query), 422, 'INVALID_QUERY_PARAMS');
    await refusal(usage(client, { meter_id: 'mtr_nowhere' }), 404, 'NOT_FOUND');
  });
});

describe('filters', () => {
  let daemon;
  let client;
  let eventName = 0;
  before(async () => {
    daemon = await Daemon.start();
    client = sdk(daemon);
  });
  after(() => daemon.close());

  /** Whether a meter with this filter counts an event, for events of each of these metadata. */
  async function counted(filter, list) {
    eventName += 1;
    const event_name = `filters.${eventName}`;
    const meter = await createMeter(client, { event_name, filter });
    const customer = (index) => `${event_name} ${index}`;
    await ingestNew(client, list.map((metadata, index) =>
      event({ event_name, customer_id: customer(index), metadata })));
    const reply = await usage(client, { meter_id: meter.id, page_size: 100, page_number: 0 });
    const totals = new Map(reply.items.map((item) => [item.customer_id, item.total]));
    return list.map((_, index) => Number(totals.get(customer(index)) ?? 0));
  }

  // Each row: operator, the filter's value, then values under the key that match and that do not.
  const TABLE = [
    ['equals', 'pro', ['pro'], ['Pro', 'professional', '', 1, true]],
    ['equals', 5, [5, 5.0, 5e0], [4, '5', true]],
    ['equals', 0.1, [0.1], [0.10000000000000002, '0.1']],
    ['equals', true, [true], [false, 'true', 1]],
    ['not_equals', 'pro', ['Pro', ''], ['pro']],
    ['not_equals', 5, [4, 5.5], [5]],
    ['greater_than', 5, [5.000001, 6], [5, 4, '6', true]],
    ['greater_than_or_equals', 5, [5, 6], [4.999999, '5', true]],
    ['less_than', 5, [4.999999, -6], [5, 6, '4', false]],
    ['less_than_or_equals', 5, [5, -6], [5.000001, '5', false]],
    ['contains', 'gpt', ['gpt', 'a-gpt-4'], ['GPT', 'gp', 5, true]],
    ['does_not_contain', 'gpt', ['GPT', ''], ['gpt-4']],
  ];
  for (const [operator, value, matches, mismatches] of TABLE) {
    test(`case 15: ${operator} ${JSON.stringify(value)}`, async () => {
      const filter = { conjunction: 'and', clauses: [{ key: 'k', operator, value }] };
      const given = [...matches, ...mismatches];
      const found = await counted(filter, given.map((k) => ({ k })));
      assert.deepEqual(given.map((k, index) => [k, found[index]]),
        [...matches.map((k) => [k, 1]), ...mismatches.map((k) => [k, 0])]);
      assert.deepEqual(await counted(filter, [{}, null, { other: value }]), [0, 0, 0], 'a missing key');
    });
  }

  test('groups of and and or nest', async () => {
    const is = (key, value) => ({ key, operator: 'equals', value });
    const or = (...clauses) => ({ conjunction: 'or', clauses });
    const and = (...clauses) => ({ conjunction: 'and', clauses });
    assert.deepEqual(
      await counted(and(is('a', 1), is('b', 1)), [{ a: 1, b: 1 }, { a: 1, b: 2 }, { a: 1 }, {}]), [1, 0, 0, 0]);
    assert.deepEqual(
      await counted(or(is('a', 1), is('b', 1)), [{ a: 1, b: 1 }, { a: 1, b: 2 }, { b: 1 }, { a: 2 }, {}]),
      [1, 1, 1, 0, 0]);
    const deep = and(or(and(is('a', 1), is('b', 1)), and(is('c', 1))), or(and(is('d', 1))));
    assert.deepEqual(
      await counted(deep, [{ a: 1, b: 1, d: 1 }, { c: 1, d: 1 }, { a: 1, d: 1 }, { c: 1 }, { a: 1, b: 1, c: 1, d: 2 }]),
      [1, 1, 0, 0, 0]);
  });
});
