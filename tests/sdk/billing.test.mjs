// Products, subscriptions and what they are billed, through the SDK: cases 15 to 24 and 44 of the
// compatibility list, without webhooks.
//
// Each test has a daemon of its own, as the clock only moves forward. A cycle that starts at NOW
// turns at TURN; its invoice is made at CLOSE, when no event can come for it any more.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { advance, all, createMeter, event, events, ingestNew, minutesFrom, raw, refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-03-10T12:00:00Z';
const TURN = '2026-04-10T12:00:00Z';
const SECOND_TURN = '2026-05-10T12:00:00Z';
const GRACE_MINUTES = 70;
const CLOSE = minutesFrom(TURN, GRACE_MINUTES);
const INVALID = 'INVALID_REQUEST_PARAMETERS';

let daemon;
let client;

beforeEach(async () => {
  daemon = await Daemon.start({ testClock: NOW });
  client = sdk(daemon);
});
afterEach(() => daemon.close());

/** A meter that sums `n`. */
function createSum(fields = {}) {
  return createMeter(client, { aggregation: { type: 'sum', key: 'n' }, ...fields });
}

/** A price with usage: monthly, nothing fixed and 2 cents a unit above 1,000, unless `fields` say otherwise. */
function usagePrice(meter, fields = {}) {
  return {
    type: 'usage_based_price',
    currency: 'USD',
    fixed_price: 0,
    payment_frequency_count: 1,
    payment_frequency_interval: 'Month',
    subscription_period_count: 10,
    subscription_period_interval: 'Year',
    meters: [{ meter_id: meter.id, price_per_unit: '2', free_threshold: 1000 }],
    ...fields,
  };
}

function createProduct(price, fields = {}) {
  return client.products.create({ name: 'Pro', tax_category: 'saas', price, ...fields });
}

function subscribe(product, fields = {}) {
  return client.subscriptions.create({
    product_id: product.product_id,
    quantity: 1,
    customer: { email: 'a@example.com', name: 'A' },
    billing: { country: 'US' },
    ...fields,
  });
}

/** A subscription to a new product of this price, with its customer's id. */
async function subscribed(price, fields = {}) {
  const made = await subscribe(await createProduct(price), fields);
  return { id: made.subscription_id, customer_id: made.customer.customer_id, made };
}

/** One event of `n` units. */
function use(customer_id, n, fields = {}) {
  return ingestNew(client, [event({ customer_id, metadata: { n }, ...fields })]);
}

/** What matters of a subscription's payments, newest first. */
async function payments(subscription_id) {
  const found = await all(client.payments.list({ subscription_id }));
  return found.map(({ charge_type, total_amount, status }) => ({ charge_type, total_amount, status }));
}

function payment(charge_type, total_amount) {
  return { charge_type, total_amount, status: 'succeeded' };
}

function history(id, query = {}) {
  return all(client.subscriptions.retrieveUsageHistory(id, query));
}

function instants(...texts) {
  return texts.map((text) => Date.parse(text));
}

describe('products', () => {
  test('case 17: a product shows what its meters are called', async () => {
    const calls = await createMeter(client, { description: 'All calls' });
    const tokens = await createSum({ name: 'Tokens', measurement_unit: 'tokens' });
    const price = usagePrice(calls, {
      fixed_price: 4900,
      discount_bps: 1000,
      meters: [
        { meter_id: calls.id, price_per_unit: '0.50', free_threshold: 100, name: 'ignored', measurement_unit: 'ignored' },
        { meter_id: tokens.id, price_per_unit: '0.000225' },
      ],
    });
    const made = await createProduct(price, { description: 'For teams', metadata: { tier: 2, beta: true } });
    assert.match(made.product_id, /^pdt_/);
    assert.deepEqual(
      [made.name, made.description, made.tax_category, made.is_recurring, made.metadata, made.business_id, made.brand_id],
      ['Pro', 'For teams', 'saas', true, { tier: 2, beta: true }, 'bus_quipu', 'brnd_quipu'],
    );
    const { meters, ...rest } = made.price;
    assert.deepEqual(rest, {
      type: 'usage_based_price',
      currency: 'USD',
      fixed_price: 4900,
      discount: 10,
      discount_bps: 1000,
      payment_frequency_count: 1,
      payment_frequency_interval: 'Month',
      subscription_period_count: 10,
      subscription_period_interval: 'Year',
      tax_inclusive: false,
      purchasing_power_parity: false,
    });
    const credits = { credit_entitlement_id: null, meter_units_per_credit: null };
    assert.deepEqual(meters, [
      { meter_id: calls.id, name: 'Calls', description: 'All calls', measurement_unit: 'calls', price_per_unit: '0.5', free_threshold: 100, ...credits },
      { meter_id: tokens.id, name: 'Tokens', description: null, measurement_unit: 'tokens', price_per_unit: '0.000225', free_threshold: 0, ...credits },
    ]);
    assert.deepEqual(await client.products.retrieve(made.product_id), made);
    await refusal(client.products.retrieve('pdt_nowhere'), 404, 'NOT_FOUND');
  });

  test('tiers, packages and bounds pass through the SDK', async () => {
    const meter = await createMeter(client);
    const other = await createSum();
    const tiers = [
      { up_to: '1000', price_per_unit: '2', flat_fee: 500 },
      { up_to: null, price_per_unit: '0', flat_fee: 0 },
    ];
    const meters = [
      { meter_id: meter.id, tier_mode: 'graduated', tiers, minimum_amount: 100 },
      { meter_id: other.id, price_per_unit: '250', package_size: 1000, maximum_amount: 5000 },
    ];
    const { id, customer_id } = await subscribed(usagePrice(meter, { meters }));
    await use(customer_id, 1500);
    const { product_id } = await client.subscriptions.retrieve(id);
    const found = (await client.products.retrieve(product_id)).price.meters;
    const members = ({ price_per_unit, tier_mode, tiers, package_size, minimum_amount, maximum_amount }) =>
      [price_per_unit, tier_mode, tiers, package_size, minimum_amount, maximum_amount];
    const none = undefined;
    const packages = ['250', none, none, 1000, none, 5000];
    assert.deepEqual(found.map(members), [[null, 'graduated', tiers, none, 100, none], packages]);
    const sold = (await client.subscriptions.retrieve(id)).meters;
    assert.deepEqual(sold.map(members), [['2', 'graduated', tiers, none, 100, none], packages]);
    const [{ meters: used }] = await history(id);
    assert.deepEqual(used.map((line) => [line.price_per_unit, line.total_price, line.packages]), [['2', 502, none], ['250', 500, '2']]);
    assert.deepEqual(used[0].tiers, [{ up_to: '1000', units: '1', price_per_unit: '2', flat_fee: 500 }]);
  });

  test('case 17: one-time and recurring prices come back as they were sent', async () => {
    const once = { type: 'one_time_price', currency: 'JPY', price: 500, discount: 5 };
    const monthly = { ...usagePrice({ id: '' }), type: 'recurring_price', price: 3000, trial_period_days: 14 };
    delete monthly.meters;
    delete monthly.fixed_price;
    for (const [price, isRecurring] of [[once, false], [monthly, true]]) {
      const made = await createProduct(price);
      assert.equal(made.is_recurring, isRecurring);
      for (const [name, value] of Object.entries(price)) assert.equal(made.price[name], value, name);
    }
    const ids = async (query) => (await all(client.products.list(query))).map((found) => found.price_detail.type);
    assert.deepEqual(await ids(), ['recurring_price', 'one_time_price']);
    assert.deepEqual(await ids({ recurring: true }), ['recurring_price']);
    assert.deepEqual(await ids({ recurring: false }), ['one_time_price']);
    assert.deepEqual(await ids({ brand_id: 'brnd_quipu' }), ['recurring_price', 'one_time_price']);
    assert.deepEqual(await ids({ brand_id: 'brnd_other' }), []);
  });

  test('a change, an archive and its reversal answer nothing', async () => {
    const meter = await createMeter(client);
    const { product_id } = await createProduct(usagePrice(meter), { description: 'old' });
    const path = `/products/${product_id}`;
    for (const [method, suffix, body] of [
      ['PATCH', '', JSON.stringify({ name: 'New', description: null })],
      ['DELETE', ''],
      ['POST', '/unarchive'],
    ]) {
      const headers = { 'content-type': 'application/json' };
      const reply = await raw(daemon, method, `${path}${suffix}`, { headers, body });
      assert.deepEqual([reply.status, reply.text, reply.headers.get('content-length')], [200, '', '0'], method);
    }
    await client.products.update(product_id, { price: usagePrice(meter, { fixed_price: 100 }) });
    await client.products.archive(product_id);
    assert.deepEqual(await all(client.products.list()), []);
    assert.equal((await all(client.products.list({ archived: true })))[0].product_id, product_id);
    await client.products.unarchive(product_id);
    const found = await client.products.retrieve(product_id);
    assert.deepEqual([found.name, found.description, found.price.fixed_price], ['New', null, 100]);
    const otherType = { price: { type: 'one_time_price', currency: 'USD', price: 1 } };
    await refusal(client.products.update(product_id, otherType), 422);
    await refusal(client.products.update('pdt_nowhere', { name: 'x' }), 404, 'NOT_FOUND');
  });

  test('case 18: the price of a unit is a text of at most 5 and 12 digits, above zero', async () => {
    const meter = await createMeter(client);
    const made = (price_per_unit) => createProduct(usagePrice(meter, { meters: [{ meter_id: meter.id, price_per_unit }] }));
    for (const price of ['0.000225', '99999.999999999999', '2']) {
      assert.equal((await made(price)).price.meters[0].price_per_unit, price);
    }
    for (const price of ['100000', '0', '-1', '0.1234567890123', 'abc', '', '1e2', 2, 0.5, null, undefined]) {
      const { error } = await refusal(made(price), 422, INVALID);
      assert.equal(error.field, 'price.meters.0.price_per_unit', `${price}`);
    }
  });

  test('what is no price is refused by the name of its member', async () => {
    const meter = await createMeter(client);
    const attached = { meter_id: meter.id, price_per_unit: '1' };
    const others = await Promise.all(Array.from({ length: 10 }, () => createMeter(client)));
    const eleven = [meter, ...others].map(({ id }) => ({ meter_id: id, price_per_unit: '1' }));
    for (const [field, fields] of [
      ['type', { type: 'tiered_price' }],
      ['type', { type: undefined }],
      ['currency', { currency: 'usd' }],
      ['currency', { currency: 'XXX' }],
      ['fixed_price', { fixed_price: -1 }],
      ['fixed_price', { fixed_price: 1.5 }],
      ['fixed_price', { fixed_price: '1' }],
      ['fixed_price', { fixed_price: undefined }],
      ['discount', { discount: 101 }],
      ['discount_bps', { discount_bps: 10_001 }],
      ['payment_frequency_count', { payment_frequency_count: 0 }],
      ['payment_frequency_interval', { payment_frequency_interval: 'month' }],
      ['subscription_period_count', { subscription_period_count: 27, subscription_period_interval: 'Day' }],
      ['trial_amount', { trial_amount: 1 }],
      ['pay_what_you_want', { pay_what_you_want: true }],
      ['meters', { meters: eleven }],
      ['meters.1.meter_id', { meters: [attached, attached] }],
      ['meters.0.meter_id', { meters: [{ ...attached, meter_id: '' }] }],
      ['meters.0.free_threshold', { meters: [{ ...attached, free_threshold: -1 }] }],
      ['meters.0.free_threshold', { meters: [{ ...attached, free_threshold: 0.5 }] }],
      ['meters.0.credit_entitlement_id', { meters: [{ ...attached, meter_units_per_credit: '1' }] }],
      ['meters.0.price_per_unit', { meters: [{ ...attached, credit_entitlement_id: 'cde_1', meter_units_per_credit: '1' }] }],
      ['meters', { type: 'recurring_price', price: 1, meters: [attached] }],
    ]) {
      const { error } = await refusal(createProduct(usagePrice(meter, fields)), 422, INVALID);
      assert.equal(error.field, `price.${field}`, JSON.stringify(fields));
    }
    const unknown = usagePrice({ id: 'mtr_nowhere' });
    const error = await createProduct(unknown).catch((error) => error);
    assert.ok([404, 422].includes(error.status), error.message);
    for (const [field, code] of [['currency', 'XYZ'], ['currency', ''], ['currency', 'EURO']]) {
      const { error } = await refusal(createProduct(usagePrice(meter, { currency: code })), 422, INVALID);
      assert.equal(error.field, `price.${field}`, code);
    }
    assert.deepEqual(await all(client.products.list()), []);
  });

  test('what is not offered is refused by its name', async () => {
    const price = { type: 'one_time_price', currency: 'USD', price: 1 };
    for (const [field, value] of [
      ['addons', ['adn_1']],
      ['license_key_enabled', true],
      ['pricing_mode', 'by_country'],
      ['brand_id', 'brnd_other'],
      ['name', 'n'.repeat(101)],
      ['tax_category', 'food'],
    ]) {
      const { error } = await refusal(createProduct(price, { [field]: value }), 422, INVALID);
      assert.equal(error.field, field);
    }
    await createProduct(price, { addons: [], license_key_enabled: false, pricing_mode: null });
  });
});

describe('subscriptions', () => {
  test('case 19: 2,500 events, 1,000 of them free, cost 3,000', async () => {
    const meter = await createMeter(client);
    const { id, customer_id, made } = await subscribed(usagePrice(meter));
    assert.match(id, /^sub_/);
    assert.match(made.payment_id, /^pay_/);
    assert.deepEqual([made.recurring_pre_tax_amount, made.payment_link, made.warnings], [0, null, []]);
    for (let sent = 0; sent < 2500; sent += 500) {
      await ingestNew(client, events(500, () => ({ customer_id })));
    }
    const [period] = await history(id);
    assert.deepEqual(instants(period.start_date, period.end_date), instants(NOW, TURN));
    assert.equal(period.closing, false);
    assert.deepEqual(period.meters, [{
      id: meter.id,
      name: 'Calls',
      consumed_units: '2500',
      free_threshold: 1000,
      chargeable_units: '1500',
      currency: 'USD',
      price_per_unit: '2',
      total_price: 3000,
    }]);
    const upcoming = await client.get(`/customers/${customer_id}/upcoming-invoice`);
    const [item] = upcoming.items;
    assert.deepEqual([upcoming.items.length, item.subscription_id, item.total, item.closing], [1, id, 3000, false]);
    assert.deepEqual(instants(item.period.start, item.period.end, item.due_at, item.close_at), instants(NOW, TURN, TURN, CLOSE));
    const line = item.lines.find((line) => line.meter_id === meter.id);
    assert.deepEqual(
      [line.description, line.consumed_units, line.free_threshold, line.chargeable_units, line.price_per_unit, line.price_version, line.amount],
      ['Calls (calls)', '2500', 1000, '1500', '2', 1, 3000],
    );

    assert.deepEqual(await payments(id), [payment('new', 0)]);
    await advance(client, CLOSE);
    assert.deepEqual(await payments(id), [payment('renewal', 3000), payment('new', 0)]);
    const billed = (await history(id)).at(-1);
    assert.deepEqual([billed.closing, billed.meters], [false, period.meters]);
  });

  // Operator, the filter's value, then values under the key that match and that do not.
  const FILTERS = [
    ['equals', 'pro', ['pro'], ['Pro', 1, true]],
    ['not_equals', 5, [4, 'five'], [5]],
    ['greater_than', 5, [5.000001, 6], [5, '6']],
    ['greater_than_or_equals', 5, [5, 6], [4.999999, true]],
    ['less_than', 5, [4.9, -6], [5, '4']],
    ['less_than_or_equals', 5, [5, -6], [5.1, false]],
    ['contains', 'gpt', ['a-gpt-4'], ['GPT', 5]],
    ['does_not_contain', 'gpt', ['GPT', ''], ['gpt-4', 5]],
  ];

  test('case 15: each operator decides what is billed', async () => {
    const made = [];
    for (const [index, [operator, value]] of FILTERS.entries()) {
      const clause = { key: `k${index}`, operator, value };
      made.push(await createMeter(client, { name: operator, filter: { conjunction: 'and', clauses: [clause] } }));
    }
    const meters = made.map(({ id }) => ({ meter_id: id, price_per_unit: '1' }));
    const { id, customer_id } = await subscribed(usagePrice(made[0], { meters }));
    const given = FILTERS.flatMap(([, , matches, mismatches], index) =>
      [...matches, ...mismatches].map((value) => ({ [`k${index}`]: value })));
    await ingestNew(client, [...given, {}, null].map((metadata) => event({ customer_id, metadata })));
    const found = async () => (await history(id)).at(-1).meters.map(({ name, consumed_units }) => [name, consumed_units]);
    const expected = FILTERS.map(([operator, , matches]) => [operator, `${matches.length}`]);
    assert.deepEqual(await found(), expected);
    await advance(client, CLOSE);
    assert.deepEqual(await found(), expected);
    const total = FILTERS.reduce((sum, [, , matches]) => sum + matches.length, 0);
    assert.deepEqual(await payments(id), [payment('renewal', total), payment('new', 0)]);
  });

  test('case 16: texts and missing keys are not aggregated', async () => {
    const made = [];
    for (const type of ['count', 'sum', 'max', 'last']) {
      made.push(await createMeter(client, { aggregation: { type, key: type === 'count' ? null : 'n' } }));
    }
    const meters = made.map(({ id }) => ({ meter_id: id, price_per_unit: '1' }));
    const { id, customer_id } = await subscribed(usagePrice(made[0], { meters }));
    const list = [{ n: 5 }, { n: '7' }, {}, { n: true }, { m: 9 }, null, { n: 2.5 }];
    for (const metadata of list) await ingestNew(client, [event({ customer_id, metadata })]);
    const consumed = async () => (await history(id)).at(-1).meters.map(({ consumed_units }) => consumed_units);
    assert.deepEqual(await consumed(), ['7', '7.5', '5', '2.5']);
    await advance(client, CLOSE);
    assert.deepEqual(await consumed(), ['7', '7.5', '5', '2.5']);
    // 7 + 7.5 + 5 + 2.5, each line rounded half away from zero.
    assert.deepEqual(await payments(id), [payment('renewal', 7 + 8 + 5 + 3), payment('new', 0)]);
  });

  test('usage history is chosen by dates and meter', async () => {
    const [calls, tokens] = [await createMeter(client), await createSum({ name: 'Tokens' })];
    const meters = [calls, tokens].map(({ id }) => ({ meter_id: id, price_per_unit: '1' }));
    const { id, customer_id } = await subscribed(usagePrice(calls, { meters }));
    await use(customer_id, 3);
    await advance(client, minutesFrom(SECOND_TURN, 1));
    const starts = async (query) => instants(...(await history(id, query)).map(({ start_date }) => start_date));
    const [first, second, third] = instants(NOW, TURN, SECOND_TURN);
    assert.deepEqual(await starts({}), [third, second, first]);
    // Both ends belong to what is asked for.
    assert.deepEqual(await starts({ start_date: SECOND_TURN }), [third, second]);
    assert.deepEqual(await starts({ start_date: minutesFrom(SECOND_TURN, 1) }), [third]);
    assert.deepEqual(await starts({ end_date: TURN }), [second, first]);
    assert.deepEqual(await starts({ end_date: minutesFrom(TURN, -1) }), [first]);
    assert.deepEqual(await starts({ start_date: TURN, end_date: TURN }), [second, first]);
    assert.deepEqual(await starts({ end_date: minutesFrom(NOW, -1) }), []);
    const named = await history(id, { meter_id: tokens.id });
    assert.deepEqual(named.map(({ meters }) => meters.map(({ name }) => name)), [['Tokens'], ['Tokens'], ['Tokens']]);
    await refusal(client.subscriptions.retrieveUsageHistory(id, { start_date: 'today' }), 422, 'INVALID_QUERY_PARAMS');
  });

  test('case 20: a fixed price in advance and usage in arrears are one payment', async () => {
    const meter = await createSum();
    const price = usagePrice(meter, { fixed_price: 4900, meters: [{ meter_id: meter.id, price_per_unit: '0.5', free_threshold: 10_000 }] });
    const { id, customer_id } = await subscribed(price);
    await use(customer_id, 25_000);
    await advance(client, CLOSE);
    assert.deepEqual(await payments(id), [payment('renewal', 12_400), payment('new', 4900)]);
    const [renewal, first] = await all(client.payments.list({ subscription_id: id }));
    assert.deepEqual([renewal.includes_usage, first.includes_usage], [true, false]);
    const [service] = renewal.service_periods;
    assert.deepEqual(instants(service.starts_at, service.ends_at), instants(TURN, SECOND_TURN));
  });

  test('case 21: at the turn the dates move and the free units start afresh', async () => {
    const meter = await createSum();
    const { id, customer_id } = await subscribed(usagePrice(meter));
    const dates = async () => {
      const found = await client.subscriptions.retrieve(id);
      return [found.status, found.closing_periods, ...instants(found.previous_billing_date, found.next_billing_date)];
    };
    await use(customer_id, 2500);
    assert.deepEqual(await dates(), ['active', 0, ...instants(NOW, TURN)]);
    await advance(client, TURN);
    assert.deepEqual(await dates(), ['active', 1, ...instants(TURN, SECOND_TURN)]);
    await use(customer_id, 1500);
    const chargeable = async () => (await history(id)).map(({ closing, meters }) => [closing, meters[0].chargeable_units]);
    assert.deepEqual(await chargeable(), [[false, '500'], [true, '1500']]);
    await advance(client, minutesFrom(CLOSE, -1));
    assert.deepEqual(await payments(id), [payment('new', 0)]);
    await advance(client, CLOSE);
    assert.deepEqual(await dates(), ['active', 0, ...instants(TURN, SECOND_TURN)]);
    assert.deepEqual(await chargeable(), [[false, '500'], [false, '1500']]);
    await advance(client, minutesFrom(SECOND_TURN, GRACE_MINUTES));
    assert.deepEqual(await payments(id), [payment('renewal', 1000), payment('renewal', 3000), payment('new', 0)]);
  });

  test('case 21: several boundaries in one step are billed one by one', async () => {
    const { id, customer_id } = await subscribed(usagePrice(await createSum(), { fixed_price: 100 }));
    await use(customer_id, 1001);
    await advance(client, '2026-07-01T00:00:00Z');
    assert.deepEqual(await payments(id), [payment('renewal', 100), payment('renewal', 100), payment('renewal', 102), payment('new', 100)]);
  });

  test('case 22: a late event is billed with the period of its timestamp, once', async () => {
    const meter = await createSum();
    const price = usagePrice(meter, { meters: [{ meter_id: meter.id, price_per_unit: '1' }] });
    const { id, customer_id } = await subscribed(price);
    await advance(client, minutesFrom(TURN, 10));
    await use(customer_id, 5, { timestamp: minutesFrom(TURN, -5) });
    await use(customer_id, 7, { timestamp: TURN });
    const consumed = async () => (await history(id)).map(({ meters }) => meters[0].consumed_units);
    assert.deepEqual(await consumed(), ['7', '5']);
    await advance(client, CLOSE);
    await refusal(client.usageEvents.ingest({ events: [event({ customer_id, timestamp: minutesFrom(TURN, -5) })] }), 422);
    await advance(client, minutesFrom(SECOND_TURN, GRACE_MINUTES));
    assert.deepEqual(await payments(id), [payment('renewal', 7), payment('renewal', 5), payment('new', 0)]);
  });

  test('case 22: what comes ahead of the boundary waits for it, and is billed once', async () => {
    const meter = await createSum();
    const { id, customer_id } = await subscribed(usagePrice(meter, { meters: [{ meter_id: meter.id, price_per_unit: '1' }] }));
    await advance(client, minutesFrom(TURN, -3));
    await use(customer_id, 3, { timestamp: minutesFrom(TURN, 1) });
    await use(customer_id, 4, { timestamp: minutesFrom(TURN, -1) });
    assert.deepEqual((await history(id)).map(({ meters }) => meters[0].consumed_units), ['4']);
    await advance(client, minutesFrom(SECOND_TURN, GRACE_MINUTES));
    assert.deepEqual(await payments(id), [payment('renewal', 3), payment('renewal', 4), payment('new', 0)]);
  });

  test('case 23: kill -9 between the answer and billing, and after it, changes nothing', async () => {
    const { id, customer_id } = await subscribed(usagePrice(await createSum(), { fixed_price: 100 }));
    for (let sent = 0; sent < 5; sent += 1) await use(customer_id, 300.5);
    await daemon.kill();
    await daemon.restart();
    client = sdk(daemon);
    assert.equal((await history(id))[0].meters[0].consumed_units, '1502.5');
    await advance(client, TURN);
    await daemon.kill();
    await daemon.restart();
    client = sdk(daemon);
    assert.deepEqual(await payments(id), [payment('new', 100)]);
    await advance(client, CLOSE);
    const expected = [payment('renewal', 1105), payment('new', 100)];
    assert.deepEqual(await payments(id), expected);
    const before = await all(client.payments.list({ subscription_id: id }));
    await daemon.kill();
    await daemon.restart();
    client = sdk(daemon);
    assert.deepEqual(await all(client.payments.list({ subscription_id: id })), before);
    await advance(client, minutesFrom(CLOSE, 60));
    assert.deepEqual(await payments(id), expected, 'one invoice a cycle');
  });

  test('case 24: a cancellation at the next billing date can be taken back until then', async () => {
    const { id, customer_id } = await subscribed(usagePrice(await createSum(), { fixed_price: 4900 }));
    await use(customer_id, 1010);
    const update = (patch) => client.subscriptions.update(id, patch);
    assert.equal((await update({ cancel_at_next_billing_date: true })).cancel_at_next_billing_date, true);
    assert.equal((await update({ cancel_at_next_billing_date: false })).cancel_at_next_billing_date, false);
    const asked = await update({
      cancel_at_next_billing_date: true,
      cancel_reason: 'cancelled_by_customer',
      cancellation_feedback: 'unused',
      cancellation_comment: 'no time',
    });
    assert.deepEqual([asked.status, asked.cancelled_at, asked.cancelled_by], ['active', null, null]);
    await advance(client, TURN);
    const ended = await client.subscriptions.retrieve(id);
    assert.deepEqual(
      [ended.status, ended.cancelled_by.actor_type, ended.cancellation_feedback, ended.cancellation_comment],
      ['cancelled', 'customer', 'unused', 'no time'],
    );
    assert.deepEqual(instants(ended.cancelled_at), instants(TURN));
    await advance(client, minutesFrom(SECOND_TURN, GRACE_MINUTES));
    assert.deepEqual(await payments(id), [payment('renewal', 20), payment('new', 4900)]);
    const [last] = await all(client.payments.list({ subscription_id: id }));
    assert.deepEqual([last.includes_usage, last.service_periods], [true, []]);
  });

  test('case 24: a cancellation now cuts the period, and its usage is billed after the grace', async () => {
    const { id, customer_id } = await subscribed(usagePrice(await createSum(), { fixed_price: 4900 }));
    await use(customer_id, 1010);
    const end = '2026-03-20T00:00:00Z';
    await advance(client, end);
    const ended = await client.subscriptions.update(id, { status: 'cancelled' });
    assert.equal(ended.status, 'cancelled');
    assert.deepEqual(instants(ended.cancelled_at), instants(end));
    await use(customer_id, 500, { timestamp: minutesFrom(end, 1) });
    await advance(client, minutesFrom(end, GRACE_MINUTES));
    assert.deepEqual(await payments(id), [payment('renewal', 20), payment('new', 4900)]);
    await advance(client, CLOSE);
    assert.equal((await payments(id)).length, 2);
  });

  test('a change that cannot be is refused by the name of its member', async () => {
    const { id } = await subscribed(usagePrice(await createMeter(client)));
    for (const [field, patch] of [
      ['status', { status: 'unknown' }],
      ['pause', { pause: true }],
      ['pause', { pause: false }],
      ['customer_name', { customer_name: 'B' }],
      ['cancellation_feedback', { cancellation_feedback: 'unused' }],
      ['cancellation_comment', { cancellation_comment: 'no time' }],
      ['subscription_period_interval', { subscription_period_count: 1 }],
      ['next_billing_date', { next_billing_date: 'tomorrow' }],
      ['next_billing_date', { next_billing_date: '2026-03-10T11:00:00Z' }],
      ['billing.country', { billing: { country: 'XX' } }],
    ]) {
      const { error } = await refusal(client.subscriptions.update(id, patch), 422);
      assert.equal(error.field, field, JSON.stringify(patch));
    }
    const before = await client.subscriptions.retrieve(id);
    assert.deepEqual(await client.subscriptions.update(id, {}), before);
    const changed = await client.subscriptions.update(id, { metadata: { k: 'v' }, tax_id: 'DE1', billing: { country: 'DE' } });
    assert.deepEqual([changed.metadata, changed.tax_id, changed.billing.country], [{ k: 'v' }, 'DE1', 'DE']);
    assert.equal((await client.subscriptions.update(id, { tax_id: null })).tax_id, null);
  });

  test('what is no subscription is refused by the name of its member', async () => {
    const product = await createProduct(usagePrice(await createMeter(client)));
    for (const [field, fields] of [
      ['quantity', { quantity: 0 }],
      ['quantity', { quantity: 1.5 }],
      ['quantity', { quantity: undefined }],
      ['customer.email', { customer: {} }],
      ['customer.email', { customer: { email: 'nobody' } }],
      ['billing', { billing: undefined }],
      ['billing.country', { billing: { country: 'us' } }],
      ['billing_currency', { billing_currency: 'EUR' }],
      ['trial_period_days', { trial_period_days: 10_001 }],
      ['addons', { addons: [{ addon_id: 'adn_1', quantity: 1 }] }],
      ['discount_code', { discount_code: 'HALF' }],
      ['discount_codes', { discount_codes: ['HALF'] }],
      ['on_demand', { on_demand: { mandate_only: true } }],
    ]) {
      const { error } = await refusal(subscribe(product, fields), 422);
      assert.equal(error.field, field, JSON.stringify(fields));
    }
    await refusal(subscribe({ product_id: 'pdt_nowhere' }), 404, 'NOT_FOUND');
    await refusal(subscribe(product, { customer: { customer_id: 'cus_nowhere' } }), 404, 'NOT_FOUND');
    assert.deepEqual(await all(client.subscriptions.list()), []);
  });

  test('a list holds what each of its filters lets through', async () => {
    const meter = await createMeter(client);
    const one = await subscribed(usagePrice(meter));
    const other = await subscribed(usagePrice(meter), { customer: { email: 'b@example.com' }, quantity: 3 });
    await client.subscriptions.update(one.id, { status: 'cancelled' });
    const ids = async (query) => (await all(client.subscriptions.list(query))).map((found) => found.subscription_id);
    assert.deepEqual(await ids(), [other.id, one.id]);
    assert.deepEqual(await ids({ customer_id: one.customer_id }), [one.id]);
    assert.deepEqual(await ids({ status: 'active' }), [other.id]);
    assert.deepEqual(await ids({ status: 'cancelled' }), [one.id]);
    for (const status of ['paused', 'past_due', 'failed']) assert.deepEqual(await ids({ status }), []);
    assert.deepEqual(await ids({ brand_id: 'brnd_other' }), []);
    assert.deepEqual(await ids({ brand_id: 'brnd_quipu', product_id: (await client.subscriptions.retrieve(one.id)).product_id }), [one.id]);
    assert.deepEqual(await ids({ cancel_at_next_billing_date: true }), []);
    assert.deepEqual(await ids({ created_at_lte: NOW, locale: 'en' }), [other.id, one.id]);
    const paid = async (query) => (await all(client.payments.list(query))).map(({ subscription_id }) => subscription_id);
    assert.deepEqual(await paid({ customer_id: one.customer_id, currency: 'USD', status: 'succeeded' }), [one.id]);
    assert.deepEqual(await paid({ brand_id: 'brnd_quipu', created_at_gte: NOW, created_at_lte: NOW }), [other.id, one.id]);
    assert.deepEqual(await paid({ brand_id: 'brnd_other' }), []);
    assert.deepEqual(await paid({ status: 'requires_capture' }), []);
    await refusal(client.payments.list({ currency: 'usd' }), 422);
    await refusal(client.payments.list({ created_at_gte: 'yesterday' }), 422, 'INVALID_QUERY_PARAMS');
    assert.deepEqual(await ids({ created_at_gte: minutesFrom(NOW, 1) }), []);
    await refusal(client.subscriptions.list({ status: 'unknown' }), 422, 'INVALID_QUERY_PARAMS');
    await refusal(client.subscriptions.retrieve('sub_nowhere'), 404, 'NOT_FOUND');
  });

  test('a second subscription that bills the same meter is made with a warning', async () => {
    const meter = await createMeter(client);
    const first = await subscribed(usagePrice(meter));
    const { made } = await subscribed(usagePrice(meter), { customer: { customer_id: first.customer_id } });
    assert.equal(made.warnings.length, 1);
    assert.ok(made.warnings[0].includes(first.id), made.warnings[0]);
    await ingestNew(client, events(3, () => ({ customer_id: first.customer_id })));
    for (const id of [first.id, made.subscription_id]) {
      assert.equal((await history(id))[0].meters[0].consumed_units, '3');
    }
  });

  test('case 44: an invoice is a PDF that says what was paid', async () => {
    const product = await createProduct(usagePrice(await createMeter(client), { fixed_price: 12_345 }));
    const { payment_id } = await subscribe(product, { customer: { email: 'pdf@example.com', name: 'Ada' } });
    const blob = await (await client.invoices.payments.retrieve(payment_id)).blob();
    assert.equal(blob.type, 'application/pdf');
    const input = Buffer.from(await blob.arrayBuffer());
    const text = execFileSync('pdftotext', ['-layout', '-', '-'], { input, encoding: 'utf8' });
    // How wide gaps are is the reader's business.
    const numbered = text.replace(/(inv|sub)_[A-Za-z0-9]{21}/g, '$1_1');
    const shown = numbered.split('\n').map((line) => line.replace(/\s+/g, ' ').trim()).filter((line) => line !== '');
    assert.deepEqual(shown, [
      'INVOICE 1',
      'Invoice 1 (inv_1)',
      'Due 2026-03-10 12:00 UTC',
      'Issued 2026-03-10 12:00 UTC',
      'Period 2026-03-10 12:00 UTC to 2026-04-10 12:00 UTC',
      'Subscription sub_1',
      'Billed to',
      'Ada',
      'pdf@example.com',
      'US',
      'Description Quantity Unit price Amount',
      '-'.repeat(83),
      'Pro 1 123.45 123.45',
      '2026-03-10 12:00 UTC to 2026-04-10 12:00 UTC',
      '-'.repeat(83),
      'Total 123.45 USD',
      'Page 1 of 1',
    ]);
    const lines = await client.payments.retrieveLineItems(payment_id);
    assert.deepEqual(
      lines.items.map(({ items_id, amount, name }) => [items_id, amount, name]),
      [[product.product_id, 12_345, 'Pro']],
    );
    const payment = await client.payments.retrieve(payment_id);
    assert.deepEqual(
      [payment.total_amount, payment.payment_provider, payment.customer.email, payment.product_cart],
      [12_345, 'dodo', 'pdf@example.com', [{ product_id: product.product_id, quantity: 1 }]],
    );
  });
});
