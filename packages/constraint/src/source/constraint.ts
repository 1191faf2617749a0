/** JSON as `JSON.parse` gives it. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Text in which numbers stand for special tokens, which have no text that an answer could hold. */
export type Marker = readonly (string | number)[];

/** A part of an answer with a form of its own, as a tool call is. */
export interface Tag {
  /** What it begins with. */
  readonly begin: Marker;
  readonly content: PlainConstraint;
  /** What it ends with; may be empty. */
  readonly end: Marker;
}

/** Values between tags, for the properties that the schema of an object has. */
export interface TaggedArguments {
  readonly kind: 'tagged';
  readonly schema: Json;
  readonly beforeKey: Marker;
  /** Between key and value, one after the other. */
  readonly afterKey: readonly Marker[];
  readonly afterValue: Marker;
  /** Whether values have a line of their own. */
  readonly isOnOwnLine: boolean;
  /** Whether a value is any at all where answers cannot be held to its schema. */
  readonly isLenient: boolean;
}

/** What the whole of an answer, or the content of a tag, must be like. */
export type PlainConstraint =
  /** Any JSON object. */
  | { readonly kind: 'json' }
  /** JSON that is valid by this schema; leniently, any JSON object where answers cannot be held to it. */
  | { readonly kind: 'schema'; readonly schema: Json; readonly isLenient?: boolean }
  /** Arguments between tags. */
  | TaggedArguments
  /** Text that this pattern of ECMAScript matches as a whole. */
  | { readonly kind: 'regex'; readonly pattern: string }
  /** Text of this grammar, in llama.cpp's GBNF. */
  | { readonly kind: 'grammar'; readonly grammar: string };

/** What an answer must be like. */
export type Constraint =
  | PlainConstraint
  /** A text of a form, or tags and nothing else. */
  | {
      readonly kind: 'either';
      /** Null where there must be a tag. */
      readonly text: PlainConstraint | null;
      readonly tags: readonly Tag[];
      /** Whether there may be several. */
      readonly isRepeated: boolean;
      /** What comes before this is free, and holds it only at its end; null where nothing comes before. */
      readonly behind: Marker | null;
    }
  /** Free text with tags in it. */
  | {
      readonly kind: 'tags';
      readonly tags: readonly Tag[];
      /**
       * What is free text until the beginnings of tags: after one of these only a tag may follow. Each tag begins with one
       * of them, and none of them begins with another.
       */
      readonly triggers: readonly Marker[];
      /** Whether the answer is a tag from its first token on. */
      readonly atLeastOne: boolean;
      /** Whether the answer ends behind its first tag. */
      readonly stopsAfterFirst: boolean;
    };

/** Where in a constraint something is, as a path of JSON names such as `schema.properties.age`. */
export type Path = readonly (string | number)[];
