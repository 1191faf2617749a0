import type { FilterUse, Macro, Statement, Target } from './syntax/ast.js';
import { call, Evaluator } from './evaluator.js';
import {
  type CallArguments,
  Callable,
  Dict,
  Missing,
  Namespace,
  Text,
  type Value,
  failure,
  isTrue,
  iterate,
  print,
  tuple,
} from '@butterfly/python';
import { Budget, Scope } from './scope.js';
import { loopValue } from './loop.js';

/** How a list of statements ended: through, or by leaving the loop around it. */
type Ending = 'end' | 'break' | 'continue';
type ForStatement = Statement & { readonly kind: 'for' };

/** Carries out the statements of one rendering. */
export class Renderer {
  readonly #budget = new Budget();
  readonly #evaluator = new Evaluator(this.#budget);

  /** @throws TemplateFailure unsupported, runtime or raised */
  text(statements: readonly Statement[], scope: Scope): Text {
    const out: Text[] = [];
    this.#run(statements, scope, out);
    return Text.concat(out);
  }

  #run(statements: readonly Statement[], scope: Scope, out: Text[]): Ending {
    for (const statement of statements) {
      const ending = this.#statement(statement, scope, out);
      if (ending !== 'end') return ending;
    }
    return 'end';
  }

  #write(out: Text[], text: Text): void {
    this.#budget.write(text.value.length);
    out.push(text);
  }

  #statement(statement: Statement, scope: Scope, out: Text[]): Ending {
    this.#budget.step();
    switch (statement.kind) {
      case 'text':
        this.#write(out, Text.own(statement.text));
        return 'end';
      case 'output':
        this.#write(out, print(this.#evaluator.evaluate(statement.expression, scope)));
        return 'end';
      case 'if': {
        const isThen = isTrue(this.#evaluator.evaluate(statement.test, scope));
        return this.#run(isThen ? statement.body : statement.otherwise, scope, out);
      }
      case 'for':
        return this.#for(statement, scope, out);
      case 'set':
        this.#assign(statement.target, this.#evaluator.evaluate(statement.value, scope), scope);
        return 'end';
      case 'set-block':
        this.#assign(statement.target, this.#filtered(statement, scope), scope);
        return 'end';
      case 'macro':
        scope.set(statement.macro.name, this.#macro(statement.macro, scope));
        return 'end';
      case 'call-block':
        this.#write(out, print(this.#callBlock(statement, scope)));
        return 'end';
      case 'filter-block':
        this.#write(out, print(this.#filtered(statement, scope)));
        return 'end';
      case 'with': {
        const inner = new Scope(scope);
        const values = statement.assignments.map(
          ([target, value]) => [target, this.#evaluator.evaluate(value, scope)] as const,
        );
        for (const [target, value] of values) this.#assign(target, value, inner);
        return this.#run(statement.body, inner, out);
      }
      case 'group':
        return this.#run(statement.body, new Scope(scope), out);
      case 'break':
      case 'continue':
        return statement.kind;
      default:
        return statement satisfies never;
    }
  }

  #filtered(
    { filters, body }: { readonly filters: readonly FilterUse[]; readonly body: readonly Statement[] },
    scope: Scope,
  ): Value {
    const inner = new Scope(scope);
    return filters.reduce<Value>(
      (value, filter) => this.#evaluator.apply(filter, value, inner),
      this.text(body, inner),
    );
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    switch (target.kind) {
      case 'name':
        scope.set(target.name, value);
        return;
      case 'attribute': {
        const object = scope.get(target.object);
        if (!(object instanceof Namespace))
          throw failure('TemplateRuntimeError: cannot assign attribute on non-namespace object');
        object.attributes.set(target.name, value);
        return;
      }
      case 'targets': {
        const values = iterate(value);
        if (values.length !== target.targets.length)
          throw failure(
            `ValueError: expected ${target.targets.length} values to unpack, got ${values.length}`,
          );
        for (const [index, each] of target.targets.entries())
          this.#assign(each, values[index] ?? null, scope);
        return;
      }
      default:
        target satisfies never;
    }
  }

  #for(statement: ForStatement, scope: Scope, out: Text[]): Ending {
    this.#loop(statement, this.#evaluator.evaluate(statement.items, scope), 0, scope, out);
    return 'end';
  }

  #loop(statement: ForStatement, source: Value, depth: number, scope: Scope, out: Text[]): void {
    const { target, filter, body, otherwise } = statement;
    const items = iterate(source).filter((item) => {
      if (filter === null) return true;
      this.#budget.step();
      const inner = new Scope(scope);
      this.#assign(target, item, inner);
      return isTrue(this.#evaluator.evaluate(filter, inner));
    });
    const recurse = (inside: Value): Value => {
      const nested: Text[] = [];
      this.#loop(statement, inside, depth + 1, scope, nested);
      return Text.concat(nested);
    };
    const position = { index: 0 };
    const loop = loopValue(items, position, depth, statement.isRecursive ? recurse : null);
    let isThrough = false;
    for (const [index, item] of items.entries()) {
      this.#budget.step();
      position.index = index;
      const inner = new Scope(scope);
      inner.set('loop', loop);
      this.#assign(target, item, inner);
      const ending = this.#run(body, inner, out);
      if (ending === 'end') isThrough = true;
      if (ending === 'break') break;
    }
    // As in jinja2, a loop of which no turn came to its end takes the other branch too.
    if (!isThrough) this.#run(otherwise, new Scope(scope), out);
  }

  #callBlock({ call: expression, caller }: Statement & { readonly kind: 'call-block' }, scope: Scope): Value {
    if (expression.kind !== 'call') throw failure('expected a call');
    const given = this.#evaluator.arguments(expression.args, scope);
    const named = new Map(given.named).set('caller', this.#macro(caller, scope));
    return call(this.#evaluator.evaluate(expression.callee, scope), { ...given, named });
  }

  #macro(macro: Macro, scope: Scope): Callable {
    const used = mentioned([macro.body, macro.parameters]);
    return new Callable(macro.name, (given) => {
      this.#budget.step();
      return this.#budget.nested(() => {
        const inner = new Scope(scope);
        this.#bind(macro, given, used, inner);
        return this.text(macro.body, inner);
      });
    });
  }

  #bind(
    { name, parameters }: Macro,
    { positional, named }: CallArguments,
    used: ReadonlySet<string>,
    scope: Scope,
  ): void {
    const rest = new Map(named);
    for (const [index, parameter] of parameters.entries()) {
      let value = positional[index];
      if (value === undefined) {
        value = rest.get(parameter.name);
        rest.delete(parameter.name);
      } else if (rest.has(parameter.name))
        throw failure(`TypeError: macro '${name}' got multiple values for argument '${parameter.name}'`);
      if (value === undefined && parameter.fallback !== null)
        value = this.#evaluator.evaluate(parameter.fallback, scope);
      scope.set(
        parameter.name,
        value === undefined ? new Missing(`parameter '${parameter.name}' was not provided`) : value,
      );
    }
    if (used.has('caller') && !parameters.some((parameter) => parameter.name === 'caller')) {
      scope.set('caller', rest.get('caller') ?? new Missing('No caller defined'));
      rest.delete('caller');
    }
    if (used.has('kwargs'))
      scope.set('kwargs', new Dict([...rest].map(([key, value]) => [Text.own(key), value])));
    else
      for (const [unknown] of rest)
        throw failure(`TypeError: macro '${name}' takes no keyword argument '${unknown}'`);
    if (used.has('varargs')) scope.set('varargs', tuple(positional.slice(parameters.length)));
    else if (positional.length > parameters.length)
      throw failure(`TypeError: macro '${name}' takes not more than ${parameters.length} argument(s)`);
  }
}

/** Those of the names that a macro may be given unasked which it uses. */
function mentioned(node: unknown, found = new Set<string>()): ReadonlySet<string> {
  if (typeof node !== 'object' || node === null || node instanceof Text) return found;
  if ('kind' in node && node.kind === 'name' && 'name' in node)
    if (node.name === 'caller' || node.name === 'kwargs' || node.name === 'varargs') found.add(node.name);
  for (const child of Object.values(node)) mentioned(child, found);
  return found;
}
