// Changes of plan, pauses and charges on demand, through the SDK: cases 25 and 26 of the compatibility
// list, and what stands around them.
//
// Each test has a daemon of its own, as the clock only moves forward. The subscription begins on 1 June,
// a month of 30 days, and HALF is the middle of its first period.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { advance, all, createMeter, event, ingestNew, minutesFrom, post, raw, refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-06-01T00:00:00Z';
const HALF = '2026-06-16T00:00:00Z';
const TURN = '2026-07-01T00:00:00Z';
const GRACE_MINUTES = 70;
const MODES = ['prorated_immediately', 'prorated_immediately_keep_cycle', 'difference_immediately', 'full_immediately', 'do_not_bill'];

let daemon;
let client;

async function start(settings = {}) {
  daemon = await Daemon.start({ testClock: NOW, settings });
  client = sdk(daemon);
}

/** A product with this fixed price; with a meter its units cost 2 cents above 1,000. */
function product(fixed_price, meter = null) {
  const price = {
    currency: 'USD',
    payment_frequency_count: 1,
    payment_frequency_interval: 'Month',
    subscription_period_count: 10,
    subscription_period_interval: 'Year',
  };
  const kind = meter
    ? { type: 'usage_based_price', fixed_price, meters: [{ meter_id: meter.id, price_per_unit: '2', free_threshold: 1000 }] }
    : { type: 'recurring_price', price: fixed_price };
  return client.products.create({ name: `Plan of ${fixed_price}`, tax_category: 'saas', price: { ...price, ...kind } });
}

function subscribe({ product_id }, fields = {}) {
  return client.subscriptions.create({
    product_id,
    quantity: 1,
    customer: { email: 'a@example.com', name: 'A' },
    billing: { country: 'US' },
    ...fields,
  });
}

async function payments(subscription_id) {
  const found = await all(client.payments.list({ subscription_id }));
  return found.map(({ charge_type, total_amount, status }) => [charge_type, total_amount, status]);
}

function change(to, fields = {}) {
  return { product_id: to.product_id, quantity: 1, proration_billing_mode: 'prorated_immediately', ...fields };
}

function sum() {
  return createMeter(client, { aggregation: { type: 'sum', key: 'n' } });
}

function use(made, n, fields = {}) {
  return ingestNew(client, [event({ customer_id: made.customer.customer_id, metadata: { n }, ...fields })]);
}

afterEach(() => daemon.close());

describe('changes of plan', () => {
  beforeEach(() => start());

  test('from $30 to $80 after half a period the five modes cost 65, 25, 50, 80 and nothing', async () => {
    const [small, large] = [await product(3000), await product(8000)];
    const made = [];
    for (const mode of MODES) made.push([mode, await subscribe(small)]);
    await advance(client, HALF);
    const found = [];
    for (const [mode, { subscription_id }] of made) {
      const asked = change(large, { proration_billing_mode: mode });
      const preview = await client.subscriptions.previewChangePlan(subscription_id, asked);
      const { payment_id } = await client.subscriptions.changePlan(subscription_id, asked);
      const payment = await client.payments.retrieve(payment_id);
      assert.deepEqual([payment.charge_type, payment.includes_usage, payment.status], ['plan_change', false, 'succeeded']);
      assert.equal(preview.immediate_charge.summary.total_amount, payment.total_amount);
      const after = await client.subscriptions.retrieve(subscription_id);
      assert.equal(after.product_id, large.product_id);
      const restarts = !mode.endsWith('keep_cycle') && mode !== 'do_not_bill';
      assert.equal(after.next_billing_date, restarts ? '2026-07-16T00:00:00Z' : TURN);
      assert.equal(preview.new_plan.next_billing_date, after.next_billing_date);
      found.push(payment.total_amount);
    }
    assert.deepEqual(found, [6500, 2500, 5000, 8000, 0]);
  });

  test('less than nothing is kept, shown, and taken from later invoices', async () => {
    const [small, large] = [await product(3000), await product(8000)];
    const { subscription_id } = await subscribe(large);
    await advance(client, HALF);
    const asked = change(small, { proration_billing_mode: 'difference_immediately' });
    const { immediate_charge } = await client.subscriptions.previewChangePlan(subscription_id, asked);
    assert.deepEqual([immediate_charge.summary.total_amount, immediate_charge.summary.customer_credits], [0, 5000]);
    assert.deepEqual(
      immediate_charge.line_items.map(({ type, unit_price, proration_factor, amount }) => [type, unit_price, proration_factor, amount]),
      [['subscription', 3000, 1, 3000], ['subscription', -8000, 1, -8000]],
    );
    await client.subscriptions.changePlan(subscription_id, asked);
    assert.equal((await client.subscriptions.retrieve(subscription_id)).customer_credits, 5000);
    await advance(client, minutesFrom('2026-08-16T00:00:00Z', GRACE_MINUTES));
    assert.deepEqual(await payments(subscription_id), [
      ['renewal', 1000, 'succeeded'],
      ['renewal', 0, 'succeeded'],
      ['renewal', 0, 'succeeded'],
      ['plan_change', 0, 'succeeded'],
      ['new', 8000, 'succeeded'],
    ]);
    assert.equal((await client.subscriptions.retrieve(subscription_id)).customer_credits, 0);
  });

  test('case 26: the preview has the usage so far, which is billed by itself at the old price', async () => {
    const meter = await sum();
    const [small, large] = [await product(3000, meter), await product(8000, meter)];
    const made = await subscribe(small);
    await use(made, 1500);
    await advance(client, HALF);
    const { immediate_charge } = await client.subscriptions.previewChangePlan(made.subscription_id, change(large));
    const [line] = immediate_charge.line_items.filter(({ type }) => type === 'meter');
    assert.deepEqual(
      [line.id, line.units_consumed, line.free_threshold, line.chargeable_units, line.price_per_unit, line.subtotal],
      [meter.id, '1500', 1000, '500', '2', 1000],
    );
    assert.equal(immediate_charge.summary.total_amount, 6500);
    await client.subscriptions.changePlan(made.subscription_id, change(large));
    await use(made, 1200, { timestamp: minutesFrom(HALF, 1) });
    await advance(client, minutesFrom(HALF, GRACE_MINUTES));
    const expected = [['renewal', 1000, 'succeeded'], ['plan_change', 6500, 'succeeded'], ['new', 3000, 'succeeded']];
    assert.deepEqual(await payments(made.subscription_id), expected);
    const [running] = (await client.subscriptions.retrieveUsageHistory(made.subscription_id)).items;
    assert.deepEqual([running.meters[0].consumed_units, running.meters[0].chargeable_units], ['1200', '200']);
  });

  test('a change that keeps the cycle grants no free units twice', async () => {
    const meter = await sum();
    const [small, large] = [await product(3000, meter), await product(8000, meter)];
    const made = await subscribe(small);
    await use(made, 800);
    await advance(client, HALF);
    await client.subscriptions.changePlan(made.subscription_id, change(large, { proration_billing_mode: 'do_not_bill' }));
    await use(made, 700, { timestamp: minutesFrom(HALF, 1) });
    await advance(client, minutesFrom(TURN, GRACE_MINUTES));
    assert.deepEqual(await payments(made.subscription_id), [
      // 1,500 units in the period, 1,000 of them free, and the new price.
      ['renewal', 8000 + 1000, 'succeeded'],
      ['renewal', 0, 'succeeded'],
      ['plan_change', 0, 'succeeded'],
      ['new', 3000, 'succeeded'],
    ]);
  });

  test('case 26: a scheduled change waits for the turn, is refused twice at once, and can be taken back', async () => {
    const [small, large] = [await product(3000), await product(8000)];
    const { subscription_id } = await subscribe(small);
    const later = change(large, { effective_at: 'next_billing_date', quantity: 2 });
    const { payment_id } = await client.subscriptions.changePlan(subscription_id, later);
    assert.equal(payment_id, null);
    const { scheduled_change } = await client.subscriptions.retrieve(subscription_id);
    assert.deepEqual(
      [scheduled_change.product_id, scheduled_change.quantity, scheduled_change.effective_at],
      [large.product_id, 2, TURN],
    );
    const started = Date.now();
    await refusal(client.subscriptions.changePlan(subscription_id, later), 409);
    assert.ok(Date.now() - started < 300, 'the SDK does not try again');
    await client.subscriptions.cancelChangePlan(subscription_id);
    assert.equal((await client.subscriptions.retrieve(subscription_id)).scheduled_change, null);
    await refusal(client.subscriptions.cancelChangePlan(subscription_id), 404);
    await client.subscriptions.changePlan(subscription_id, later);
    await client.subscriptions.changePlan(subscription_id, { ...later, quantity: 3, cancel_scheduled_change_plan: true });
    await advance(client, minutesFrom(TURN, GRACE_MINUTES));
    const after = await client.subscriptions.retrieve(subscription_id);
    assert.deepEqual([after.product_id, after.quantity, after.scheduled_change], [large.product_id, 3, null]);
    assert.deepEqual(await payments(subscription_id), [['renewal', 24_000, 'succeeded'], ['new', 3000, 'succeeded']]);
  });

  test('a change in a trial ends it, and one at the very boundary acts on the new period', async () => {
    const [small, large] = [await product(3000), await product(8000)];
    const trial = await subscribe(small, { trial_period_days: 10 });
    const regular = await subscribe(small);
    await advance(client, '2026-06-05T00:00:00Z');
    await client.subscriptions.changePlan(trial.subscription_id, change(large));
    assert.deepEqual((await payments(trial.subscription_id))[0], ['plan_change', 8000, 'succeeded']);
    assert.equal((await client.subscriptions.retrieve(trial.subscription_id)).next_billing_date, '2026-07-05T00:00:00Z');
    await advance(client, TURN);
    const kept = change(large, { proration_billing_mode: 'prorated_immediately_keep_cycle' });
    await client.subscriptions.changePlan(regular.subscription_id, kept);
    await advance(client, minutesFrom(TURN, GRACE_MINUTES));
    assert.deepEqual((await payments(regular.subscription_id)).slice(0, 3), [
      ['renewal', 0, 'succeeded'],
      ['renewal', 3000, 'succeeded'],
      ['plan_change', 5000, 'succeeded'],
    ]);
  });

  test('what cannot be changed is refused by its name', async () => {
    const [small, once] = [await product(3000), await client.products.create({
      name: 'Once', tax_category: 'saas', price: { type: 'one_time_price', currency: 'USD', price: 1 },
    })];
    const euro = await client.products.create({
      name: 'Euro', tax_category: 'saas',
      price: {
        type: 'recurring_price', currency: 'EUR', price: 1, payment_frequency_count: 1, payment_frequency_interval: 'Month',
        subscription_period_count: 1, subscription_period_interval: 'Year',
      },
    });
    const { subscription_id } = await subscribe(small);
    for (const [field, fields] of [
      ['product_id', { product_id: once.product_id }],
      ['product_id', { product_id: euro.product_id }],
      ['quantity', { quantity: 0 }],
      ['proration_billing_mode', { proration_billing_mode: 'half' }],
      ['effective_at', { effective_at: 'tomorrow' }],
      ['addons', { addons: [{ addon_id: 'a', quantity: 1 }] }],
      ['discount_code', { discount_code: 'HALF' }],
    ]) {
      for (const ask of ['changePlan', 'previewChangePlan']) {
        const { error } = await refusal(client.subscriptions[ask](subscription_id, change(small, fields)), 422);
        assert.equal(error.field, field, JSON.stringify(fields));
      }
    }
    await refusal(client.subscriptions.changePlan(subscription_id, change({ product_id: 'pdt_none' })), 404);
    await refusal(client.subscriptions.changePlan('sub_none', change(small)), 404);
    await client.subscriptions.update(subscription_id, { status: 'paused' });
    await refusal(client.subscriptions.changePlan(subscription_id, change(small)), 409);
    assert.equal((await payments(subscription_id)).length, 1);
  });
});

describe('pauses', () => {
  beforeEach(() => start());

  test('case 25: usage until the pause is billed, none of the pause is, and the dates move', async () => {
    const made = await subscribe(await product(3000, await sum()));
    const { subscription_id } = made;
    await use(made, 1500);
    await advance(client, HALF);
    const paused = await client.subscriptions.update(subscription_id, { status: 'paused' });
    assert.deepEqual([paused.status, paused.paused_at], ['paused', HALF]);
    await advance(client, minutesFrom(HALF, GRACE_MINUTES));
    await use(made, 9999);
    assert.deepEqual((await payments(subscription_id))[0], ['renewal', 1000, 'succeeded']);
    const resumed = '2026-06-26T00:00:00Z';
    await advance(client, resumed);
    const active = await client.subscriptions.update(subscription_id, { status: 'active' });
    assert.deepEqual([active.status, active.paused_at, active.next_billing_date], ['active', null, '2026-07-11T00:00:00Z']);
    await use(made, 10);
    await advance(client, minutesFrom('2026-07-11T00:00:00Z', GRACE_MINUTES));
    assert.deepEqual(await payments(subscription_id), [
      // The free units were used before the pause.
      ['renewal', 3000 + 20, 'succeeded'],
      ['renewal', 1000, 'succeeded'],
      ['new', 3000, 'succeeded'],
    ]);
  });

  test('case 25: the status stands alone, and the old flag is refused', async () => {
    const { subscription_id } = await subscribe(await product(3000));
    for (const [field, patch] of [
      ['status', { status: 'paused', metadata: {} }],
      ['status', { status: 'active', cancel_at_next_billing_date: true }],
      ['status', { status: 'on_hold' }],
      ['pause', { pause: true }],
      ['pause', { pause: false }],
    ]) {
      const { error } = await refusal(client.subscriptions.update(subscription_id, patch), 422);
      assert.equal(error.field, field, JSON.stringify(patch));
    }
    await refusal(client.subscriptions.update(subscription_id, { status: 'active' }), 409);
    await client.subscriptions.update(subscription_id, { status: 'paused' });
    await refusal(client.subscriptions.update(subscription_id, { status: 'paused' }), 409);
    const listed = await all(client.subscriptions.list({ status: 'paused' }));
    assert.deepEqual(listed.map((item) => item.subscription_id), [subscription_id]);
    await advance(client, '2026-12-01T00:00:00Z');
    assert.equal((await payments(subscription_id)).length, 2, 'nothing falls due in a pause');
    assert.equal((await client.subscriptions.update(subscription_id, { status: 'cancelled' })).status, 'cancelled');
  });
});

describe('charges on demand', () => {
  beforeEach(() => start());

  test('only what is asked for is charged', async () => {
    const plan = await product(3000);
    const on_demand = { mandate_only: true };
    const mandate = await subscribe(plan, { on_demand });
    const charged = await subscribe(plan, { on_demand: { mandate_only: false, product_price: 1234 } });
    const shown = await client.subscriptions.retrieve(mandate.subscription_id);
    assert.deepEqual([shown.on_demand, shown.next_billing_date, shown.expires_at], [true, '2036-06-01T00:00:00Z', '2036-06-01T00:00:00Z']);
    await advance(client, '2026-09-01T00:00:00Z');
    assert.deepEqual(await payments(mandate.subscription_id), [['new', 0, 'succeeded']]);
    assert.deepEqual(await payments(charged.subscription_id), [['new', 1234, 'succeeded']]);
    const { payment_id } = await client.subscriptions.charge(mandate.subscription_id, { product_price: 77, metadata: { order: 'o-1' } });
    const payment = await client.payments.retrieve(payment_id);
    assert.deepEqual([payment.charge_type, payment.total_amount, payment.metadata], ['on_demand', 77, { order: 'o-1' }]);
    const regular = await subscribe(plan);
    await refusal(client.subscriptions.charge(regular.subscription_id, { product_price: 1 }), 409);
    const { error } = await refusal(client.subscriptions.charge(mandate.subscription_id, { product_price: -1 }), 422);
    assert.equal(error.field, 'product_price');
    await refusal(client.subscriptions.changePlan(mandate.subscription_id, change(plan)), 409);
    const metered = await product(3000, await sum());
    const refused = await refusal(subscribe(metered, { on_demand }), 422);
    assert.equal(refused.error.field, 'on_demand');
    await client.subscriptions.update(mandate.subscription_id, { status: 'cancelled' });
    await refusal(client.subscriptions.charge(mandate.subscription_id, { product_price: 1 }), 409);
    assert.equal((await payments(mandate.subscription_id)).length, 2);
  });
});

describe('payments that fail', () => {
  async function mark(payment_id, status) {
    const marked = await post(daemon, `/payments/${payment_id}/mark`, { status });
    assert.equal(marked.status, 200, marked.text);
  }

  async function newest(subscription_id) {
    const [found] = await all(client.payments.list({ subscription_id }));
    return found.payment_id;
  }

  test('with a grace it is past due first, and then on hold', async () => {
    await start({ 'billing.collection': 'manual', 'billing.past_due_grace': '3d' });
    const made = await subscribe(await product(3000));
    await mark(made.payment_id, 'succeeded');
    await advance(client, minutesFrom(TURN, GRACE_MINUTES));
    await mark(await newest(made.subscription_id), 'failed');
    const shown = await client.subscriptions.retrieve(made.subscription_id);
    assert.deepEqual([shown.status, shown.past_due_until], ['past_due', '2026-07-04T01:10:00Z']);
    await refusal(client.subscriptions.update(made.subscription_id, { status: 'paused' }), 409);
    await advance(client, '2026-07-10T00:00:00Z');
    assert.equal((await client.subscriptions.retrieve(made.subscription_id)).status, 'on_hold');
    const failed = await newest(made.subscription_id);
    const retried = await post(daemon, `/payments/${failed}/retry`, {});
    await mark(retried.body.payment_id, 'succeeded');
    assert.equal((await client.subscriptions.retrieve(made.subscription_id)).status, 'active');
  });

  test('with the other action it is cancelled when its time is over', async () => {
    await start({ 'billing.collection': 'manual', 'billing.past_due_grace': '1d', 'billing.past_due_action': 'cancel' });
    const made = await subscribe(await product(3000));
    await mark(made.payment_id, 'succeeded');
    await advance(client, minutesFrom(TURN, GRACE_MINUTES));
    await mark(await newest(made.subscription_id), 'failed');
    await advance(client, '2026-07-10T00:00:00Z');
    const ended = await client.subscriptions.retrieve(made.subscription_id);
    assert.deepEqual([ended.status, ended.cancelled_at], ['cancelled', '2026-07-02T01:10:00Z']);
  });

  test('a change of plan that waits for its payment takes effect with it, or is dropped', async () => {
    await start({ 'billing.collection': 'manual' });
    const [small, large] = [await product(3000), await product(8000)];
    const made = await subscribe(small);
    await mark(made.payment_id, 'succeeded');
    const asked = change(large, { on_payment_failure: 'prevent_change', proration_billing_mode: 'full_immediately' });
    const first = await client.subscriptions.changePlan(made.subscription_id, asked);
    await refusal(client.subscriptions.changePlan(made.subscription_id, asked), 409);
    await mark(first.payment_id, 'failed');
    const kept = await client.subscriptions.retrieve(made.subscription_id);
    assert.deepEqual([kept.status, kept.product_id], ['active', small.product_id]);
    const retry = await raw(daemon, 'POST', `/payments/${first.payment_id}/retry`);
    assert.equal(retry.status, 409, 'what it was for was dropped');
    const second = await client.subscriptions.changePlan(made.subscription_id, asked);
    await mark(second.payment_id, 'succeeded');
    assert.equal((await client.subscriptions.retrieve(made.subscription_id)).product_id, large.product_id);
  });
});
