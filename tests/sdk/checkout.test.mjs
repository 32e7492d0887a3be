// Carts and checkout sessions through the SDK, and the page behind `checkout_url`.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

const NOW = '2026-03-10T12:00:00Z';
const customer = { email: 'ada@shop.example', name: 'Ada' };
const billing_address = { country: 'PE' };

let daemon;
let client;

beforeEach(async () => {
  daemon = await Daemon.start({ testClock: NOW });
  client = sdk(daemon);
});
afterEach(() => daemon.close());

/** A product that is sold once. */
function createBook(fields = {}) {
  const price = { type: 'one_time_price', currency: 'USD', price: 2500, discount: 0, purchasing_power_parity: false };
  return client.products.create({ name: 'Book', tax_category: 'e_book', price: { ...price, ...fields } });
}

/** A product that is paid each month. */
function createPlan() {
  const price = {
    type: 'recurring_price',
    currency: 'USD',
    price: 4900,
    discount: 0,
    purchasing_power_parity: false,
    payment_frequency_count: 1,
    payment_frequency_interval: 'Month',
    subscription_period_count: 10,
    subscription_period_interval: 'Year',
  };
  return client.products.create({ name: 'Plan', tax_category: 'saas', price });
}

describe('a confirmed session', () => {
  test('is an order at once', async () => {
    const book = await createBook();
    const session = await client.checkoutSessions.create({
      product_cart: [{ product_id: book.product_id, quantity: 2 }],
      confirm: true,
      customer,
      billing_address,
      metadata: { cart: 7 },
      customization: { theme: 'dark' },
      feature_flags: { allow_discount_code: false },
    });
    assert.match(session.session_id, /^cks_/);
    assert.deepEqual(
      [session.checkout_url, session.client_secret, session.publishable_key],
      [null, null, null],
    );
    const payment = await client.payments.retrieve(session.payment_id);
    assert.equal(payment.total_amount, 5000);
    assert.equal(payment.charge_type, null);
    assert.equal(payment.subscription_id, null);
    assert.deepEqual(payment.subscription_ids, []);
    assert.equal(payment.checkout_session_id, session.session_id);
    assert.deepEqual(payment.product_cart, [{ product_id: book.product_id, quantity: 2 }]);
    assert.deepEqual(await client.checkoutSessions.retrieve(session.session_id), {
      id: session.session_id,
      created_at: NOW,
      customer_email: customer.email,
      customer_name: customer.name,
      payment_id: session.payment_id,
      payment_status: 'succeeded',
    });
    const pdf = await (await client.invoices.payments.retrieve(session.payment_id)).blob();
    assert.ok(pdf.size > 500);
  });

  test('begins a subscription, as does a cart beside one', async () => {
    const [book, plan] = [await createBook(), await createPlan()];
    const session = await client.checkoutSessions.create({
      product_cart: [
        { product_id: plan.product_id, quantity: 1 },
        { product_id: book.product_id, quantity: 1 },
      ],
      subscription_data: { trial_period_days: 7 },
      confirm: true,
      customer,
      billing_address,
    });
    const payment = await client.payments.retrieve(session.payment_id);
    assert.equal(payment.total_amount, 2500);
    const subscription = await client.subscriptions.retrieve(payment.subscription_id);
    assert.deepEqual([subscription.status, subscription.trial_period_days], ['active', 7]);

    const once = [{ product_id: book.product_id, quantity: 3 }];
    const made = await client.subscriptions.create({
      product_id: plan.product_id,
      quantity: 1,
      customer,
      billing: billing_address,
      one_time_product_cart: once,
    });
    assert.deepEqual(made.one_time_product_cart, once);
    assert.equal((await client.payments.retrieve(made.payment_id)).total_amount, 4900 + 3 * 2500);
  });

  test('needs a customer and an address', async () => {
    const product_cart = [{ product_id: (await createBook()).product_id, quantity: 1 }];
    for (const fields of [{ customer }, { billing_address }]) {
      await refusal(client.checkoutSessions.create({ product_cart, confirm: true, ...fields }), 422);
    }
  });
});

describe('an open session', () => {
  test('is confirmed by a person on its page', async () => {
    const book = await createBook();
    const session = await client.checkoutSessions.create({
      product_cart: [{ product_id: book.product_id, quantity: 1 }],
      customer,
      return_url: 'https://shop.example/done',
    });
    assert.equal(session.payment_id, null);
    assert.ok(session.checkout_url.startsWith(`${client.baseURL}/checkout/cks_`), session.checkout_url);
    const before = await client.checkoutSessions.retrieve(session.session_id);
    assert.deepEqual([before.payment_id, before.payment_status], [null, null]);
    const page = await fetch(session.checkout_url);
    assert.equal(page.status, 200);
    assert.match(await page.text(), /25\.00 USD/);
    const sent = await fetch(session.checkout_url, {
      method: 'POST',
      body: new URLSearchParams({ country: 'PE' }),
      redirect: 'manual',
    });
    assert.equal(sent.status, 303);
    const after = await client.checkoutSessions.retrieve(session.session_id);
    assert.equal(after.payment_status, 'succeeded');
    const next = `https://shop.example/done?payment_id=${after.payment_id}&status=succeeded`;
    assert.equal(sent.headers.get('location'), next);
  });
});
