import type { Filter } from './filter-types.js';
import { listFilters } from './list-filters.js';
import { textFilters } from './text-filters.js';
import { valueFilters } from './value-filters.js';

export const filters: ReadonlyMap<string, Filter> = new Map([
  ...textFilters,
  ...listFilters,
  ...valueFilters,
]);

/** Filters of jinja2 for web pages, which are not built here. */
export const foreignFilters: ReadonlySet<string> = new Set([
  'filesizeformat',
  'pprint',
  'random',
  'striptags',
  'urlize',
  'wordwrap',
  'xmlattr',
]);
