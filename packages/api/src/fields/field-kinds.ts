import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';

/** A field that is read. */
export interface Honoured<S extends z.ZodType = z.ZodType> {
  readonly kind: 'honoured';
  readonly schema: S;
  /** What may be sent and what counts else, as docs/api.md says it. */
  readonly values: string;
  readonly fallback: string;
}

/** A field that cannot change the answer of this server: it is let through, and named in the response. */
export interface WithoutEffect {
  readonly kind: 'withoutEffect';
  readonly schema: z.ZodType;
}

/** A field that would change the answer if this server had it. */
export interface Refused {
  readonly kind: 'refused';
  /** JSON texts of the values that ask for nothing, and pass as fields without effect do. */
  readonly idle: readonly string[];
  /** What to do instead of leaving it out. */
  readonly instead: string | null;
}

export type Field = Honoured | WithoutEffect | Refused;
/** All that is known of the fields of one object, by name. */
export type Fields = Readonly<Record<string, Field>>;

/** Some of these fields, in this order. */
export function pickFields<F extends Fields, K extends keyof F & string>(
  fields: F,
  names: readonly K[],
): Pick<F, K> {
  return Object.fromEntries(names.map((name) => [name, fields[name]])) as Pick<F, K>;
}

export const honoured = <S extends z.ZodType>(schema: S, values: string, fallback: string): Honoured<S> => ({
  kind: 'honoured',
  schema,
  values,
  fallback,
});

export const withoutEffect = (schema: z.ZodType = z.unknown()): WithoutEffect => ({
  kind: 'withoutEffect',
  schema,
});

export const refused = (...idle: readonly string[]): Refused => ({ kind: 'refused', idle, instead: null });

export const refusedFor = (instead: string, ...idle: readonly string[]): Refused => ({
  kind: 'refused',
  idle,
  instead,
});

/** The zod shape of these fields: each may be absent or null, and only what is honoured has a type of its own. */
export type ShapeOf<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Honoured<infer S>
    ? z.ZodOptional<z.ZodNullable<S>>
    : z.ZodOptional<z.ZodUnknown>;
};

export function shapeOf<F extends Fields>(fields: F): ShapeOf<F> {
  const entries = Object.entries(fields).map(([name, field]) => [name, schemaOf(field)]);
  return Object.fromEntries(entries) as ShapeOf<F>;
}

function schemaOf(field: Field): z.ZodType {
  switch (field.kind) {
    case 'honoured':
      return field.schema.nullish();
    case 'withoutEffect':
      return z.union([z.literal(''), field.schema], { error: withoutUnion(field.schema) }).nullish();
    case 'refused':
      return lacking(field);
    default:
      return field satisfies never;
  }
}

/** A blank string is no value, whatever the type; what is wrong with any other value is for its type to say. */
const withoutUnion =
  (schema: z.ZodType) =>
  ({ input }: { readonly input?: unknown }): string | undefined =>
    schema.safeParse(input).error?.issues[0]?.message;

/** Marks the issues of what is refused because this server lacks it, not because it is malformed. */
export const unsupported = { unsupported: true };

function lacking({ idle, instead }: Refused): z.ZodType {
  const idleValues = idle.map((json) => JSON.parse(json) as unknown);
  const isIdle = (value: unknown) =>
    isAbsent(value) || idleValues.some((idleValue) => isDeepStrictEqual(value, idleValue));
  const remedy = [instead ?? 'leave it out', ...(idle.length > 0 ? [`send ${idle.join(' or ')}`] : [])];
  return z
    .unknown()
    .refine(isIdle, { params: unsupported, error: `not supported; ${remedy.join(' or ')}` })
    .optional();
}

/** Null and blank strings say as little as a field that is not there. */
export const isAbsent = (value: unknown): boolean => value == null || value === '';

/** The names of the fields of a valid body that say something and yet change nothing. */
export function namesWithoutEffect(fields: Fields, body: object): string[] {
  return Object.entries(body).flatMap(([name, value]) => {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    return field && field.kind !== 'honoured' && !isAbsent(value) ? [name] : [];
  });
}
