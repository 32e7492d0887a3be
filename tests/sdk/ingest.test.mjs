// Ingest through the SDK: cases 1 to 8 of the compatibility list.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import DodoPayments from 'dodopayments';

import {
  advance, all, createMeter, event, events, ingestNew, minutesFrom, post, recordingFetch, refusal, sdk, total,
} from './client.mjs';
import { Daemon } from './daemon.mjs';

async function assertUnknown(client, ...ids) {
  for (const id of ids) await refusal(client.usageEvents.retrieve(id), 404, 'NOT_FOUND');
}

describe('ingest', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start();
    client = sdk(daemon);
  });
  after(() => daemon.close());

  test('case 1: an event comes back as it was sent', async () => {
    const metadata = { text: 'gpt "ü" \\ \n', whole: 42, fraction: 0.000225, negative: -7.5, yes: true, no: false };
    const sent = event({ timestamp: new Date().toISOString(), metadata });
    const reply = await ingestNew(client, [sent]);
    assert.ok(Number.isInteger(reply.lsn));
    const { timestamp, ...found } = await client.usageEvents.retrieve(sent.event_id);
    for (const field of ['event_id', 'customer_id', 'event_name']) assert.equal(found[field], sent[field]);
    assert.deepEqual(found.metadata, metadata);
    assert.equal(found.business_id, 'bus_quipu');
    assert.match(timestamp, /Z$/);
    assert.equal(Date.parse(timestamp), Date.parse(sent.timestamp));
  });

  test('an event without metadata has null', async () => {
    const [absent, none] = [event(), event({ metadata: null })];
    await ingestNew(client, [absent, none]);
    assert.equal((await client.usageEvents.retrieve(absent.event_id)).metadata, null);
    assert.equal((await client.usageEvents.retrieve(none.event_id)).metadata, null);
  });

  test('case 2: a second send of an event counts nothing', async () => {
    const meter = await createMeter(client, { event_name: 'twice' });
    const sent = event({ event_name: 'twice', metadata: { n: 1 } });
    const first = await ingestNew(client, [sent]);
    const second = await client.usageEvents.ingest({ events: [sent] });
    const { lsn, ...counts } = second;
    assert.deepEqual(counts, { ingested_count: 0, duplicate_count: 1, conflict_count: 0 });
    assert.ok(lsn >= first.lsn);
    assert.equal(await total(client, meter), '1');
  });

  test('the same id with other content is a duplicate and a conflict; the first copy stays', async () => {
    const sent = event({ metadata: { n: 1 } });
    await ingestNew(client, [sent]);
    const fresh = event();
    const mixed = [{ ...sent, metadata: { n: 2 } }, fresh];
    const { lsn, ...counts } = await client.usageEvents.ingest({ events: mixed });
    assert.deepEqual(counts, { ingested_count: 1, duplicate_count: 1, conflict_count: 1 });
    assert.deepEqual((await client.usageEvents.retrieve(sent.event_id)).metadata, { n: 1 });
    assert.equal((await client.usageEvents.retrieve(fresh.event_id)).event_id, fresh.event_id);
  });

  test('event ids tell upper and lower case apart', async () => {
    await ingestNew(client, [event({ event_id: 'Case-A' }), event({ event_id: 'case-a' })]);
  });

  test('one id twice in a request refuses all of it', async () => {
    const [one, two] = [event(), event()];
    const error = await refusal(
      client.usageEvents.ingest({ events: [one, two, { ...one }] }), 422, 'INVALID_REQUEST_PARAMETERS',
    );
    assert.ok(error instanceof DodoPayments.UnprocessableEntityError);
    assert.deepEqual([error.error.event_index, error.error.field], [2, 'event_id']);
    await assertUnknown(client, one.event_id, two.event_id);
  });

  test('case 4: a request has 1 to 1000 events', async () => {
    const full = events(1000);
    await ingestNew(client, full);
    assert.equal((await client.usageEvents.retrieve(full[999].event_id)).event_id, full[999].event_id);
    const over = events(1001);
    await refusal(client.usageEvents.ingest({ events: over }), 422, 'INVALID_REQUEST_PARAMETERS');
    await assertUnknown(client, over[0].event_id, over[1000].event_id);
    await refusal(client.usageEvents.ingest({ events: [] }), 422, 'INVALID_REQUEST_PARAMETERS');
  });

  test('case 5: timestamps from an hour ago to five minutes ahead are taken', async () => {
    const now = new Date();
    for (const minutes of [-59, 4]) {
      await ingestNew(client, [event({ timestamp: minutesFrom(now, minutes) })]);
    }
    for (const minutes of [-61, 6]) {
      const [good, bad] = [event(), event({ timestamp: minutesFrom(now, minutes) })];
      const error = await refusal(
        client.usageEvents.ingest({ events: [good, bad] }), 422, 'INVALID_REQUEST_PARAMETERS',
      );
      assert.deepEqual([error.error.event_index, error.error.field], [1, 'timestamp']);
      await assertUnknown(client, good.event_id, bad.event_id);
    }
  });

  test('case 5: an event without a timestamp gets the time of its arrival', async () => {
    const [before, sent] = [Date.now(), event()];
    await ingestNew(client, [sent]);
    const instant = Date.parse((await client.usageEvents.retrieve(sent.event_id)).timestamp);
    assert.ok(before <= instant && instant <= Date.now(), `${before} <= ${instant}`);
  });

  test('case 6: metadata is a flat map of scalars within its limits', async () => {
    const pairs = (count) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, index]));
    const refused = [
      { nested: { a: 1 } }, { list: [1] }, pairs(51), { ['k'.repeat(101)]: 1 }, { text: 'v'.repeat(501) },
    ];
    for (const metadata of refused) {
      const [good, bad] = [event(), event({ metadata })];
      const error = await refusal(
        client.usageEvents.ingest({ events: [good, bad] }), 422, 'INVALID_REQUEST_PARAMETERS',
      );
      assert.equal(error.error.event_index, 1);
      assert.match(error.error.field, /^metadata/);
      await assertUnknown(client, good.event_id, bad.event_id);
    }
    const taken = [{}, pairs(50), { ['k'.repeat(100)]: 1 }, { text: 'ü'.repeat(500) }];
    for (const metadata of taken) {
      const sent = event({ metadata });
      await ingestNew(client, [sent]);
      assert.deepEqual((await client.usageEvents.retrieve(sent.event_id)).metadata ?? {}, metadata);
    }
  });

  test('a missing or empty field is refused by its name', async () => {
    for (const field of ['event_id', 'customer_id', 'event_name']) {
      for (const value of [undefined, '', 7]) {
        const promise = client.usageEvents.ingest({ events: [event({ [field]: value })] });
        const error = await refusal(promise, 422, 'INVALID_REQUEST_PARAMETERS');
        assert.deepEqual([error.error.event_index, error.error.field], [0, field]);
      }
    }
  });

  test('malformed JSON is refused with its offset', async () => {
    const reply = await post(daemon, '/events/ingest', '{"events":[{"event_id":"x",}]}');
    assert.equal(reply.status, 400);
    assert.equal(reply.body.code, 'INVALID_REQUEST_BODY');
    assert.match(reply.body.message, /\b2[78]\b/);
  });

  test('a body above the limit is refused with 413', async () => {
    const heavy = events(1000, () => ({ metadata: pairsOfText(10, 500) }));
    const error = await refusal(client.usageEvents.ingest({ events: heavy }, { maxRetries: 0 }), 413);
    assert.ok(error.error.message.includes('4194304'), error.message);
    await assertUnknown(client, heavy[0].event_id);
  });

  test('case 8: an event id may hold any characters', async () => {
    for (const id of ['a/b c', '50%', 'q?x=1#y', 'ü-日本', 'a%2Fb', '..', 'a+b&c']) {
      const sent = event({ event_id: `id ${id}` });
      await ingestNew(client, [sent]);
      assert.equal((await client.usageEvents.retrieve(sent.event_id)).event_id, sent.event_id);
    }
    await ingestNew(client, [event({ event_id: 'a/b c' })]);
    assert.equal((await client.usageEvents.retrieve('a/b c')).event_id, 'a/b c');
    await assertUnknown(client, 'never sent', 'a/b');
  });

  test('an event makes its customer known', async () => {
    await ingestNew(client, [event({ customer_id: 'made by an event' })]);
    const customer = await client.customers.retrieve('made by an event');
    assert.equal(customer.customer_id, 'made by an event');
    const completed = await client.customers.create({
      customer_id: 'made by an event', name: 'Ada', email: 'ada@example.com',
    });
    assert.equal(completed.customer_id, 'made by an event');
    assert.equal(completed.name, 'Ada');
    const network = recordingFetch();
    const again = { customer_id: 'made by an event', name: 'Eve', email: 'eve@example.com' };
    await refusal(sdk(daemon, { fetch: network.fetch }).customers.create(again), 409, 'CONFLICT');
    assert.deepEqual(network.statuses, [409], 'the SDK retried what cannot succeed');
    const named = await all(client.customers.list({ email: 'ADA@example.com' }));
    assert.deepEqual(named.map((found) => found.customer_id), ['made by an event']);
  });
});

function pairsOfText(count, length) {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 'v'.repeat(length)]));
}

describe('ingest with unknown customers rejected', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start({ settings: { 'ingest.unknown_customers': 'reject' } });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  test('case 7: an unknown customer refuses the request, and nothing is stored', async () => {
    const known = await client.customers.create({ name: 'Ada', email: 'ada@example.com' });
    const meter = await createMeter(client);
    const good = event({ customer_id: known.customer_id });
    const bad = event({ customer_id: 'nobody' });
    const error = await refusal(client.usageEvents.ingest({ events: [good, bad] }), 404, 'NOT_FOUND');
    assert.ok(error instanceof DodoPayments.NotFoundError);
    assert.equal(error.error.event_index, 1);
    await assertUnknown(client, good.event_id, bad.event_id);
    assert.deepEqual(await all(client.usageEvents.list()), []);
    await refusal(client.customers.retrieve('nobody'), 404, 'NOT_FOUND');
    await ingestNew(client, [good]);
    assert.equal(await total(client, meter, known.customer_id), '1');
  });
});

describe('ingest under the test clock', () => {
  const NOW = '2026-03-10T12:00:00Z';
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start({ testClock: NOW });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  test('the window is exact, and fractions and offsets are understood', async () => {
    const taken = {
      '2026-03-10T11:00:00Z': '2026-03-10T11:00:00Z',
      '2026-03-10T12:05:00Z': '2026-03-10T12:05:00Z',
      '2026-03-10T13:30:00+02:00': '2026-03-10T11:30:00Z',
      '2026-03-10T11:30:00.123456+00:00': '2026-03-10T11:30:00.123456Z',
      '2026-03-10T11:30:00.123456789Z': '2026-03-10T11:30:00.123456789Z',
      '2026-03-10T11:45:00': '2026-03-10T11:45:00Z',
    };
    for (const [timestamp, expected] of Object.entries(taken)) {
      const sent = event({ timestamp });
      await ingestNew(client, [sent]);
      const found = (await client.usageEvents.retrieve(sent.event_id)).timestamp;
      // Trailing zeros of the fraction are the printer's business.
      assert.equal(found.replace(/\.0+Z$|(?<=\.\d+)0+Z$/, 'Z'), expected);
    }
    const refused = [
      '2026-03-10T10:59:59.999999999Z', '2026-03-10T12:05:00.000000001Z', '2026-03-10', 'yesterday', '', 1773144000,
    ];
    for (const timestamp of refused) {
      const error = await refusal(client.usageEvents.ingest({ events: [event({ timestamp })] }), 422);
      assert.equal(error.error.field, 'timestamp');
    }
  });

  test('an event that became too old is a duplicate when its id is known', async () => {
    const sent = event({ timestamp: NOW });
    await ingestNew(client, [sent]);
    assert.equal(Date.parse((await client.get('/clock')).now), Date.parse(NOW));
    await advance(client, '2026-03-10T14:00:00Z');
    const { lsn, ...counts } = await client.usageEvents.ingest({ events: [sent] });
    assert.deepEqual(counts, { ingested_count: 0, duplicate_count: 1, conflict_count: 0 });
    await refusal(client.usageEvents.ingest({ events: [event({ timestamp: NOW })] }), 422);
    await refusal(advance(client, NOW), 422);
  });
});
