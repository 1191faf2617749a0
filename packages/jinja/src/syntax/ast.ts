import type { BinaryOperator, ComparisonOperator, Value } from '@butterfly/python';

/** Names that a value is taken apart into: `a`, `a, b`, or `ns.a` in a `set`. */
export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'attribute'; readonly object: string; readonly name: string }
  | { readonly kind: 'targets'; readonly targets: readonly Target[] };

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly named: readonly { readonly name: string; readonly value: Expression }[];
  /** `*list` and `**dict`. */
  readonly spread: Expression | null;
  readonly namedSpread: Expression | null;
}

/** A filter of a value, or of a block where `operand` is null. */
export interface FilterUse {
  readonly name: string;
  readonly args: Arguments;
}

export type Expression =
  | { readonly kind: 'constant'; readonly value: Value }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list' | 'tuple'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly entries: readonly (readonly [Expression, Expression])[] }
  | {
      readonly kind: 'binary';
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: 'concat'; readonly parts: readonly Expression[] }
  | {
      readonly kind: 'logic';
      readonly operator: 'and' | 'or';
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly operand: Expression }
  | {
      readonly kind: 'compare';
      readonly first: Expression;
      readonly rest: readonly { readonly operator: ComparisonOperator; readonly operand: Expression }[];
    }
  | { readonly kind: 'attribute'; readonly object: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly object: Expression; readonly index: Expression }
  | {
      readonly kind: 'slice';
      readonly object: Expression;
      readonly start: Expression | null;
      readonly stop: Expression | null;
      readonly step: Expression | null;
    }
  | { readonly kind: 'call'; readonly callee: Expression; readonly args: Arguments }
  | { readonly kind: 'filter'; readonly operand: Expression; readonly filter: FilterUse }
  | { readonly kind: 'test'; readonly operand: Expression; readonly name: string; readonly args: Arguments }
  | {
      readonly kind: 'conditional';
      readonly test: Expression;
      readonly then: Expression;
      readonly otherwise: Expression | null;
    };

export interface Parameter {
  readonly name: string;
  readonly fallback: Expression | null;
}

export interface Macro {
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
}

export type Statement =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly expression: Expression }
  | {
      readonly kind: 'if';
      readonly test: Expression;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | {
      readonly kind: 'for';
      readonly target: Target;
      readonly items: Expression;
      readonly filter: Expression | null;
      readonly isRecursive: boolean;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: 'set-block';
      readonly target: Target;
      readonly filters: readonly FilterUse[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'macro'; readonly macro: Macro }
  | { readonly kind: 'call-block'; readonly call: Expression; readonly caller: Macro }
  | {
      readonly kind: 'filter-block';
      readonly filters: readonly FilterUse[];
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'with';
      readonly assignments: readonly (readonly [Target, Expression])[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'group'; readonly body: readonly Statement[] }
  | { readonly kind: 'break' | 'continue' };
