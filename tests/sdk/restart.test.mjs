// What was acknowledged to the SDK is there after a stop and after a crash, once.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { all, createMeter, events, ingestNew, sdk, total } from './client.mjs';
import { Daemon } from './daemon.mjs';

describe('restart', () => {
  let daemon;
  before(async () => (daemon = await Daemon.start({ testClock: '2026-03-10T12:00:00Z' })));
  after(() => daemon.close());

  for (const end of ['stop', 'kill', 'stop', 'kill']) {
    test(`acknowledged events are there once after a ${end}`, async () => {
      const client = sdk(daemon);
      const meter = await createMeter(client, { aggregation: { type: 'sum', key: 'n' } });
      const list = events(300, (index) => ({ metadata: { n: index + 0.5 } }));
      await ingestNew(client, list);
      const customer = await client.customers.retrieve('c-1');

      await daemon[end]();
      await daemon.restart();

      const again = sdk(daemon);
      assert.equal(await total(again, meter), '45000');
      assert.deepEqual(await again.meters.retrieve(meter.id), meter);
      assert.deepEqual(await again.customers.retrieve('c-1'), customer);
      const { lsn, ...counts } = await again.usageEvents.ingest({ events: list });
      assert.deepEqual(counts, { ingested_count: 0, duplicate_count: 300, conflict_count: 0 });
      assert.equal(await total(again, meter), '45000');
      const newest = await again.usageEvents.list({ page_size: 1, page_number: 0 });
      assert.equal(newest.items[0].event_id, list.at(-1).event_id);
      assert.deepEqual((await again.usageEvents.retrieve(list[7].event_id)).metadata, { n: 7.5 });
    });
  }

  test('every event is listed once at the end', async () => {
    const found = await all(sdk(daemon).usageEvents.list({ page_size: 100 }));
    assert.equal(found.length, 1200);
    assert.equal(new Set(found.map((one) => one.event_id)).size, 1200);
  });
});
