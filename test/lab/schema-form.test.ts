import { describe, expect, it } from 'vitest';

import { fieldsOf, valueOf } from '../../src/lab/schema-form.ts';

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', title: 'Name', examples: ['local-1'] },
    workers: { type: 'integer', minimum: 0, maximum: 64, default: 2 },
    memoryLimit: { anyOf: [{ type: 'number' }, { type: 'string' }], default: 'auto' },
    fast: { type: 'boolean', default: true },
    queue: { enum: ['short', 'long'], default: 'long' },
    nested: { type: 'object' }
  }
};

describe('a form from a schema', () => {
  it('has a field for each plain property, defaults filled in', () => {
    const fields = fieldsOf(schema, {});
    expect(fields.map(field => [field.name, field.type, field.value])).toEqual([
      ['name', 'text', ''],
      ['workers', 'integer', '2'],
      ['memoryLimit', 'text', 'auto'],
      ['fast', 'boolean', true],
      ['queue', 'choice', 'long']
    ]);
    expect(fields[0]).toMatchObject({ title: 'Name', placeholder: 'local-1' });
    expect(fields[1]).toMatchObject({ minimum: 0, maximum: 64 });
    expect(fields[4]?.choices).toEqual(['short', 'long']);
  });

  it('prefers what was used last', () => {
    const fields = fieldsOf(schema, { workers: 7, fast: false });
    expect(fields[1]?.value).toBe('7');
    expect(fields[3]?.value).toBe(false);
  });

  it('reads values back; an empty field leaves the default to the maker', () => {
    expect(valueOf({ type: 'integer' }, ' 4 ')).toBe(4);
    expect(valueOf({ type: 'integer' }, '')).toBeUndefined();
    expect(valueOf({ type: 'number' }, '2.5')).toBe(2.5);
    expect(valueOf({ type: 'number' }, 'many')).toBeUndefined();
    expect(valueOf({ type: 'text' }, '2 GiB')).toBe('2 GiB');
    expect(valueOf({ type: 'boolean' }, false)).toBe(false);
  });
});
