// Meters through the SDK: cases 12 to 14 of the compatibility list.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { all, createMeter, event, ingestNew, raw, refusal, sdk, total } from './client.mjs';
import { Daemon } from './daemon.mjs';

const CONDITION = { key: 'model', operator: 'equals', value: 'gpt' };

/** A filter with one condition and `levels` filters above it. */
function nested(levels) {
  const inner = { conjunction: 'or', clauses: [CONDITION, { key: 'n', operator: 'less_than', value: 1.5 }] };
  return Array.from({ length: levels }).reduce((clause) => ({ conjunction: 'and', clauses: [clause] }), inner);
}

describe('meters', () => {
  let daemon;
  let client;
  before(async () => {
    daemon = await Daemon.start();
    client = sdk(daemon);
  });
  after(() => daemon.close());

  test('case 12: each aggregation can be made and read back', async () => {
    for (const type of ['count', 'sum', 'max', 'last']) {
      const aggregation = type === 'count' ? { type } : { type, key: 'tokens' };
      const made = await createMeter(client, { name: `by ${type}`, description: 'Wörter', aggregation });
      assert.equal(made.aggregation.type, type);
      assert.equal(made.aggregation.key ?? null, aggregation.key ?? null);
      assert.deepEqual(
        [made.name, made.description, made.event_name, made.measurement_unit, made.filter, made.business_id],
        [`by ${type}`, 'Wörter', 'api.call', 'calls', null, 'bus_quipu'],
      );
      assert.match(made.id, /^mtr_/);
      assert.ok(Date.parse(made.created_at) > 0 && made.created_at.endsWith('Z'));
      assert.deepEqual(await client.meters.retrieve(made.id), made);
    }
    const { data, response } = await createMeter(client).withResponse();
    assert.equal(response.status, 201);
    assert.equal(data.description, null);
  });

  test('case 12: an aggregation over a value needs its key', async () => {
    for (const type of ['sum', 'max', 'last']) {
      for (const key of [undefined, null, '']) {
        await refusal(createMeter(client, { aggregation: { type, key } }), 422, 'INVALID_REQUEST_PARAMETERS');
      }
    }
    const refused = [{ type: 'unique', key: 'n' }, {}, 'count', null, undefined];
    for (const aggregation of refused) {
      await refusal(createMeter(client, { aggregation }), 422, 'INVALID_REQUEST_PARAMETERS');
    }
  });

  test('case 12: a filter comes back as it was sent, up to three levels below the root', async () => {
    for (const levels of [0, 1, 2, 3]) {
      const made = await createMeter(client, { filter: nested(levels) });
      assert.deepEqual(made.filter, nested(levels));
      assert.deepEqual((await client.meters.retrieve(made.id)).filter, nested(levels));
    }
    await refusal(createMeter(client, { filter: nested(4) }), 422, 'INVALID_REQUEST_PARAMETERS');
  });

  test('case 12: every operator and kind of value can be used', async () => {
    const values = [
      [['equals', 'not_equals'], ['text', '', 1.25, -3, 0, true, false]],
      [['greater_than', 'greater_than_or_equals', 'less_than', 'less_than_or_equals'], [1.25, -3, 0]],
      [['contains', 'does_not_contain'], ['text', 'ü"\\']],
    ];
    const clauses = values.flatMap(([operators, values]) => operators.flatMap((operator) =>
      values.map((value) => ({ key: 'model', operator, value }))));
    const made = await createMeter(client, { filter: { conjunction: 'or', clauses } });
    assert.deepEqual(made.filter.clauses, clauses);
  });

  test('case 12: what is no filter is refused', async () => {
    const refused = [
      { conjunction: 'and', clauses: [{ ...CONDITION, operator: 'matches' }] },
      { conjunction: 'xor', clauses: [CONDITION] },
      { conjunction: 'and', clauses: [] },
      { conjunction: 'and', clauses: [CONDITION, nested(0)] },
      { conjunction: 'and', clauses: [nested(0), CONDITION] },
      { conjunction: 'and', clauses: [{ key: 'n', operator: 'equals' }] },
      { conjunction: 'and', clauses: [{ ...CONDITION, value: [1] }] },
      { conjunction: 'and', clauses: [{ ...CONDITION, value: null }] },
      { conjunction: 'and' },
      { clauses: [CONDITION] },
      [],
    ];
    for (const filter of refused) {
      await refusal(createMeter(client, { filter }), 422, 'INVALID_REQUEST_PARAMETERS');
    }
  });

  test('case 12: a field that is missing or empty is refused by its name', async () => {
    for (const field of ['name', 'event_name', 'measurement_unit']) {
      for (const value of [undefined, '']) {
        const error = await refusal(createMeter(client, { [field]: value }), 422, 'INVALID_REQUEST_PARAMETERS');
        assert.equal(error.error.field, field);
      }
    }
    await refusal(client.meters.retrieve('mtr_nowhere'), 404, 'NOT_FOUND');
  });

  test('case 13: an archived meter stands in the other list and counts no more', async () => {
    const meter = await createMeter(client, { event_name: 'archived' });
    const counted = () => event({ event_name: 'archived' });
    const listed = async (query) => (await all(client.meters.list(query))).some((found) => found.id === meter.id);
    await ingestNew(client, [counted()]);

    assert.equal(await client.meters.archive(meter.id), null);
    assert.deepEqual([await listed(), await listed({ archived: false }), await listed({ archived: true })],
      [false, false, true]);
    assert.equal((await client.meters.retrieve(meter.id)).id, meter.id);
    await ingestNew(client, [counted(), counted()]);
    assert.equal(await total(client, meter), '1');

    const back = client.meters.unarchive(meter.id);
    assert.equal((await back.asResponse()).status, 200);
    await back;
    assert.deepEqual([await listed(), await listed({ archived: true })], [true, false]);
    await ingestNew(client, [counted()]);
    assert.equal(await total(client, meter), '2');
    await refusal(client.meters.archive('mtr_nowhere'), 404, 'NOT_FOUND');
    await refusal(client.meters.unarchive('mtr_nowhere'), 404, 'NOT_FOUND');
  });

  test('case 14: name, unit and description change; what a meter counts does not', async () => {
    const made = await createMeter(client, { description: 'old', aggregation: { type: 'sum', key: 'n' } });
    const path = `/meters/${made.id}`;
    const changed = await client.patch(path, { body: { name: 'New', measurement_unit: 'units', description: null } });
    const expected = { ...made, name: 'New', measurement_unit: 'units', description: null };
    assert.deepEqual({ ...changed, updated_at: made.updated_at }, expected);
    assert.ok(Date.parse(changed.updated_at) >= Date.parse(made.updated_at));
    assert.deepEqual(await client.meters.retrieve(made.id), changed);

    const kept = await client.patch(path, { body: { description: 'again' } });
    assert.deepEqual([kept.name, kept.description], ['New', 'again']);

    const other = { event_name: 'other', aggregation: { type: 'count' }, filter: nested(0) };
    await client.patch(path, { body: other }).catch((error) => assert.equal(error.status, 422));
    const { event_name, aggregation, filter } = await client.meters.retrieve(made.id);
    assert.deepEqual({ event_name, aggregation, filter },
      { event_name: made.event_name, aggregation: made.aggregation, filter: made.filter });
    await refusal(client.patch(path, { body: { name: '' } }), 422, 'INVALID_REQUEST_PARAMETERS');
    await refusal(client.patch('/meters/mtr_nowhere', { body: { name: 'x' } }), 404, 'NOT_FOUND');
  });

  test('case 42: a stated type and an empty body are no malformed JSON', async () => {
    const { id } = await createMeter(client);
    const headers = { 'content-type': 'application/json' };
    const archived = await raw(daemon, 'DELETE', `/meters/${id}`, { headers });
    assert.deepEqual([archived.status, archived.text], [204, '']);
    const back = await raw(daemon, 'POST', `/meters/${id}/unarchive`, { headers });
    assert.deepEqual([back.status, back.text], [200, '']);
    assert.equal((await client.meters.retrieve(id)).id, id);
  });
});
