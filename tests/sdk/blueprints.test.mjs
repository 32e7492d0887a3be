// Case 41 of the compatibility list: Dodo's ingestion blueprints against the daemon.
//
// The package always sends to Dodo's own test environment and has no setting for another address, so
// its requests are turned round: in the client inside it, or by a `fetch` that is put in place before
// the package makes its client.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  Ingestion, LLMTracker, createBatch, createLLMTracker, trackAPICall, trackObjectStorage,
  trackStreamBytes, trackTimeRange,
} from '@dodopayments/ingestion-blueprints';

import { all, createMeter, recordingFetch, sdk, total } from './client.mjs';
import { ADMIN_KEY, Daemon } from './daemon.mjs';

const DODO = 'https://test.dodopayments.com';

describe('ingestion blueprints', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start();
    client = sdk(daemon);
  });
  after(() => daemon.close());

  /** An `Ingestion` whose inner client talks to the daemon. */
  function ingestion(eventName) {
    const made = new Ingestion({ apiKey: ADMIN_KEY, environment: 'test_mode', eventName });
    made.client.client.baseURL = daemon.baseURL;
    return made;
  }

  /** What `make` gives while requests to Dodo go to the daemon; clients keep the `fetch` they find. */
  function redirected(make) {
    const original = globalThis.fetch;
    globalThis.fetch = (url, init) => original(String(url).replace(DODO, daemon.baseURL), init);
    try {
      return make();
    } finally {
      globalThis.fetch = original;
    }
  }

  const stored = (eventName) => all(client.usageEvents.list({ event_name: eventName }));

  async function assertStored(eventName, idPrefix, metadata, customerId = 'c-1') {
    const found = await stored(eventName);
    assert.deepEqual(found.map((one) => [one.customer_id, one.metadata]), [[customerId, metadata]]);
    assert.ok(found[0].event_id.startsWith(idPrefix), found[0].event_id);
    assert.ok(Math.abs(Date.parse(found[0].timestamp) - Date.now()) < 60_000);
  }

  test('case 41: an API call', async () => {
    const metadata = { endpoint: '/v1/users', method: 'GET', status_code: 200, response_time_ms: 45.5, cached: false };
    await trackAPICall(ingestion('api_call'), { customerId: 'c-1', metadata });
    await assertStored('api_call', 'api_call_', metadata);
  });

  test('case 41: an API call without metadata', async () => {
    await trackAPICall(ingestion('api_bare'), { customerId: 'c-1' });
    const [found] = await stored('api_bare');
    assert.deepEqual(found.metadata ?? {}, {});
  });

  test('case 41: object storage', async () => {
    const options = { customerId: 'c-1', bytes: 1_048_576, metadata: { bucket: 'photos', key: 'a/b.jpg' } };
    await trackObjectStorage(ingestion('upload'), options);
    await assertStored('upload', 'upload_', { bytes: 1_048_576, bucket: 'photos', key: 'a/b.jpg' });
  });

  test('case 41: a stream', async () => {
    await trackStreamBytes(ingestion('stream'), { customerId: 'c-1', bytes: 0, metadata: { live: true } });
    await assertStored('stream', 'stream_', { bytes: 0, live: true });
  });

  test('case 41: a time range', async () => {
    const options = { customerId: 'c-1', durationMs: 1500, durationSeconds: 1.5, durationMinutes: 0.025 };
    await trackTimeRange(ingestion('runtime'), options);
    await assertStored('runtime', 'runtime_', { durationMs: 1500, durationSeconds: 1.5, durationMinutes: 0.025 });
  });

  // The four forms of a provider's answer, and the tokens the package reads from it.
  const ANSWERS = {
    openai: [
      { model: 'gpt-4o', usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 } },
      { inputTokens: 10, outputTokens: 5, totalTokens: 15, model: 'gpt-4o' },
    ],
    anthropic: [
      { model: 'claude', usage: { input_tokens: 8, output_tokens: 4 } },
      { inputTokens: 8, outputTokens: 4, totalTokens: 12, model: 'claude' },
    ],
    google: [
      {
        modelVersion: 'gemini',
        usageMetadata: { promptTokenCount: 7, candidatesTokenCount: 3, thoughtsTokenCount: 2, totalTokenCount: 12 },
      },
      { inputTokens: 7, outputTokens: 5, totalTokens: 12, model: 'gemini' },
    ],
    ai_sdk: [
      { usage: { inputTokens: 6, outputTokens: 2, reasoningTokens: 1, totalTokens: 9 } },
      { inputTokens: 6, outputTokens: 3, totalTokens: 9, model: 'unknown' },
    ],
  };
  for (const [provider, [answer, tokens]] of Object.entries(ANSWERS)) {
    test(`case 41: a wrapped client of ${provider}`, async () => {
      const eventName = `llm.${provider}`;
      const tracker = redirected(() => createLLMTracker({ apiKey: ADMIN_KEY, environment: 'test_mode', eventName }));
      const models = { chat: { completions: { create: async () => answer } } };
      const wrapped = tracker.wrap({ client: models, customerId: 'c-llm', metadata: { feature: 'chat' } });
      assert.equal(await wrapped.chat.completions.create({}), answer);
      await assertStored(eventName, 'llm_', { ...tokens, feature: 'chat' }, 'c-llm');
      await tracker.track({ text: 'no usage' }, 'c-llm');
      assert.equal((await stored(eventName)).length, 1);
      assert.equal(await tracker.healthCheck(), true);
    });
  }

  test('case 41: a tracker with its inner client turned round', async () => {
    const tracker = new LLMTracker({ apiKey: ADMIN_KEY, environment: 'test_mode', eventName: 'llm.direct' });
    tracker.client.client.baseURL = daemon.baseURL;
    await tracker.track(ANSWERS.openai[0], 'c-1', { model: 'mine' });
    await assertStored('llm.direct', 'llm_', { ...ANSWERS.openai[1], model: 'mine' });
    assert.equal(await tracker.healthCheck(), true);
  });

  test('case 41: a batch of 250 is 250 events from 250 requests', async () => {
    const meter = await createMeter(client, { event_name: 'batch', aggregation: { type: 'sum', key: 'n' } });
    const made = ingestion('batch');
    const network = recordingFetch();
    made.client.client.fetch = network.fetch;
    const batch = createBatch(made, { maxSize: 300, flushInterval: 600_000 });
    for (let n = 1; n <= 250; n += 1) batch.add({ customerId: 'c-1', metadata: { n } });
    await batch.flush();
    await batch.cleanup();
    assert.deepEqual([network.statuses.length, [...new Set(network.statuses)]], [250, [200]]);
    const found = await stored('batch');
    assert.equal(found.length, 250);
    assert.equal(await total(client, meter), '31375');
  });

  test('case 41: the health check tells a reachable daemon from none', async () => {
    const healthy = ingestion('health');
    assert.equal(await healthy.client.healthCheck(), true);
    const stranger = new Ingestion({ apiKey: 'wrong', environment: 'test_mode', eventName: 'health' });
    stranger.client.client.baseURL = daemon.baseURL;
    assert.equal(await stranger.client.healthCheck(), true, 'a 401 is an answer');
    await assert.rejects(trackAPICall(stranger, { customerId: 'c-1' }), { name: 'APIError', statusCode: 401 });
  });
});
