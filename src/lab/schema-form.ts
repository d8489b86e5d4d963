/**
 * From a kind's JSON schema to the fields of a form and back to values. Knows the plain types
 * that a form of a few lines needs; a property of any other shape is left out, and so keeps the
 * default of whoever makes the cluster.
 */
import type { ReadonlyPartialJSONObject, ReadonlyPartialJSONValue } from '@lumino/coreutils';

export interface Field {
  name: string;
  title: string;
  description: string;
  type: 'integer' | 'number' | 'text' | 'boolean' | 'choice';
  /** Shown while the field is empty. */
  placeholder: string;
  value: string | boolean;
  minimum?: number;
  maximum?: number;
  choices: string[];
}

interface Property {
  type?: string | string[];
  anyOf?: Property[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  examples?: unknown[];
}

/** The fields of a schema; `known` values win over its defaults. */
export function fieldsOf(
  schema: Record<string, unknown>,
  known: ReadonlyPartialJSONObject
): Field[] {
  const properties = (schema['properties'] ?? {}) as Record<string, Property>;
  const fields: Field[] = [];
  for (const [name, property] of Object.entries(properties)) {
    const type = typeOf(property);
    if (type === null || name === 'kind') continue;
    const value = known[name] ?? property.default;
    fields.push({
      name,
      title: property.title ?? name,
      description: property.description ?? '',
      type,
      placeholder: String(property.examples?.[0] ?? ''),
      value: type === 'boolean' ? value === true : textOf(value),
      ...(property.minimum === undefined ? {} : { minimum: property.minimum }),
      ...(property.maximum === undefined ? {} : { maximum: property.maximum }),
      choices: (property.enum ?? []).map(String)
    });
  }
  return fields;
}

/** What a field's text means; undefined = not given, so that the default holds. */
export function valueOf(
  field: Pick<Field, 'type'>,
  value: string | boolean
): ReadonlyPartialJSONValue | undefined {
  if (typeof value === 'boolean') return value;
  const text = value.trim();
  if (text === '') return undefined;
  if (field.type !== 'integer' && field.type !== 'number') return text;
  const number = Number(text);
  if (!Number.isFinite(number)) return undefined;
  return field.type === 'integer' ? Math.round(number) : number;
}

function typeOf(property: Property): Field['type'] | null {
  if (property.enum !== undefined) return 'choice';
  const types = [property.type, ...(property.anyOf ?? []).map(each => each.type)].flat();
  // A size such as "2 GiB" may be a number too: text holds both.
  if (types.includes('string')) return 'text';
  if (types.includes('integer')) return 'integer';
  if (types.includes('number')) return 'number';
  if (types.includes('boolean')) return 'boolean';
  return null;
}

function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}
