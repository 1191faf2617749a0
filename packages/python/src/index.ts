export { Given, noCallArguments } from './arguments.js';
export { attributeOf, itemOf, sliceOf } from './attributes.js';
export { capitalized, isLower, isUpper } from './casing.js';
export { TemplateFailure, failure, syntaxFailure, unsupported } from './errors.js';
export { calculate, parseFloating, parseWhole, roundHalfEven } from './numbers.js';
export { binary, compareBy, isInside } from './operators.js';
export type { BinaryOperator, ComparisonOperator } from './operators.js';
export { formatPercent } from './percent.js';
export { print, printJson } from './print.js';
export { replace, split, splitLines, strip } from './split.js';
export { centred, textMethod } from './text-methods.js';
export { Text } from './text.js';
export {
  Callable,
  Dict,
  LoopValue,
  Missing,
  Namespace,
  Sequence,
  Stream,
  compare,
  indexOf,
  isEqual,
  isTrue,
  iterate,
  lengthOf,
  list,
  numberOf,
  tuple,
  typeName,
} from './values.js';
export type { CallArguments, Value } from './values.js';
export { onlySpace, space, trailingSpace } from './white-space.js';
