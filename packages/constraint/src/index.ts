export type { Constraint, Json, Marker, PlainConstraint, Tag } from './source/constraint.js';
export { constraintGrammar } from './source/constraint-grammar.js';
export { argumentForm } from './source/tagged-grammar.js';
export type { ArgumentForm } from './source/tagged-grammar.js';
export { ConstraintHost } from './masks/constraint-host.js';
export { SequenceMasks } from './masks/sequence-masks.js';
export type { StepMasks } from './masks/sequence-masks.js';
