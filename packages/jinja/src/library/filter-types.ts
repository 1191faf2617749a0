import { type CallArguments, Given, Missing, Text, type Value, itemOf, parseWhole } from '@butterfly/python';

/** What filters that apply others need of the evaluator. */
export interface FilterContext {
  readonly filter: (name: string, value: Value, given: CallArguments) => Value;
  readonly test: (name: string, value: Value, given: CallArguments) => boolean;
}

export type Filter = (value: Value, given: CallArguments, context: FilterContext) => Value;

export const filter =
  (name: string, parameters: readonly string[], run: (value: Value, given: Given) => Value): Filter =>
  (value, given) =>
    run(value, new Given(name, given, parameters));

/** How `attribute=` of filters reads: dots lead into attributes, digits are indices (`make_attrgetter`). */
export function attributeReader(path: Value, fallback?: Value): (value: Value) => Value {
  const parts: Value[] =
    path === null
      ? []
      : path instanceof Text
        ? path.value.split('.').map((part) => (/^\d+$/.test(part) ? parseWhole(part) : Text.own(part)))
        : [path];
  return (value) =>
    parts.reduce<Value>((object, part) => {
      const found = itemOf(object, part);
      return found instanceof Missing && (fallback ?? null) !== null ? (fallback ?? null) : found;
    }, value);
}

/** Lower case for texts, for comparisons that ignore case. */
export const folded = (value: Value): Value =>
  value instanceof Text ? value.derive(value.value.toLowerCase()) : value;
