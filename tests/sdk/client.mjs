// Clients of the daemon: Dodo's SDK with another base URL, and raw requests where the SDK would hide
// what is looked at.

import assert from 'node:assert/strict';
import DodoPayments from 'dodopayments';

import { ADMIN_KEY } from './daemon.mjs';

/** The SDK against `daemon`; `options` are the SDK's own. */
export function sdk(daemon, options = {}) {
  return new DodoPayments({ bearerToken: ADMIN_KEY, baseURL: daemon.baseURL, ...options });
}

/** A `fetch` that keeps the statuses it saw and shows each reply to `onReply`; what that throws is a lost reply. */
export function recordingFetch(onReply = () => {}) {
  const statuses = [];
  const recording = async (url, init) => {
    const reply = await fetch(url, init);
    statuses.push(reply.status);
    onReply(reply);
    return reply;
  };
  return { fetch: recording, statuses };
}

/** A raw request; gives the status, the headers and the body, parsed when it is JSON. */
export async function raw(daemon, method, path, { headers = {}, body, key = ADMIN_KEY } = {}) {
  const authorization = key === null ? {} : { authorization: `Bearer ${key}` };
  const reply = await fetch(`${daemon.baseURL}${path}`, { method, headers: { ...authorization, ...headers }, body });
  const text = await reply.text();
  const isJson = (reply.headers.get('content-type') ?? '').startsWith('application/json');
  return { status: reply.status, headers: reply.headers, text, body: isJson && text ? JSON.parse(text) : null };
}

/** A raw POST of `value` as JSON. */
export function post(daemon, path, value, { headers = {}, ...options } = {}) {
  const body = typeof value === 'string' ? value : JSON.stringify(value);
  return raw(daemon, 'POST', path, { headers: { 'content-type': 'application/json', ...headers }, body, ...options });
}

/** The error that `promise` is refused with, whose status, code and body form are checked. */
export async function refusal(promise, status, code) {
  const error = await promise.then(
    (value) => assert.fail(`expected ${status}, got the answer ${JSON.stringify(value)}`),
    (error) => error,
  );
  if (!(error instanceof DodoPayments.APIError)) throw error;
  assert.equal(error.status, status, error.message);
  assertErrorBody(error.error, code);
  return error;
}

/** Checks that `body` is `{code, message}`, with this code if one is given. */
export function assertErrorBody(body, code) {
  assert.equal(typeof body?.message, 'string', `no message in ${JSON.stringify(body)}`);
  assert.notEqual(body.message, '');
  assert.match(body.code, /^[A-Za-z_]+$/);
  if (code) assert.equal(body.code, code, body.message);
}

let idsCount = 0;

/** An event with an id of its own; `fields` win. */
export function event(fields = {}) {
  idsCount += 1;
  return { event_id: `e-${idsCount}`, customer_id: 'c-1', event_name: 'api.call', ...fields };
}

/** As many events as `count`, made by `fields(index)`. */
export function events(count, fields = () => ({})) {
  return Array.from({ length: count }, (_, index) => event(fields(index)));
}

/** Sends events and checks that all of them are new. */
export async function ingestNew(client, list) {
  const reply = await client.usageEvents.ingest({ events: list });
  const { ingested_count, duplicate_count, conflict_count } = reply;
  assert.deepEqual(
    { ingested_count, duplicate_count, conflict_count },
    { ingested_count: list.length, duplicate_count: 0, conflict_count: 0 },
  );
  return reply;
}

/** A meter; a count of `api.call` unless `fields` say otherwise. */
export function createMeter(client, fields = {}) {
  return client.meters.create({
    name: 'Calls',
    event_name: 'api.call',
    measurement_unit: 'calls',
    aggregation: { type: 'count' },
    ...fields,
  });
}

/** `GET /usage`, which is Quipu's own, through the SDK's generic call. */
export function usage(client, query) {
  return client.get('/usage', { query });
}

/** The total of one meter and customer; `query` adds parameters. */
export async function total(client, meter, customerId = 'c-1', query = {}) {
  const reply = await usage(client, { meter_id: meter.id, customer_id: customerId, ...query });
  assert.equal(typeof reply.total, 'string', JSON.stringify(reply));
  assert.deepEqual(reply.items.map((item) => item.total), reply.items.length === 0 ? [] : [reply.total]);
  return reply.total;
}

/** All items of a list, as a `for await` loop sees them. */
export async function all(list) {
  const items = [];
  for await (const item of list) {
    items.push(item);
    assert.ok(items.length <= 100_000, 'the list does not end');
  }
  return items;
}

/** The instant `minutes` from `from`, as an RFC 3339 text. */
export function minutesFrom(from, minutes) {
  return new Date(new Date(from).getTime() + minutes * 60_000).toISOString();
}

/** Moves the test clock. */
export function advance(client, to) {
  return client.post('/clock/advance', { body: { to } });
}
