// Requests that arrive twice: the SDK's own retries after a lost reply, and `Idempotency-Key`.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { advance, all, createMeter, event, post, recordingFetch, refusal, sdk, total } from './client.mjs';
import { Daemon } from './daemon.mjs';

const METER = { name: 'Calls', event_name: 'api.call', measurement_unit: 'calls', aggregation: { type: 'count' } };

/** A `fetch` that loses the first `count` replies after the daemon has given them. */
function losing(count) {
  const network = recordingFetch(() => {
    if (network.statuses.length <= count) throw new TypeError('the reply was lost on purpose');
  });
  return network;
}

describe('repeated requests', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start({ testClock: '2026-03-10T12:00:00Z' });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  const meterIds = async (name) =>
    (await all(client.meters.list())).filter((meter) => meter.name === name).map((meter) => meter.id);

  test('a retry of the SDK after a lost reply makes one meter', async () => {
    const network = losing(2);
    const made = await createMeter(sdk(daemon, { fetch: network.fetch }), { name: 'lost' });
    assert.deepEqual(network.statuses, [201, 201, 201]);
    assert.deepEqual(await meterIds('lost'), [made.id]);
  });

  test('a retry of the SDK after a lost reply makes one customer', async () => {
    const network = losing(1);
    const customer = { name: 'Lost', email: 'lost@example.com' };
    const made = await sdk(daemon, { fetch: network.fetch }).customers.create(customer);
    assert.equal(network.statuses.length, 2);
    const found = await all(client.customers.list({ email: 'lost@example.com' }));
    assert.deepEqual(found.map((one) => one.customer_id), [made.customer_id]);

    const named = losing(1);
    const withId = { customer_id: 'lost-2', name: 'Lost', email: 'lost-2@example.com' };
    const answer = await sdk(daemon, { fetch: named.fetch }).customers.create(withId);
    assert.equal(answer.customer_id, 'lost-2');
    assert.deepEqual(named.statuses, [200, 200]);
  });

  test('a retry of the SDK after a lost reply counts events once', async () => {
    const meter = await createMeter(client, { event_name: 'lost' });
    const network = losing(2);
    const sent = [event({ event_name: 'lost' }), event({ event_name: 'lost' })];
    const { lsn, ...reply } = await sdk(daemon, { fetch: network.fetch }).usageEvents.ingest({ events: sent });
    assert.deepEqual(reply, { ingested_count: 0, duplicate_count: 2, conflict_count: 0 });
    assert.equal(await total(client, meter), '2');
  });

  test('a retry is known by its count, its route, its body and ten minutes', async () => {
    const retry = { headers: { 'x-stainless-retry-count': '1' } };
    const id = async (body, options) => {
      const reply = await post(daemon, '/meters', body, options);
      assert.equal(reply.status, 201, reply.text);
      return reply.body.id;
    };
    const body = { ...METER, name: 'retried' };
    const first = await id(body, {});
    assert.equal(await id(body, retry), first);
    assert.equal(await id(body, { headers: { 'x-stainless-retry-count': '2' } }), first);
    const second = await id(body, { headers: { 'x-stainless-retry-count': '0' } });
    assert.notEqual(second, first);
    const other = await id({ ...body, description: 'another body' }, retry);
    assert.ok(![first, second].includes(other));

    await daemon.kill();
    await daemon.restart();
    client = sdk(daemon);
    assert.ok([first, second].includes(await id(body, retry)), 'the answer was forgotten in the crash');
    await advance(client, '2026-03-10T12:11:00Z');
    const late = await id(body, retry);
    assert.ok(![first, second].includes(late), 'a retry 11 minutes later is a new request');
    assert.deepEqual((await meterIds('retried')).sort(), [first, second, other, late].sort());
  });

  test('a retry of another key is another request', async () => {
    const { key } = await client.post('/keys', { body: { name: 'second admin', scope: 'admin' } });
    const body = { ...METER, name: 'by two keys' };
    const first = await post(daemon, '/meters', body);
    const second = await post(daemon, '/meters', body, { key, headers: { 'x-stainless-retry-count': '1' } });
    assert.notEqual(second.body.id, first.body.id);
  });

  test('an Idempotency-Key gives the first answer again, also after a crash', async () => {
    const options = { headers: { 'Idempotency-Key': 'order-7' } };
    const made = await client.meters.create({ ...METER, name: 'once' }, options);
    assert.deepEqual(await client.meters.create({ ...METER, name: 'once' }, options), made);
    const customer = { name: 'Once', email: 'once@example.com' };
    const first = await client.customers.create(customer, options);
    assert.deepEqual(await client.customers.create(customer, options), first);

    await daemon.kill();
    await daemon.restart();
    client = sdk(daemon);
    assert.deepEqual(await client.meters.create({ ...METER, name: 'once' }, options), made);
    assert.deepEqual(await meterIds('once'), [made.id]);
    const other = { headers: { 'Idempotency-Key': 'order-8' } };
    assert.notEqual((await client.meters.create({ ...METER, name: 'once' }, other)).id, made.id);
  });

  test('an Idempotency-Key with another body is refused', async () => {
    const options = { headers: { 'Idempotency-Key': 'order-9' } };
    await client.meters.create({ ...METER, name: 'bound' }, options);
    await refusal(client.meters.create({ ...METER, name: 'unbound' }, options), 422);
    assert.deepEqual(await meterIds('unbound'), []);
  });

  test('a refused request does not use up its Idempotency-Key', async () => {
    const options = { headers: { 'Idempotency-Key': 'order-10' } };
    await refusal(client.meters.create({ ...METER, name: '' }, options), 422);
    await client.meters.create({ ...METER, name: 'at last' }, options);
    assert.equal((await meterIds('at last')).length, 1);
  });
});
