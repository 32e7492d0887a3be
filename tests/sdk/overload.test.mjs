// Case 40 of the compatibility list: a full queue answers 503 with `retry-after-ms`, and the SDK
// recovers by itself without a duplicate.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { createMeter, events, post, recordingFetch, sdk, total } from './client.mjs';
import { ADMIN_KEY, Daemon } from './daemon.mjs';

const QUEUE_BYTES = 32_768;

describe('overload', () => {
  let daemon;
  let client;
  before(async () => {
    const settings = { 'ingest.queue_bytes': QUEUE_BYTES, 'ingest.max_body': QUEUE_BYTES };
    daemon = await Daemon.start({ settings });
    client = sdk(daemon);
  });
  after(() => daemon.close());

  /** A client that announces `bytes` of events and keeps the daemon waiting for them. */
  async function holdQueue(bytes) {
    const { hostname, port, host } = new URL(daemon.baseURL);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    socket.on('error', () => {});
    const head = ['POST /events/ingest HTTP/1.1', `host: ${host}`, `authorization: Bearer ${ADMIN_KEY}`,
      'content-type: application/json', `content-length: ${bytes}`];
    socket.write(`${head.join('\r\n')}\r\n\r\n{"events":[`);
    return socket;
  }

  test('case 40: the SDK waits as told and is served once there is room', async () => {
    const meter = await createMeter(client, { event_name: 'overload.held' });
    const socket = await holdQueue(QUEUE_BYTES);
    // The daemon has read the head once somebody else is refused.
    let probe = await post(daemon, '/events/ingest', { events: [] });
    while (probe.status === 422) probe = await post(daemon, '/events/ingest', { events: [] });
    assert.equal(probe.status, 503);
    const wait = Number(probe.headers.get('retry-after-ms'));
    assert.ok(wait > 0 && wait <= 1000, `retry-after-ms: ${wait}`);
    assert.equal(probe.body.code, 'SERVICE_UNAVAILABLE');

    const network = recordingFetch(() => {
      if (network.statuses.length === 2) socket.destroy();
    });
    const list = events(20, () => ({ event_name: 'overload.held' }));
    const sender = sdk(daemon, { fetch: network.fetch, maxRetries: 20 });
    const { lsn, ...counts } = await sender.usageEvents.ingest({ events: list });
    assert.deepEqual(counts, { ingested_count: 20, duplicate_count: 0, conflict_count: 0 });
    assert.deepEqual(network.statuses.slice(0, 2), [503, 503]);
    assert.equal(network.statuses.at(-1), 200);
    assert.equal(await total(client, meter), '20');
  });

  test('case 40: many senders at once all get through, each event once', async () => {
    const meter = await createMeter(client, { event_name: 'overload.many' });
    const network = recordingFetch();
    const sender = sdk(daemon, { fetch: network.fetch, maxRetries: 100 });
    const filler = 'f'.repeat(400);
    const batches = Array.from({ length: 60 }, () =>
      events(20, () => ({ event_name: 'overload.many', metadata: { filler } })));
    const replies = await Promise.all(batches.map((batch) => sender.usageEvents.ingest({ events: batch })));
    assert.deepEqual(replies.map((reply) => [reply.ingested_count, reply.duplicate_count]), batches.map(() => [20, 0]));
    assert.deepEqual([...new Set(network.statuses)].filter((status) => status !== 503), [200]);
    assert.equal(await total(client, meter), '1200');
  });
});
