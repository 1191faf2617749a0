import type { Constraint, Path, PlainConstraint } from './constraint.js';
import { gbnfGrammar } from './gbnf.js';
import { RuleBook, type Expression } from './grammar-text.js';
import { invalid } from './refusals.js';
import { patternRules } from './pattern-rules.js';
import { matching, plainForm } from './regex-grammar.js';
import { anyObject, anyValue, schemaGrammar } from './schema-grammar.js';
import { tagsGrammar } from './tags-grammar.js';

/**
 * The grammar, in xgrammar's EBNF, of all answers that a constraint allows. It is the same for the same constraint, and its
 * bytes are bounded.
 * @throws ButterflyError REQUEST_INVALID for what is malformed, too large or allows no answer, REQUEST_UNSUPPORTED for what
 * answers cannot be held to; `param` is the path, such as `schema.properties.age.multipleOf`
 */
export function constraintGrammar(constraint: Constraint): string {
  const book = new RuleBook();
  if (constraint.kind !== 'tags') return book.text(plain(constraint, book, []));
  const contentOf = (tag: { readonly content: PlainConstraint }, path: Path): Expression =>
    plain(tag.content, book, [...path, 'content']);
  return book.text(tagsGrammar(constraint, contentOf, book, []));
}

function plain(constraint: PlainConstraint, book: RuleBook, path: Path): Expression {
  switch (constraint.kind) {
    case 'json':
      anyValue(book);
      return anyObject(book);
    case 'schema':
      return schemaGrammar(constraint.schema, book, [...path, 'schema']);
    case 'regex': {
      const at = [...path, 'pattern'];
      if (constraint.pattern === '') throw invalid(at, 'must not be empty.');
      const pattern = matching(constraint.pattern, { path: at, form: plainForm, isWhole: true });
      return patternRules(pattern, book, at);
    }
    case 'grammar':
      return gbnfGrammar(constraint.grammar, book, [...path, 'grammar']);
    default:
      return constraint satisfies never;
  }
}
