// Balances, grants and ledgers of credits through the SDK: cases 29 to 37 and 43 of the compatibility list.
//
// Each test has a daemon of its own, as the clock only moves forward. A subscription begins on 1 June, its
// first turn is TURN, and its first usage is invoiced GRACE_MINUTES later.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { advance, all, createMeter, event, events, ingestNew, minutesFrom, recordingFetch, refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-06-01T00:00:00Z';
const TURN = '2026-07-01T00:00:00Z';
const SECOND_TURN = '2026-08-01T00:00:00Z';
const GRACE_MINUTES = 70;
const INVALID = 'INVALID_REQUEST_PARAMETERS';
const NO_OVERAGE = { overage_enabled: false, overage_limit: null, limit_reached: false, remaining_headroom: null };

let daemon;
let client;

beforeEach(async () => {
  daemon = await Daemon.start({ testClock: NOW });
  client = sdk(daemon);
});
afterEach(() => daemon.close());

function entitlement(fields = {}) {
  return client.creditEntitlements.create({
    name: 'Tokens',
    unit: 'token',
    precision: 2,
    overage_enabled: false,
    rollover_enabled: false,
    ...fields,
  });
}

function customer(name) {
  return client.customers.create({ customer_id: name, email: `${name}@example.com`, name });
}

function sum(key = 'n') {
  return createMeter(client, { name: `Sum of ${key}`, aggregation: { type: 'sum', key } });
}

/** A plan of $10 a month that hands out `attach` of an entitlement, which these meters draw on. */
function plan({ id }, attach, meters) {
  return client.products.create({
    name: 'Plan',
    tax_category: 'saas',
    price: {
      type: 'usage_based_price',
      fixed_price: 1000,
      currency: 'USD',
      payment_frequency_count: 1,
      payment_frequency_interval: 'Month',
      subscription_period_count: 10,
      subscription_period_interval: 'Year',
      meters: meters.map(([meter, meter_units_per_credit, free_threshold = 0]) => ({
        meter_id: meter.id,
        credit_entitlement_id: id,
        meter_units_per_credit,
        free_threshold,
      })),
    },
    credit_entitlements: [{ credit_entitlement_id: id, ...attach }],
  });
}

async function subscribe({ product_id }, name) {
  const { customer_id } = await customer(name);
  return client.subscriptions.create({ product_id, quantity: 1, customer: { customer_id }, billing: { country: 'US' } });
}

const use = (customer_id, metadata) => ingestNew(client, [event({ customer_id, metadata })]);
const balances = () => client.creditEntitlements.balances;
const enter = ({ id }, name, fields) => balances().createLedgerEntry(name, { credit_entitlement_id: id, ...fields });

/** Balance and overage. */
async function has({ id }, name) {
  const { balance, overage } = await balances().retrieve(name, { credit_entitlement_id: id });
  return [balance, overage];
}

/** The ledger, newest first: what, how much, and the balance and the overage after it. */
async function ledger({ id }, name, query = {}) {
  const rows = await all(balances().listLedger(name, { credit_entitlement_id: id, ...query }));
  for (const [place, row] of rows.entries()) {
    const older = rows[place + 1];
    if (!older || Object.keys(query).length > 0) continue;
    assert.deepEqual([row.balance_before, row.overage_before], [older.balance_after, older.overage_after], 'rows chain');
  }
  return rows.map(({ transaction_type, amount, balance_after, overage_after }) => [transaction_type, amount, balance_after, overage_after]);
}

async function grants({ id }, name, query = {}) {
  const found = await all(balances().listGrants(name, { credit_entitlement_id: id, ...query }));
  return found.map(({ source_type, initial_amount, remaining_amount }) => [source_type, initial_amount, remaining_amount]);
}

async function usage({ subscription_id }) {
  const found = await client.subscriptions.retrieveCreditUsage(subscription_id);
  assert.equal(found.subscription_id, subscription_id);
  assert.equal(found.items.length, 1);
  return found.items[0];
}

async function totals({ subscription_id }) {
  return (await all(client.payments.list({ subscription_id }))).map(({ total_amount }) => total_amount);
}

describe('case 29: entries by hand', () => {
  test('what is given can be taken once, and every field is there', async () => {
    const kind = await entitlement();
    await customer('acme');
    await refusal(balances().retrieve('acme', { credit_entitlement_id: kind.id }), 404, 'NOT_FOUND');
    const given = await enter(kind, 'acme', {
      entry_type: 'credit',
      amount: '500.00',
      expires_at: '2026-12-01T00:00:00Z',
      idempotency_key: 'order-1',
      metadata: { order: 1, gift: true },
      reason: 'sorry for the outage',
    });
    const { id, grant_id, ...row } = given;
    assert.match(id, /^cle_[0-9A-Za-z]+$/);
    assert.match(grant_id, /^cgr_[0-9A-Za-z]+$/);
    assert.deepEqual(row, {
      amount: '500',
      balance_after: '500',
      balance_before: '0',
      created_at: NOW,
      credit_entitlement_id: kind.id,
      customer_id: 'acme',
      entry_type: 'credit',
      is_credit: true,
      metadata: { order: 1, gift: true },
      overage_after: '0',
      overage_before: '0',
      reason: 'sorry for the outage',
    });
    await advance(client, '2026-06-02T00:00:00Z');
    const taken = await enter(kind, 'acme', { entry_type: 'debit', amount: '200', idempotency_key: 'order-2' });
    assert.deepEqual([taken.entry_type, taken.is_credit, taken.balance_before, taken.balance_after], ['debit', false, '500', '300']);
    assert.deepEqual([taken.grant_id, taken.reason, taken.metadata], [grant_id, null, {}]);
    await refusal(enter(kind, 'acme', { entry_type: 'debit', amount: '1000' }), 400, 'INSUFFICIENT_BALANCE');
    const network = recordingFetch();
    const again = sdk(daemon, { fetch: network.fetch }).creditEntitlements.balances;
    const repeated = { credit_entitlement_id: kind.id, entry_type: 'credit', amount: '1', idempotency_key: 'order-1' };
    await refusal(again.createLedgerEntry('acme', repeated), 409, 'CONFLICT');
    assert.deepEqual(network.statuses, [409], 'the SDK does not try it again');

    const held = await balances().retrieve('acme', { credit_entitlement_id: kind.id });
    const { id: balance_id, ...rest } = held;
    assert.match(balance_id, /^ccb_[0-9A-Za-z]+$/);
    assert.deepEqual(rest, {
      balance: '300',
      created_at: NOW,
      credit_entitlement_id: kind.id,
      customer_id: 'acme',
      last_transaction_at: '2026-06-02T00:00:00Z',
      overage: '0',
      updated_at: '2026-06-02T00:00:00Z',
    });
    assert.deepEqual(await all(balances().list(kind.id)), [held]);
    assert.deepEqual(await all(balances().list(kind.id, { customer_id: 'acme' })), [held]);
    assert.deepEqual(await all(balances().list(kind.id, { customer_id: 'nobody' })), []);

    const [debit, credit] = await all(balances().listLedger('acme', { credit_entitlement_id: kind.id }));
    assert.deepEqual([debit.id, debit.transaction_type, debit.grant_id], [taken.id, 'manual_adjustment', grant_id]);
    assert.deepEqual(credit, {
      id,
      amount: '500',
      balance_after: '500',
      balance_before: '0',
      brand_id: 'brnd_quipu',
      business_id: 'bus_quipu',
      created_at: NOW,
      credit_entitlement_id: kind.id,
      customer_id: 'acme',
      description: 'sorry for the outage',
      grant_id,
      is_credit: true,
      metadata: { order: 1, gift: true },
      overage_after: '0',
      overage_before: '0',
      reference_id: null,
      reference_type: 'api',
      transaction_type: 'credit_added',
    });
    const [grant] = await all(balances().listGrants('acme', { credit_entitlement_id: kind.id }));
    assert.deepEqual(grant, {
      id: grant_id,
      created_at: NOW,
      credit_entitlement_id: kind.id,
      customer_id: 'acme',
      expires_at: '2026-12-01T00:00:00Z',
      initial_amount: '500',
      is_expired: false,
      is_rolled_over: false,
      metadata: { order: 1, gift: true },
      parent_grant_id: null,
      remaining_amount: '300',
      rollover_count: 0,
      source_id: null,
      source_type: 'api',
      updated_at: '2026-06-02T00:00:00Z',
    });
    await advance(client, '2026-12-01T00:00:00Z');
    assert.deepEqual(await has(kind, 'acme'), ['0', '0']);
    assert.deepEqual(await grants(kind, 'acme', { status: 'expired' }), [['api', '500', '0']]);
    assert.deepEqual(await grants(kind, 'acme', { status: 'active' }), []);
    assert.deepEqual((await ledger(kind, 'acme'))[0], ['credit_expired', '300', '0', '0']);
  });

  test('what is no entry is refused and changes nothing', async () => {
    const kind = await entitlement({ precision: 1 });
    await customer('acme');
    for (const [status, field, fields] of [
      [422, 'amount', { amount: '0.25' }],
      [422, 'amount', { amount: 'ten' }],
      [400, 'amount', { amount: '0' }],
      [400, 'amount', { amount: '-1' }],
      [400, 'amount', { amount: '10000000000' }],
      [422, 'entry_type', { entry_type: 'gift' }],
      [422, 'expires_at', { expires_at: '2026-01-01T00:00:00Z' }],
      [422, 'expires_at', { entry_type: 'debit', expires_at: '2027-01-01T00:00:00Z' }],
      [422, 'metadata.a', { metadata: { a: 'v'.repeat(501) } }],
    ]) {
      const { error } = await refusal(enter(kind, 'acme', { entry_type: 'credit', amount: '1', ...fields }), status, INVALID);
      assert.equal(error.field, field);
    }
    await refusal(enter(kind, 'nobody', { entry_type: 'credit', amount: '1' }), 404, 'NOT_FOUND');
    await refusal(enter({ id: 'cde_none' }, 'acme', { entry_type: 'credit', amount: '1' }), 404, 'NOT_FOUND');
    await refusal(balances().retrieve('acme', { credit_entitlement_id: kind.id }), 404, 'NOT_FOUND');
  });

  test('a retry of the SDK after a lost reply is one entry', async () => {
    const kind = await entitlement();
    await customer('acme');
    for (const key of [{}, { idempotency_key: 'k' }]) {
      const network = recordingFetch(() => {
        if (network.statuses.length === 1) throw new TypeError('the reply was lost on purpose');
      });
      const lossy = sdk(daemon, { fetch: network.fetch }).creditEntitlements.balances;
      const entry = { credit_entitlement_id: kind.id, entry_type: 'credit', amount: '5', ...key };
      const made = await lossy.createLedgerEntry('acme', entry);
      assert.deepEqual(network.statuses, [201, 201]);
      const [newest] = await all(balances().listLedger('acme', { credit_entitlement_id: kind.id }));
      assert.deepEqual([newest.id, newest.balance_after], [made.id, made.balance_after]);
    }
    assert.deepEqual(await has(kind, 'acme'), ['10', '0']);
  });

  test('more than two pages of each list are walked whole', async () => {
    const kind = await entitlement();
    const names = Array.from({ length: 25 }, (_, n) => `c-${n}`);
    for (const name of names) {
      await customer(name);
      await enter(kind, name, { entry_type: 'credit', amount: '1' });
    }
    const listed = await all(balances().list(kind.id));
    assert.deepEqual(listed.map(({ customer_id }) => customer_id), [...names].reverse());
    for (let n = 2; n <= 25; n += 1) await enter(kind, 'c-0', { entry_type: 'credit', amount: `${n}` });
    const amounts = Array.from({ length: 25 }, (_, n) => `${25 - n}`);
    assert.deepEqual((await grants(kind, 'c-0')).map(([, amount]) => amount), amounts);
    assert.deepEqual((await ledger(kind, 'c-0')).map(([, amount]) => amount), amounts);
  });
});

describe('draws', () => {
  test('case 30: 2,500 units at 1,000 a credit are 2.5 credits, in the ledger within a minute', async () => {
    const kind = await entitlement();
    const made = await subscribe(await plan(kind, { credits_amount: '100' }, [[await sum(), '1000']]), 'acme');
    await use('acme', { n: 2500 });
    assert.deepEqual(await has(kind, 'acme'), ['97.5', '0']);
    assert.deepEqual(await ledger(kind, 'acme'), [['credit_added', '100', '100', '0']]);
    await advance(client, minutesFrom(NOW, 1));
    const [drawn, given] = await all(balances().listLedger('acme', { credit_entitlement_id: kind.id }));
    assert.deepEqual(
      [drawn.transaction_type, drawn.amount, drawn.balance_before, drawn.balance_after, drawn.is_credit],
      ['credit_deducted', '2.5', '100', '97.5', false],
    );
    assert.deepEqual([drawn.reference_type, drawn.reference_id], ['subscription', made.subscription_id]);
    assert.deepEqual([given.reference_type, given.reference_id, given.grant_id], ['subscription', made.subscription_id, drawn.grant_id]);
    assert.deepEqual(await has(kind, 'acme'), ['97.5', '0']);
    const since = await ledger(kind, 'acme', { start_date: minutesFrom(NOW, 1) });
    assert.deepEqual(since, [['credit_deducted', '2.5', '97.5', '0']]);
    assert.deepEqual(await ledger(kind, 'acme', { end_date: NOW, transaction_type: 'credit_deducted' }), []);
    assert.deepEqual(await ledger(kind, 'acme', { transaction_type: 'auto_top_up' }), []);
    await refusal(ledger(kind, 'acme', { transaction_type: 'gift' }), 422, 'INVALID_QUERY_PARAMS');
  });

  test('case 31: 2,500 calls with 1,000 free are 1,500 credits', async () => {
    const kind = await entitlement({ precision: 0 });
    await subscribe(await plan(kind, { credits_amount: '2000' }, [[await createMeter(client), '1', 1000]]), 'acme');
    await ingestNew(client, events(1000, () => ({ customer_id: 'acme' })));
    assert.deepEqual(await has(kind, 'acme'), ['2000', '0']);
    await ingestNew(client, events(1000, () => ({ customer_id: 'acme' })));
    await ingestNew(client, events(500, () => ({ customer_id: 'acme' })));
    assert.deepEqual(await has(kind, 'acme'), ['500', '0']);
  });

  test('case 32: the oldest grant is drawn on first', async () => {
    const kind = await entitlement();
    await subscribe(await plan(kind, { credits_amount: '3' }, [[await sum(), '1']]), 'acme');
    await enter(kind, 'acme', { entry_type: 'credit', amount: '5' });
    await use('acme', { n: 4 });
    const drawn = [['api', '5', '4'], ['subscription', '3', '0']];
    assert.deepEqual(await grants(kind, 'acme'), drawn);
    assert.deepEqual(await grants(kind, 'acme', { status: 'depleted' }), drawn.slice(1));
    assert.deepEqual(await grants(kind, 'acme', { status: 'active' }), drawn.slice(0, 1));
    assert.deepEqual(await grants(kind, 'acme', { status: 'expired' }), []);
    await advance(client, minutesFrom(NOW, 1));
    assert.deepEqual(await grants(kind, 'acme'), drawn);
    assert.deepEqual((await ledger(kind, 'acme')).slice(0, 2), [['credit_deducted', '1', '4', '0'], ['credit_deducted', '3', '5', '0']]);
    await refusal(grants(kind, 'acme', { status: 'gone' }), 422, 'INVALID_QUERY_PARAMS');
  });

  test('case 33: at zero it stops, goes on as overage, or goes on to a limit', async () => {
    const kind = await entitlement();
    const meter = await sum();
    const overage = { overage_enabled: true, overage_behavior: 'carry_deficit', price_per_unit: '5' };
    const found = {};
    for (const [name, attach] of [
      ['off', {}],
      ['on', overage],
      ['limited', { ...overage, overage_limit: '10' }],
    ]) {
      const made = await subscribe(await plan(kind, { credits_amount: '100', ...attach }, [[meter, '1']]), name);
      if (name === 'limited') {
        await use(name, { n: 108 });
        const { limit_reached, remaining_headroom } = await usage(made);
        assert.deepEqual([limit_reached, remaining_headroom], [false, '2']);
        await use(name, { n: 5 });
      } else {
        await use(name, { n: 113 });
      }
      const { credit_entitlement_id, credit_entitlement_name, unit, ...rest } = await usage(made);
      assert.deepEqual([credit_entitlement_id, credit_entitlement_name, unit], [kind.id, 'Tokens', 'token']);
      found[name] = rest;
    }
    const empty = { balance: '0', low_balance: false };
    assert.deepEqual(found, {
      off: { ...empty, ...NO_OVERAGE, overage: '0', uncovered: '13' },
      on: { ...empty, ...NO_OVERAGE, overage_enabled: true, overage: '13', uncovered: '0' },
      limited: {
        ...empty,
        overage: '10',
        overage_enabled: true,
        overage_limit: '10',
        limit_reached: true,
        remaining_headroom: '0',
        uncovered: '3',
      },
    });
    await advance(client, minutesFrom(NOW, 2));
    const [beyond] = await all(balances().listLedger('limited', { credit_entitlement_id: kind.id }));
    assert.deepEqual([beyond.amount, beyond.overage_after, beyond.grant_id, beyond.metadata], ['2', '10', null, { uncovered: '3' }]);
  });

  test('case 36: a balance is low once, until something brings it back', async () => {
    const kind = await entitlement();
    const made = await subscribe(await plan(kind, { credits_amount: '100', low_balance_threshold_percent: 20 }, [[await sum(), '1']]), 'acme');
    const low = async () => [(await usage(made)).low_balance, (await usage(made)).balance];
    await use('acme', { n: 80 });
    assert.deepEqual(await low(), [false, '20']);
    await use('acme', { n: 1 });
    assert.deepEqual(await low(), [true, '19']);
    await advance(client, minutesFrom(NOW, 2));
    const rows = await ledger(kind, 'acme');
    await use('acme', { n: 1 });
    await advance(client, minutesFrom(NOW, 2.5));
    assert.deepEqual(await low(), [true, '18']);
    assert.deepEqual(await ledger(kind, 'acme'), rows, 'no row for a crossing that was there');
    await enter(kind, 'acme', { entry_type: 'credit', amount: '10' });
    assert.deepEqual(await low(), [false, '28']);
    await use('acme', { n: 9 });
    assert.deepEqual(await low(), [true, '19']);
  });

  test('case 37: two meters with their own ratios draw on one balance', async () => {
    const kind = await entitlement();
    const meters = [[await sum('tokens'), '1000'], [await sum('images'), '0.1']];
    await subscribe(await plan(kind, { credits_amount: '100' }, meters), 'acme');
    await use('acme', { tokens: 1500, images: 2 });
    assert.deepEqual(await has(kind, 'acme'), ['78.5', '0']);
    await advance(client, minutesFrom(NOW, 1));
    assert.deepEqual(await ledger(kind, 'acme'), [['credit_deducted', '21.5', '78.5', '0'], ['credit_added', '100', '100', '0']]);
  });
});

describe('turns', () => {
  test('case 34: what the four behaviours make of overage', async () => {
    const kind = await entitlement();
    const meter = await sum();
    const found = {};
    const behaviors = ['forgive_at_reset', 'invoice_at_billing', 'carry_deficit', 'carry_deficit_auto_repay'];
    const made = {};
    for (const name of behaviors) {
      const attach = { credits_amount: '100', overage_enabled: true, overage_behavior: name, price_per_unit: '50' };
      made[name] = await subscribe(await plan(kind, attach, [[meter, '1']]), name);
      await use(name, { n: 108 });
      assert.deepEqual(await has(kind, name), ['0', '8']);
    }
    await advance(client, minutesFrom(TURN, GRACE_MINUTES));
    for (const name of behaviors) {
      const rows = await ledger(kind, name);
      assert.deepEqual(rows.slice(-3), [['credit_deducted', '8', '0', '8'], ['credit_deducted', '100', '0', '0'], ['credit_added', '100', '100', '0']]);
      found[name] = [await totals(made[name]), await has(kind, name), rows.slice(0, -3)];
    }
    const renewed = ['credit_added', '100', '100'];
    assert.deepEqual(found, {
      forgive_at_reset: [[1000, 1000], ['100', '0'], [[...renewed, '0'], ['overage_reset', '8', '0', '0']]],
      invoice_at_billing: [[1400, 1000], ['100', '0'], [[...renewed, '0'], ['overage_charged', '8', '0', '0']]],
      carry_deficit: [[1000, 1000], ['100', '8'], [[...renewed, '8']]],
      carry_deficit_auto_repay: [[1000, 1000], ['92', '0'], [['credit_deducted', '8', '92', '0'], [...renewed, '8']]],
    });
    const [repaid] = await all(balances().listLedger('carry_deficit_auto_repay', { credit_entitlement_id: kind.id }));
    const { subscription_id } = made.carry_deficit_auto_repay;
    assert.deepEqual([repaid.reference_type, repaid.reference_id], ['overage_repay', subscription_id]);
  });

  test('case 35: 75 % of what is left goes on once, and is forfeited then', async () => {
    const kind = await entitlement();
    const attach = { credits_amount: '200', rollover_enabled: true, rollover_percentage: 75, max_rollover_count: 1 };
    const made = await subscribe(await plan(kind, attach, [[await sum(), '1']]), 'acme');
    await advance(client, TURN);
    const first = [
      ['credit_added', '200', '350', '0'],
      ['credit_expired', '50', '150', '0'],
      ['credit_rolled_over', '150', '200', '0'],
      ['credit_added', '200', '200', '0'],
    ];
    assert.deepEqual(await ledger(kind, 'acme'), first);
    const [renewed, rolled, old] = await all(balances().listGrants('acme', { credit_entitlement_id: kind.id }));
    assert.deepEqual([renewed.source_type, renewed.remaining_amount, renewed.source_id], ['subscription', '200', made.subscription_id]);
    assert.deepEqual(
      [rolled.source_type, rolled.remaining_amount, rolled.parent_grant_id, rolled.rollover_count, rolled.source_id],
      ['rollover', '150', old.id, 1, made.subscription_id],
    );
    assert.deepEqual([old.is_rolled_over, old.is_expired, old.remaining_amount], [true, true, '0']);
    await advance(client, SECOND_TURN);
    assert.deepEqual(await ledger(kind, 'acme'), [
      ['credit_added', '200', '350', '0'],
      ['credit_expired', '50', '150', '0'],
      ['credit_rolled_over', '150', '200', '0'],
      ['rollover_forfeited', '150', '200', '0'],
      ...first,
    ]);
    assert.deepEqual(await has(kind, 'acme'), ['350', '0']);
  });
});

describe('case 43: what a subscription and a customer have', () => {
  test('every field is there, and null where there is no overage or no limit', async () => {
    const kind = await entitlement({ description: 'for tokens' });
    const meter = await sum();
    const priced = { overage_enabled: true, price_per_unit: '5' };
    const empty = { balance: '100', overage: '0', low_balance: false, uncovered: '0' };
    for (const [name, attach, expected] of [
      ['off', {}, NO_OVERAGE],
      ['unlimited', priced, { ...NO_OVERAGE, overage_enabled: true }],
      ['limited', { ...priced, overage_limit: '10' }, { ...NO_OVERAGE, overage_enabled: true, overage_limit: '10', remaining_headroom: '10' }],
      ['none', { ...priced, overage_limit: '0' }, { overage_enabled: true, overage_limit: '0', limit_reached: true, remaining_headroom: '0' }],
    ]) {
      const made = await subscribe(await plan(kind, { credits_amount: '100', ...attach }, [[meter, '1']]), name);
      assert.deepEqual(await usage(made), {
        credit_entitlement_id: kind.id,
        credit_entitlement_name: 'Tokens',
        unit: 'token',
        ...empty,
        ...expected,
      });
      assert.deepEqual(await client.customers.listCreditEntitlements(name), {
        items: [
          { credit_entitlement_id: kind.id, name: 'Tokens', description: 'for tokens', unit: 'token', balance: '100', overage: '0' },
        ],
      });
    }
    await customer('bare');
    assert.deepEqual(await client.customers.listCreditEntitlements('bare'), { items: [] });
    await refusal(client.customers.listCreditEntitlements('nobody'), 404, 'NOT_FOUND');
    await refusal(client.subscriptions.retrieveCreditUsage('sub_none'), 404, 'NOT_FOUND');
  });

  test('subscriptions of a customer share the balance, and each has a limit of its own', async () => {
    const kind = await entitlement();
    const meter = await sum();
    const attach = (overage_limit) => ({ credits_amount: '10', overage_enabled: true, price_per_unit: '5', overage_limit });
    const first = await subscribe(await plan(kind, attach('5'), [[meter, '1']]), 'acme');
    const { product_id } = await plan(kind, attach('50'), [[meter, '1']]);
    const second = await client.subscriptions.create({ product_id, quantity: 1, customer: { customer_id: 'acme' }, billing: { country: 'US' } });
    const first_and_second = async () => {
      const [one, two] = [await usage(first), await usage(second)];
      assert.deepEqual([one.balance, one.overage, one.uncovered], [two.balance, two.overage, two.uncovered]);
      return [one.balance, one.overage, one.uncovered, one.remaining_headroom, two.remaining_headroom, one.limit_reached, two.limit_reached];
    };
    assert.deepEqual(await first_and_second(), ['20', '0', '0', '5', '50', false, false]);
    await use('acme', { n: 10 });
    assert.deepEqual(await first_and_second(), ['0', '0', '0', '5', '50', false, false]);
    await use('acme', { n: 3 });
    assert.deepEqual(await first_and_second(), ['0', '6', '0', '2', '47', false, false]);
    await use('acme', { n: 5 });
    assert.deepEqual(await first_and_second(), ['0', '13', '3', '0', '42', true, false]);
  });
});
