/** Texts that something stands between. */
export interface Brackets {
  readonly begin: string;
  readonly end: string;
}

/** A call as one JSON object with name and arguments in it, in brackets or alone. */
export interface ObjectCalls {
  readonly kind: 'object';
  /** Null where a call is the answer, and nothing else tells it from text. */
  readonly brackets: Brackets | null;
  /** May stand before such a call all the same. */
  readonly tag: string | null;
  readonly argumentsKey: 'arguments' | 'parameters';
  /** Between a beginning and the first object, and between the last one and the end. */
  readonly opening: string;
  readonly closing: string;
  /** Between the objects of one pair of brackets, or of one answer; null where each has its own. */
  readonly separator: string | null;
}

/** A call with its name in a header of its own, and JSON behind it. */
export interface HeadedCalls {
  readonly kind: 'headed';
  /** Around all calls of an answer. */
  readonly section: Brackets | null;
  readonly begin: string;
  readonly beforeName: string;
  /** Between name and arguments. */
  readonly afterName: string;
  readonly afterArguments: string;
  readonly end: string;
  /** `functions.NAME:INDEX` is name and id in one; an id may also follow its own marker. */
  readonly header: 'name' | 'indexed';
  readonly beforeId: string | null;
}

/** A call with each argument between tags. */
export interface TaggedCalls {
  readonly kind: 'tagged';
  readonly section: Brackets | null;
  readonly beforeName: string;
  readonly afterName: string;
  readonly end: string;
  readonly beforeKey: string;
  /** What may stand between key and value, white space aside; the first is enough to tell that the key is over. */
  readonly afterKey: readonly string[];
  readonly afterValue: string;
  /** Whether values have a line of their own. */
  readonly isOnOwnLine: boolean;
}

export type CallSyntax = ObjectCalls | HeadedCalls | TaggedCalls;

/** How a family of models writes its answers. */
export interface AnswerSyntax {
  /** Around what the model thinks; null where it does not. */
  readonly reasoning: Brackets | null;
  /** Null where the form of calls is not known. */
  readonly calls: CallSyntax | null;
  /** Whether an answer is a row of messages with channels, as in Harmony. */
  readonly hasChannels: boolean;
  /** Tokens that end an answer beside those of the vocabulary. */
  readonly ends: readonly string[];
}

/** Text and nothing else. */
export const plainSyntax: AnswerSyntax = Object.freeze({
  reasoning: null,
  calls: null,
  hasChannels: false,
  ends: Object.freeze([]),
});

/** The texts of a syntax that may be single tokens. */
export function markersOf({ reasoning, calls }: AnswerSyntax): string[] {
  const around = (brackets: Brackets | null): string[] =>
    brackets === null ? [] : [brackets.begin, brackets.end];
  return [...around(reasoning), ...(calls === null ? [] : callMarkers(calls, around))].filter(
    (text) => text.trim() !== '',
  );
}

function callMarkers(calls: CallSyntax, around: (brackets: Brackets | null) => string[]): string[] {
  switch (calls.kind) {
    case 'object':
      return [...around(calls.brackets), calls.tag ?? ''];
    case 'headed':
      return [
        ...around(calls.section),
        calls.begin,
        calls.end,
        calls.afterName,
        calls.beforeId ?? '',
        ...calls.beforeName.split(/(?=<)/),
      ];
    case 'tagged':
      return [
        ...around(calls.section),
        calls.beforeName,
        calls.end,
        calls.beforeKey,
        ...calls.afterKey,
        calls.afterValue,
      ];
    default:
      return calls satisfies never;
  }
}
