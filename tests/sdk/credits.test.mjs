// Credits through the SDK: cases 27 and 28 of the compatibility list.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import DodoPayments from 'dodopayments';

import { advance, all, recordingFetch, refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-03-10T12:00:00Z';
const LATER = '2026-03-11T12:00:00Z';
const INVALID = 'INVALID_REQUEST_PARAMETERS';
const LEAST = { name: 'Tokens', unit: 'token', precision: 2, overage_enabled: false, rollover_enabled: false };

describe('credit entitlements', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start({ testClock: NOW });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  const make = (fields = {}) => client.creditEntitlements.create({ ...LEAST, ...fields });
  const ids = async (query) => (await all(client.creditEntitlements.list(query))).map((one) => one.id);

  test('an entitlement has every field of the SDK', async () => {
    const made = await make();
    const { id, created_at, updated_at, ...rest } = made;
    assert.match(id, /^cde_[0-9A-Za-z]{21}$/);
    assert.deepEqual([created_at, updated_at], [NOW, NOW]);
    assert.deepEqual(rest, {
      ...LEAST,
      business_id: 'bus_quipu',
      currency: null,
      description: null,
      expires_after_days: null,
      max_rollover_count: null,
      overage_behavior: 'forgive_at_reset',
      overage_limit: null,
      price_per_unit: null,
      rollover_percentage: null,
      rollover_timeframe_count: null,
      rollover_timeframe_interval: null,
    });
    assert.deepEqual(await client.creditEntitlements.retrieve(id), made);
  });

  test('case 27: what does not fit together is refused by its field', async () => {
    const before = await ids();
    for (const [field, fields] of [
      ['price_per_unit', { overage_enabled: true }],
      ['currency', { price_per_unit: '1' }],
      ['rollover_timeframe_interval', { rollover_timeframe_count: 1 }],
      ['rollover_timeframe_count', { rollover_timeframe_interval: 'Month' }],
      ['precision', { precision: 11 }],
    ]) {
      const error = await refusal(make(fields), 422, INVALID);
      assert.ok(error instanceof DodoPayments.UnprocessableEntityError);
      assert.equal(error.error.field, field);
    }
    assert.deepEqual(await ids(), before);
  });

  test('case 28: null clears, absence keeps, and the result is checked', async () => {
    const priced = { overage_enabled: true, price_per_unit: '0.5', currency: 'USD', overage_limit: 10 };
    const { id, ...made } = await make({ ...priced, description: 'for tokens', expires_after_days: 30 });
    await advance(client, LATER);
    const patch = { name: 'Credits', description: null, overage_limit: null };
    await client.creditEntitlements.update(id, patch);
    const found = await client.creditEntitlements.retrieve(id);
    assert.deepEqual(found, { id, ...made, ...patch, updated_at: LATER });
    const { error } = await refusal(client.creditEntitlements.update(id, { currency: null }), 422, INVALID);
    assert.equal(error.field, 'currency');
    assert.deepEqual(await client.creditEntitlements.retrieve(id), found);
  });

  test('case 28: deleted, not found, listed among the deleted, and back', async () => {
    const { id } = await make();
    const before = await ids();
    await client.creditEntitlements.delete(id);
    await refusal(client.creditEntitlements.retrieve(id), 404, 'NOT_FOUND');
    assert.deepEqual(await ids(), before.filter((other) => other !== id));
    assert.deepEqual(await ids({ deleted: true }), [id]);
    await client.creditEntitlements.undelete(id);
    assert.deepEqual([await ids(), await ids({ deleted: true })], [before, []]);
    assert.equal((await client.creditEntitlements.retrieve(id)).id, id);
    // The SDK tries a conflict again unless it is told not to.
    const network = recordingFetch();
    await refusal(sdk(daemon, { fetch: network.fetch }).creditEntitlements.undelete(id), 409, 'CONFLICT');
    assert.deepEqual(network.statuses, [409]);
  });

  test('more than two pages are walked whole', async () => {
    const made = [];
    for (let n = 0; n < 25; n += 1) made.unshift((await make({ name: `n-${n}` })).id);
    assert.deepEqual((await ids()).slice(0, 25), made);
  });

  test('a retry of the SDK after a lost reply makes one entitlement', async () => {
    const before = await ids();
    const network = recordingFetch(() => {
      if (network.statuses.length === 1) throw new TypeError('the reply was lost on purpose');
    });
    const made = await sdk(daemon, { fetch: network.fetch }).creditEntitlements.create({ ...LEAST, name: 'lost' });
    assert.deepEqual(network.statuses, [201, 201]);
    assert.deepEqual(await ids(), [made.id, ...before]);
  });
});

describe('credits of a product', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start({ testClock: NOW });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  const price = { type: 'one_time_price', currency: 'USD', price: 500, discount: 0, purchasing_power_parity: false };
  const sell = (credit_entitlements) =>
    client.products.create({ name: 'Pack', tax_category: 'saas', price, credit_entitlements });

  test('they have every field of the SDK, and inherit what is left out', async () => {
    const { id } = await client.creditEntitlements.create({ ...LEAST, expires_after_days: 365 });
    const attached = { credit_entitlement_id: id, credits_amount: '1000', low_balance_threshold_percent: 20 };
    const { product_id, credit_entitlements } = await sell([attached]);
    const [{ id: mapping, ...rest }] = credit_entitlements;
    assert.match(mapping, /^cem_[0-9A-Za-z]+$/);
    assert.deepEqual(rest, {
      ...attached,
      credit_entitlement_name: 'Tokens',
      credit_entitlement_unit: 'token',
      currency: null,
      expires_after_days: 365,
      max_rollover_count: null,
      overage_behavior: 'forgive_at_reset',
      overage_enabled: false,
      overage_limit: null,
      price_per_unit: null,
      proration_behavior: 'no_prorate',
      rollover_enabled: false,
      rollover_percentage: null,
      rollover_timeframe_count: null,
      rollover_timeframe_interval: null,
      trial_credits: null,
      trial_credits_expire_after_trial: false,
    });
    await client.products.update(product_id, { credit_entitlements: [] });
    assert.deepEqual((await client.products.retrieve(product_id)).credit_entitlements, []);
    const unknown = [{ credit_entitlement_id: 'cde_nowhere', credits_amount: '1' }];
    const { error } = await refusal(sell(unknown), 422, INVALID);
    assert.equal(error.field, 'credit_entitlements.0.credit_entitlement_id');
  });
});
