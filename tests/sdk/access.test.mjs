// Keys, scopes and the form of every refusal: case 39 of the compatibility list, and what lies
// beside Dodo's API.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import DodoPayments from 'dodopayments';

import { assertErrorBody, createMeter, event, ingestNew, post, raw, refusal, sdk } from './client.mjs';
import { Daemon } from './daemon.mjs';

// Every route that needs a key, and the weakest scope that opens it.
const ROUTES = [
  ['POST', '/events/ingest', 'ingest'],
  ['GET', '/events', 'read'],
  ['GET', '/events/x', 'read'],
  ['GET', '/meters', 'read'],
  ['GET', '/meters/x', 'read'],
  ['POST', '/meters', 'admin'],
  ['PATCH', '/meters/x', 'admin'],
  ['DELETE', '/meters/x', 'admin'],
  ['POST', '/meters/x/unarchive', 'admin'],
  ['GET', '/customers', 'read'],
  ['GET', '/customers/x', 'read'],
  ['POST', '/customers', 'admin'],
  ['PATCH', '/customers/x', 'admin'],
  ['GET', '/usage', 'read'],
  ['GET', '/metrics', 'read'],
  ['GET', '/clock', 'read'],
  ['POST', '/clock/advance', 'admin'],
  ['GET', '/keys', 'admin'],
  ['POST', '/keys', 'admin'],
  ['DELETE', '/keys/x', 'admin'],
];

describe('access', () => {
  let daemon;
  let client;
  const keys = {};
  before(async () => {
    daemon = await Daemon.start({ testClock: '2026-03-10T12:00:00Z' });
    client = sdk(daemon);
    for (const scope of ['ingest', 'read', 'admin']) {
      keys[scope] = await client.post('/keys', { body: { name: `${scope} only`, scope } });
    }
  });
  after(() => daemon.close());

  test('case 39: a wrong or missing key is an AuthenticationError', async () => {
    const strangers = ['wrong', 'quipu_x_y', `${keys.admin.key}x`, keys.admin.key.slice(0, -1), keys.admin.id];
    for (const bearerToken of strangers) {
      const stranger = sdk(daemon, { bearerToken });
      const error = await refusal(stranger.meters.list(), 401, 'UNAUTHORIZED');
      assert.ok(error instanceof DodoPayments.AuthenticationError);
      await refusal(stranger.usageEvents.ingest({ events: [event()] }), 401, 'UNAUTHORIZED');
    }
    const nobody = sdk(daemon, { defaultHeaders: { authorization: null } });
    await refusal(nobody.meters.list(), 401, 'UNAUTHORIZED');
  });

  test('every route asks for a key', async () => {
    for (const [method, path] of ROUTES) {
      for (const key of [null, 'wrong', '']) {
        const reply = await raw(daemon, method, path, { key });
        assert.equal(reply.status, 401, `${method} ${path}`);
        assertErrorBody(reply.body, 'UNAUTHORIZED');
      }
    }
    for (const path of ['/healthz', '/readyz', '/openapi.json']) {
      assert.equal((await raw(daemon, 'GET', path, { key: null })).status, 200, path);
    }
  });

  test('a key opens the routes of its scope and no other', async () => {
    for (const [method, path, needed] of ROUTES) {
      for (const scope of ['ingest', 'read', 'admin']) {
        const reply = await raw(daemon, method, path, { key: keys[scope].key });
        const opens = scope === needed || scope === 'admin';
        assert.equal(reply.status !== 403, opens, `${method} ${path} with ${scope}: ${reply.status}`);
        assert.notEqual(reply.status, 401, `${method} ${path} with ${scope}`);
        if (!opens) assertErrorBody(reply.body);
      }
    }
  });

  test('the SDK sees a scope that is too weak as a PermissionDeniedError', async () => {
    const sender = sdk(daemon, { bearerToken: keys.ingest.key });
    await ingestNew(sender, [event()]);
    const error = await refusal(sender.meters.list(), 403);
    assert.ok(error instanceof DodoPayments.PermissionDeniedError);
    const reader = sdk(daemon, { bearerToken: keys.read.key });
    await reader.meters.list();
    await refusal(createMeter(reader), 403);
    await refusal(reader.usageEvents.ingest({ events: [event()] }), 403);
  });

  test('a key is shown once, listed without its secret, and opens nothing once deleted', async () => {
    const reply = await post(daemon, '/keys', { name: 'short-lived', scope: 'read' });
    assert.equal(reply.status, 201);
    const { id, key, name, scope } = reply.body;
    assert.deepEqual([name, scope], ['short-lived', 'read']);
    assert.match(key, /^quipu_[^_]+_.{16,}$/);
    const listing = await raw(daemon, 'GET', '/keys?page_size=100');
    assert.ok(listing.body.items.some((item) => item.id === id));
    assert.ok(!listing.text.includes(key.split('_')[2]), 'the secret is listed');
    const holder = sdk(daemon, { bearerToken: key });
    await holder.meters.list();
    assert.equal((await raw(daemon, 'DELETE', `/keys/${id}`)).status, 204);
    await refusal(holder.meters.list(), 401, 'UNAUTHORIZED');
    assert.equal((await raw(daemon, 'DELETE', `/keys/${id}`)).status, 404);
  });

  test('keys survive a crash', async () => {
    await daemon.kill();
    await daemon.restart();
    await ingestNew(sdk(daemon, { bearerToken: keys.ingest.key }), [event()]);
    client = sdk(daemon);
    await client.meters.list();
  });

  test('an unknown path and a wrong method have the usual body', async () => {
    for (const path of ['/nowhere', '/', '/meters/x/y/z', '/events/ingest/x', '/v1/meters']) {
      const reply = await raw(daemon, 'GET', path);
      assert.equal(reply.status, 404, path);
      assertErrorBody(reply.body, 'NOT_FOUND');
    }
    const wrong = [['PUT', '/meters'], ['DELETE', '/usage'], ['PATCH', '/events'], ['POST', '/healthz']];
    for (const [method, path] of wrong) {
      const reply = await raw(daemon, method, path);
      assert.equal(reply.status, 405, `${method} ${path}`);
      assertErrorBody(reply.body, 'METHOD_NOT_ALLOWED');
    }
    await refusal(client.get('/nowhere'), 404, 'NOT_FOUND');
    await refusal(client.put('/meters'), 405, 'METHOD_NOT_ALLOWED');
  });

  test('an oversized head has the usual body', async () => {
    const reply = await raw(daemon, 'GET', '/meters', { headers: { 'x-padding': 'p'.repeat(1 << 20) } });
    assert.equal(reply.status, 431);
    assertErrorBody(reply.body);
  });

  test('a body of another type, another value or broken JSON has the usual body', async () => {
    const json = { 'content-type': 'application/json' };
    for (const path of ['/meters', '/customers', '/events/ingest', '/keys']) {
      for (const body of ['{', '', '{"a":1}}', '\u0000', `{"name":"\ud800`]) {
        const reply = await raw(daemon, 'POST', path, { headers: json, body });
        assert.equal(reply.status, 400, `${path} ${body}: ${reply.text}`);
        assertErrorBody(reply.body, 'INVALID_REQUEST_BODY');
      }
      for (const body of ['[]', '7', 'null', '"x"', '{}']) {
        const reply = await raw(daemon, 'POST', path, { headers: json, body });
        assert.ok([400, 422].includes(reply.status), `${path} ${body}: ${reply.text}`);
        assertErrorBody(reply.body);
      }
    }
  });

  test('a Host that nobody configured is refused', async () => {
    const found = await new Promise((resolve, reject) => {
      const options = { headers: { host: 'rebound.example', authorization: `Bearer ${keys.admin.key}` } };
      const asked = request(`${daemon.baseURL}/meters`, options, (reply) => {
        let text = '';
        reply.on('data', (part) => (text += part));
        reply.on('end', () => resolve({ status: reply.statusCode, text }));
      });
      asked.on('error', reject).end();
    });
    assert.equal(found.status, 403);
    assertErrorBody(JSON.parse(found.text));
  });
});
