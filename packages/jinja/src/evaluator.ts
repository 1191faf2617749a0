import type { Arguments, Expression, FilterUse } from './syntax/ast.js';
import {
  type CallArguments,
  Callable,
  Dict,
  LoopValue,
  Missing,
  Sequence,
  Text,
  type Value,
  attributeOf,
  binary,
  compareBy,
  failure,
  isInside,
  isTrue,
  itemOf,
  iterate,
  list,
  numberOf,
  print,
  sliceOf,
  tuple,
  typeName,
} from '@butterfly/python';
import type { FilterContext } from './library/filter-types.js';
import { filters } from './library/filters.js';
import type { Budget, Scope } from './scope.js';
import { tests } from './library/tests.js';

/** Values of expressions, as the code that jinja2 compiles them to gives them. */
export class Evaluator implements FilterContext {
  constructor(private readonly budget: Budget) {}

  evaluate(expression: Expression, scope: Scope): Value {
    this.budget.step();
    switch (expression.kind) {
      case 'constant':
        return expression.value;
      case 'name':
        return scope.get(expression.name);
      case 'list':
        return list(this.#all(expression.items, scope));
      case 'tuple':
        return tuple(this.#all(expression.items, scope));
      case 'dict':
        return new Dict(
          expression.entries.map(([key, value]) => [this.evaluate(key, scope), this.evaluate(value, scope)]),
        );
      case 'binary':
        return this.#measured(
          binary(
            expression.operator,
            this.evaluate(expression.left, scope),
            this.evaluate(expression.right, scope),
          ),
        );
      case 'concat':
        return this.#measured(Text.concat(this.#all(expression.parts, scope).map(print)));
      case 'logic': {
        const left = this.evaluate(expression.left, scope);
        return isTrue(left) === (expression.operator === 'or')
          ? left
          : this.evaluate(expression.right, scope);
      }
      case 'not':
        return !isTrue(this.evaluate(expression.operand, scope));
      case 'negative':
      case 'positive':
        return signed(this.evaluate(expression.operand, scope), expression.kind);
      case 'compare':
        return this.#compare(expression, scope);
      case 'attribute':
        return attributeOf(this.evaluate(expression.object, scope), expression.name);
      case 'item':
        return itemOf(this.evaluate(expression.object, scope), this.evaluate(expression.index, scope));
      case 'slice': {
        const object = this.evaluate(expression.object, scope);
        const bounds = [expression.start, expression.stop, expression.step];
        return sliceOf(
          object,
          bounds.map((bound) => bound && this.evaluate(bound, scope)),
        );
      }
      case 'call':
        return this.#measured(
          call(this.evaluate(expression.callee, scope), this.arguments(expression.args, scope)),
        );
      case 'filter':
        return this.apply(expression.filter, this.evaluate(expression.operand, scope), scope);
      case 'test':
        return this.test(
          expression.name,
          this.evaluate(expression.operand, scope),
          this.arguments(expression.args, scope),
        );
      case 'conditional':
        return this.#conditional(expression, scope);
      default:
        return expression satisfies never;
    }
  }

  apply({ name, args }: FilterUse, value: Value, scope: Scope): Value {
    return this.#measured(this.filter(name, value, this.arguments(args, scope)));
  }

  filter(name: string, value: Value, given: CallArguments): Value {
    const filter = filters.get(name);
    if (filter === undefined) throw failure(`No filter named '${name}'.`);
    return filter(value, given, this);
  }

  test(name: string, value: Value, { positional }: CallArguments): boolean {
    if (name === 'filter' || name === 'test') {
      const names = name === 'filter' ? filters : tests;
      return isInside(value, new Dict([...names.keys()].map((known) => [Text.own(known), null])));
    }
    const test = tests.get(name);
    if (test === undefined) throw failure(`No test named '${name}'.`);
    return test(value, ...positional);
  }

  arguments({ positional, named, spread, namedSpread }: Arguments, scope: Scope): CallArguments {
    const values = this.#all(positional, scope);
    const names = new Map(named.map(({ name, value }) => [name, this.evaluate(value, scope)] as const));
    if (spread !== null) values.push(...iterate(this.evaluate(spread, scope)));
    if (namedSpread !== null) {
      const more = this.evaluate(namedSpread, scope);
      if (!(more instanceof Dict)) throw failure('TypeError: argument after ** must be a mapping');
      for (const [key, value] of more.entries()) names.set(print(key).value, value);
    }
    return { positional: values, named: names };
  }

  #all(expressions: readonly Expression[], scope: Scope): Value[] {
    return expressions.map((expression) => this.evaluate(expression, scope));
  }

  #compare({ first, rest }: Expression & { readonly kind: 'compare' }, scope: Scope): boolean {
    let left = this.evaluate(first, scope);
    for (const { operator, operand } of rest) {
      const right = this.evaluate(operand, scope);
      if (!compareBy(operator, left, right)) return false;
      left = right;
    }
    return true;
  }

  #conditional(expression: Expression & { readonly kind: 'conditional' }, scope: Scope): Value {
    if (isTrue(this.evaluate(expression.test, scope))) return this.evaluate(expression.then, scope);
    if (expression.otherwise !== null) return this.evaluate(expression.otherwise, scope);
    return new Missing('the inline if-expression evaluated to false and no else section was defined.');
  }

  #measured(value: Value): Value {
    if (value instanceof Text) this.budget.write(value.value.length);
    if (value instanceof Sequence) this.budget.hold(value.items.length);
    return value;
  }
}

function signed(value: Value, kind: 'negative' | 'positive'): Value {
  if (value instanceof Missing) throw failure(`UndefinedError: ${value.message}`);
  const number = numberOf(value);
  if (number === null)
    throw failure(
      `TypeError: bad operand type for unary ${kind === 'negative' ? '-' : '+'}: '${typeName(value)}'`,
    );
  return kind === 'negative' ? -number : number;
}

/** @throws TemplateFailure for what cannot be called */
export function call(callee: Value, given: CallArguments): Value {
  if (callee instanceof Callable) return callee.call(given);
  if (callee instanceof LoopValue && callee.recurse !== null)
    return callee.recurse(given.positional[0] ?? null);
  if (callee instanceof Missing) throw failure(`UndefinedError: ${callee.message}`);
  throw failure(`TypeError: '${typeName(callee)}' object is not callable`);
}
