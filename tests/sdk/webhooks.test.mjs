// Webhooks through the SDK: case 38 of the compatibility list, and the webhook halves of cases 21, 30 and 36.
// Every payload is verified by the SDK's `unwrap` and by the library of Standard Webhooks.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { Webhook } from 'standardwebhooks';

import { advance, all, createMeter, events, ingestNew, refusal, sdk } from './client.mjs';
import { Daemon, until } from './daemon.mjs';

const NOW = '2026-03-10T12:00:00Z';
const AFTER_A_CYCLE = '2026-04-10T14:00:00Z';

/** A receiver that keeps what came; `status(got)` says what it answers. */
class Receiver {
  got = [];
  status = () => 200;

  static async start() {
    const receiver = new Receiver();
    receiver.server = createServer((request, reply) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        const got = { headers: request.headers, body: Buffer.concat(parts).toString() };
        got.event = JSON.parse(got.body);
        receiver.got.push(got);
        reply.writeHead(receiver.status(got)).end('seen');
      });
    });
    await new Promise((listening) => receiver.server.listen(0, '127.0.0.1', listening));
    receiver.url = `http://127.0.0.1:${receiver.server.address().port}/hooks`;
    return receiver;
  }

  /** The messages, once there are so many. */
  async messages(count) {
    await until(`${count} messages`, () => this.got.length >= count);
    return this.got;
  }

  types() {
    return this.got.map((got) => got.event.type).sort();
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

describe('webhooks', () => {
  let daemon;
  let client;
  let receiver;
  before(async () => {
    daemon = await Daemon.start({ testClock: NOW, settings: { 'webhooks.allow_loopback': true } });
    client = sdk(daemon);
  });
  after(() => daemon.close());
  afterEach(() => receiver.close());
  beforeEach(async () => {
    receiver = await Receiver.start();
    for (const webhook of await all(client.webhooks.list())) await client.webhooks.delete(webhook.id);
  });

  const endpoint = (fields = {}) => client.webhooks.create({ url: receiver.url, ...fields });
  const secretOf = async ({ id }) => (await client.webhooks.retrieveSecret(id)).secret;

  /** Verifies what a receiver got in every way there is; the payloads. */
  async function verified(webhook, list) {
    const secret = await secretOf(webhook);
    const library = new Webhook(secret);
    return list.map(({ headers, body }) => {
      const unwrapped = client.webhooks.unwrap(body, { headers, key: secret });
      assert.deepEqual(unwrapped, JSON.parse(body));
      assert.deepEqual(library.verify(body, headers), JSON.parse(body));
      const wrong = `whsec_${Buffer.alloc(24).toString('base64')}`;
      assert.throws(() => client.webhooks.unwrap(body, { headers, key: wrong }));
      assert.throws(() => library.verify(`${body} `, headers));
      return unwrapped;
    });
  }

  test('case 38: an endpoint is made, listed, changed and deleted', async () => {
    const made = await endpoint({ description: 'books', metadata: { team: 'a' }, headers: { 'X-A': 'b' } });
    const { id, created_at, updated_at, ...rest } = made;
    assert.match(id, /^whk_[0-9A-Za-z]{21}$/);
    assert.deepEqual([created_at, updated_at], [NOW, NOW]);
    assert.deepEqual(rest, {
      url: receiver.url,
      description: 'books',
      disabled: false,
      disabled_reason: null,
      failing_since: null,
      filter_types: null,
      metadata: { team: 'a' },
      rate_limit: null,
    });
    assert.deepEqual(await client.webhooks.retrieve(id), made);
    assert.match(await secretOf(made), /^whsec_[0-9A-Za-z+/]{32}$/);
    assert.deepEqual(await client.webhooks.headers.retrieve(id), { headers: { 'x-a': 'b' }, sensitive: [] });
    await client.webhooks.headers.update(id, { headers: { 'X-C': 'd' } });
    assert.deepEqual((await client.webhooks.headers.retrieve(id)).headers, { 'x-a': 'b', 'x-c': 'd' });
    const changed = await client.webhooks.update(id, { filter_types: ['payment.succeeded'], rate_limit: 5 });
    assert.deepEqual([changed.filter_types, changed.rate_limit], [['payment.succeeded'], 5]);
    for (let more = 0; more < 11; more += 1) await endpoint();
    assert.equal((await all(client.webhooks.list({ limit: 5 }))).length, 12);
    assert.equal((await all(client.webhooks.list())).length, 12);
    await client.webhooks.delete(id);
    await refusal(client.webhooks.retrieve(id), 404, 'NOT_FOUND');
    assert.equal((await all(client.webhooks.list({ limit: 4 }))).length, 11);
    await refusal(client.webhooks.create({ url: 'http://example.com/' }), 422, 'INVALID_REQUEST_PARAMETERS');
  });

  test('cases 21, 30, 36 and 38: a cycle and its credits are told, signed, to whom they concern', async () => {
    const everything = await endpoint();
    const other = await Receiver.start();
    const few = await endpoint({ url: other.url, filter_types: ['credit.balance_low'] });
    const customer = await client.customers.create({ name: 'Ann', email: 'ann@example.com' });
    const credit = await client.creditEntitlements.create({
      name: 'Tokens', unit: 'token', precision: 2, overage_enabled: false, rollover_enabled: false,
    });
    const meter = await createMeter(client);
    const product = await client.products.create({
      name: 'Plan',
      tax_category: 'saas',
      price: {
        type: 'usage_based_price', currency: 'USD', fixed_price: 4900, discount: 0,
        purchasing_power_parity: false,
        payment_frequency_count: 1, payment_frequency_interval: 'Month',
        subscription_period_count: 1, subscription_period_interval: 'Year',
        meters: [{ meter_id: meter.id, credit_entitlement_id: credit.id, meter_units_per_credit: '1' }],
      },
      credit_entitlements: [
        { credit_entitlement_id: credit.id, credits_amount: '100', low_balance_threshold_percent: 20 },
      ],
    });
    const { subscription_id } = await client.subscriptions.create({
      product_id: product.product_id, quantity: 1, customer: { customer_id: customer.customer_id },
      billing: { country: 'US', city: null, state: null, street: null, zipcode: null },
    });
    await receiver.messages(3);
    assert.deepEqual(receiver.types(), ['credit.added', 'payment.succeeded', 'subscription.active']);
    const calls = events(85, () => ({ customer_id: customer.customer_id }));
    await ingestNew(client, calls);
    await advance(client, '2026-03-10T12:02:00Z');
    await receiver.messages(6);
    const low = (await verified(few, await other.messages(1)))[0];
    const { business_id, timestamp, ...told } = low;
    assert.deepEqual(told, {
      type: 'credit.balance_low',
      data: {
        payload_type: 'CreditBalanceLow',
        brand_id: 'brnd_quipu',
        customer_id: customer.customer_id,
        subscription_id,
        credit_entitlement_id: credit.id,
        credit_entitlement_name: 'Tokens',
        available_balance: '19',
        subscription_credits_amount: '100',
        threshold_amount: '20',
        threshold_percent: 20,
      },
    });
    // Several are under way at once: their ids say in which order things happened.
    const happened = (one, other) => (one.headers['webhook-id'] < other.headers['webhook-id'] ? -1 : 1);
    const deducted = receiver.got.filter((got) => got.event.type === 'credit.deducted').sort(happened);
    assert.deepEqual(deducted.map((got) => got.event.data.amount), ['81', '4']);
    await advance(client, AFTER_A_CYCLE);
    await receiver.messages(11);
    assert.deepEqual(receiver.types().filter((type) => !type.startsWith('credit.')), [
      'payment.succeeded', 'payment.succeeded', 'subscription.active', 'subscription.renewed',
      'subscription.updated',
    ]);
    assert.equal(other.got.length, 1);
    const payloads = await verified(everything, receiver.got);
    assert.equal(new Set(receiver.got.map((got) => got.headers['webhook-id'])).size, payloads.length);
    for (const { type, data } of payloads) {
      const { payload_type, ...resource } = data;
      if (payload_type === 'Payment') {
        assert.deepEqual(resource, await client.payments.retrieve(data.payment_id));
      } else if (type === 'subscription.renewed') {
        assert.equal(payload_type, 'Subscription');
        assert.deepEqual(resource, await client.subscriptions.retrieve(subscription_id));
      }
    }
    const rows = await all(client.creditEntitlements.balances.listLedger(customer.customer_id, {
      credit_entitlement_id: credit.id,
    }));
    const ofCredits = payloads.filter((payload) => payload.data.payload_type === 'CreditLedgerEntry');
    const byId = (one, next) => (one.id < next.id ? -1 : 1);
    assert.deepEqual(
      ofCredits.map(({ data: { payload_type, ...row } }) => row).sort(byId),
      rows.sort(byId),
    );
    other.close();
  });

  test('case 38: a retry keeps the id and gets a new time', async () => {
    const webhook = await endpoint();
    let refusals = 1;
    receiver.status = () => (refusals-- > 0 ? 503 : 200);
    await client.post(`/webhooks/${webhook.id}/test`);
    const [first, second] = await receiver.messages(2);
    assert.equal(first.headers['webhook-id'], second.headers['webhook-id']);
    assert.equal(first.body, second.body);
    assert.ok(second.headers['webhook-timestamp'] - first.headers['webhook-timestamp'] >= 5);
    await verified(webhook, [first, second]);
    const secret = await secretOf(webhook);
    await client.post(`/webhooks/${webhook.id}/secret/rotate`);
    assert.notEqual(await secretOf(webhook), secret);
    await client.post(`/webhooks/${webhook.id}/test`);
    const third = (await receiver.messages(3))[2];
    await verified(webhook, [third]);
    client.webhooks.unwrap(third.body, { headers: third.headers, key: secret });
  });
});
