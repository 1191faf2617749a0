/**
 * How an argument between tags is written: as text, as text or a null, or as JSON, which may be text where it is none. Whoever
 * reads arguments and whoever holds them to their schema must agree on it.
 * @param schema of the argument
 */
export type ArgumentForm = 'text' | 'nullableText' | 'json';

export function argumentForm(schema: unknown): ArgumentForm {
  if (typeof schema !== 'object' || schema === null) return 'json';
  if ('type' in schema) return formOfTypes(Array.isArray(schema.type) ? schema.type : [schema.type]);
  if ('anyOf' in schema && Array.isArray(schema.anyOf)) return formOfTypes(schema.anyOf.map(typeOf));
  const values = 'enum' in schema ? schema.enum : 'const' in schema ? [schema.const] : null;
  return Array.isArray(values) && values.every((value) => typeof value === 'string') ? 'text' : 'json';
}

function formOfTypes(types: readonly unknown[]): ArgumentForm {
  if (!types.every((type) => type === 'string' || type === 'null') || !types.includes('string'))
    return 'json';
  return types.includes('null') ? 'nullableText' : 'text';
}

const typeOf = (schema: unknown): unknown =>
  typeof schema === 'object' && schema !== null && 'type' in schema ? schema.type : null;
